"""`write_tfrecords`: split by patient, fit on the training part, preprocess, write sharded records.

A set is written aside and becomes the current one in a single rename, so that it is complete or absent. An
interrupted call is continued by the next; one with other settings is refused, or replaces the affected shards
(`overwrite`), while readers of the old set keep it.
"""

import contextlib
import dataclasses
import json
from pathlib import Path

from mcc_keras.datasets.splits import PARTS, check_shares, check_split, read_split, split_cases
from mcc_keras.errors import (
    DataError,
    LabelError,
    MCCKerasError,
    OutputExistsError,
    UsageError,
    disk_failure,
    raise_all,
)
from mcc_keras.preprocessing.cost import refuse_loss
from mcc_keras.records.build import SetBuilder
from mcc_keras.records.encoding import check_compression
from mcc_keras.records.entries import Settings
from mcc_keras.records.manifest import MISSING, SPLIT, read_manifest, read_set
from mcc_keras.records.provenance import (
    describe_cases,
    differences,
    refuse_changed,
    same_split,
    set_name,
    source_stamps,
)
from mcc_keras.sets import (
    current_set,
    open_set,
    owned_sets,
    point_to,
    publish_set,
    remove_unread,
    sets_named,
    unfinished_set,
)

COMMAND = "prepare"


def write_tfrecords(
    cases,
    work,
    *,
    preprocessing,
    split=(0.7, 0.2, 0.1),
    seed=0,
    stratify=None,
    compression=None,
    workers=None,
    overwrite=False,
    take_over=False,
    accept_loss=False,
    command=None,
    progress=False,
):
    """Prepare cases for training: split by patient, fit on the training part, preprocess, write sharded records.

    The same call again does nothing; after a kill it prepares the missing cases, and the bytes are those of an
    undisturbed call. Changes are found by the SHA-256 of the source files, the preprocessing, the split and the labels.

    Args:
        cases: `Case`s with masks, all of the same labels and channels.
        work: Folder to write, also a link or a mount point. Records of the same settings and sources are left as they
            are; other files in the folder are never touched.
        preprocessing: `Preprocessing`; its open values are fitted to the training cases.
        split: Shares of training, validation and test, a dict part → case ids, a file that `write_split` wrote, or a
            WORK folder, whose split is taken.
        seed: Integer seed of a split by shares.
        stratify: For a split by shares, `"foreground"` or a column of the cases, as in `split_cases`.
        compression: `"gzip"` trades time for space (masks shrink a lot, float images hardly); `None` is read fastest.
        workers: Processes that read and preprocess; `None` is one per core. The bytes do not depend on it.
        overwrite: Replace records of other settings or sources, or damaged ones. Only the shards that differ are
            written. The old set stays until the new one is whole, and while a process reads it.
        take_over: On a file system without locks, go on although another process seems to write to `work`.
        accept_loss: Write records although the box loses a class: its mean best Dice after the round trip is below 0.5.
        command: The command that the manifest names as its origin; `None` is this call.
        progress: Show a bar on a terminal.

    Returns:
        The `Manifest`.

    Raises:
        OutputExistsError: `work` holds something else, or records of other settings or sources.
        BusyError: Another process writes to `work`.
        LabelError: The box loses a class.
        DataErrors: Cases that cannot be prepared, all of them at once.
        EnvironmentFailure: The disk is full, or cannot be written; `work` is as it was.

    Example:

    >>> import tempfile
    >>> from mcc_keras.datasets import find_cases, write_synthetic
    >>> from mcc_keras.preprocessing import Preprocessing
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     source = write_synthetic(f"{folder}/scans", num_cases=10, size=(16, 16, 8), layout="pairs")
    ...     box = Preprocessing(size=(16, 16, 8))
    ...     manifest = write_tfrecords(find_cases(source), f"{folder}/work", preprocessing=box, workers=1)
    >>> manifest.counts
    {'train': 7, 'validation': 2, 'test': 1}
    """
    cases, work = sorted(cases, key=lambda case: case.case_id), Path(work)
    _check_uniform(cases)
    check_compression(compression)
    given = _given_split(split)
    settings = _settings(cases, preprocessing, split, seed=seed, stratify=stratify, compression=compression)
    try:
        with owned_sets(work, command=COMMAND, take_over=take_over) as confirm:
            old, sound = _published(work, overwrite=overwrite)
            before = source_stamps(cases)
            settings = dataclasses.replace(settings, cases=describe_cases(cases, workers=workers))
            settings = _with_parts(settings, _parts(cases, split if given is None else given, settings, old))
            if _is_up_to_date(work, old, settings, sound=sound, overwrite=overwrite):
                refuse_loss(old.costs, old.task, old.preprocessing.size, accept_loss=accept_loss)
                remove_unread(work)
                return old
            options = {"workers": workers, "progress": progress, "accept_loss": accept_loss}
            builder = SetBuilder(cases, preprocessing, settings, old, **options)
            command = command or _call(preprocessing, settings)
            prepared = _publish(work, builder, command, before=before, confirm=confirm)
            del old, builder  # and with them the lock on the old set
            remove_unread(work)
            return dataclasses.replace(read_manifest(work, verify=False), prepared=prepared)
    except MCCKerasError:
        raise
    except OSError as error:
        raise disk_failure(work, error) from error


def _published(work, *, overwrite):
    """Return the manifest of the current records of `work` (`None` where there are none), and whether all is sound."""
    for verify in (True, False):
        try:
            return (None, False) if current_set(work) is None else (read_manifest(work, verify=verify), verify)
        except DataError:
            if not overwrite:
                raise
    return None, False


def _is_up_to_date(work, old, settings, *, sound, overwrite):
    differ = differences(old.settings, settings) if old else []
    if differ and not overwrite:
        way_out = "Choose another folder, or replace them with overwrite: only what differs is prepared."
        raise OutputExistsError(work, f"records of other settings ({'; '.join(differ)})", way_out)
    return sound and not differ


def _publish(work, builder, command, *, before, confirm):
    """Make a whole set of the builder's settings the current one; return how many cases were preprocessed."""
    name = set_name(builder.settings)
    for folder in sets_named(work, name):  # a kill came before the pointer, or a reader has kept it
        with contextlib.suppress(DataError):
            if read_set(folder, work=work).settings == builder.settings:
                point_to(folder, command=COMMAND)
                return 0
    with unfinished_set(work) as folder:
        try:
            prepared = builder.write(folder, command)
        except (MCCKerasError, OSError):
            confirm()  # another call that has taken over has moved the files of this one
            raise
        refuse_changed(before, source_stamps(builder.cases.values()))
        publish_set(work, name=name, command=COMMAND, confirm=confirm)
    return prepared


def _settings(cases, preprocessing, split, *, seed, stratify, compression):
    given = isinstance(split, dict | str | Path) or any(case.part is not None for case in cases)
    return Settings(
        task=cases[0].task,
        preprocessing=json.loads(preprocessing.to_json()),
        split=None if given else check_shares(split),
        seed=None if given else int(seed),
        stratify=None if given else stratify,
        compression=compression,
        cases=(),
    )


def _given_split(split):
    """Return the split of a dict, of a file or of a WORK folder; `None` for shares."""
    if not isinstance(split, str | Path):
        return split if isinstance(split, dict) else None
    if not Path(split).is_dir():
        return read_split(split)
    folder, _lock = open_set(split, missing=MISSING)
    return read_split(folder / SPLIT)


def _parts(cases, split, settings, old):
    if isinstance(split, dict):
        parts = split
    elif old and same_split(old.settings, settings):
        parts = {part: tuple(entry.case_id for entry in old.settings.of_part(part)) for part in PARTS}
    else:
        parts = split_cases(cases, split, seed=settings.seed or 0, stratify=settings.stratify)
    check_split(parts, cases)
    return parts


def _with_parts(settings, parts):
    part_of = {case_id: part for part, ids in parts.items() for case_id in ids}
    cases = tuple(dataclasses.replace(entry, part=part_of[entry.case_id]) for entry in settings.cases)
    return dataclasses.replace(settings, cases=cases)


def _call(preprocessing, settings):
    chosen = ", ".join(f"{name}={getattr(settings, name)!r}" for name in ("seed", "stratify", "compression"))
    split = repr(settings.split or SPLIT)
    return f"write_tfrecords(cases, work, preprocessing={preprocessing!r}, split={split}, {chosen})"


def _check_uniform(cases):
    if not cases:
        raise UsageError("`cases` must hold at least one case. Received: none.")
    problem = "expected a mask, found none"
    raise_all(LabelError(case.case_id, problem, "Leave it out.") for case in cases if not case.mask)
    tasks = dict.fromkeys(case.task for case in cases)
    if len(tasks) > 1:
        raise UsageError(f"All cases must have one task. Received: {'; '.join(map(repr, tasks))}.")
