"""`write_tfrecords`: split by patient, fit on the training part, preprocess, write sharded records.

The folder is written under a temporary name and renamed, so that it is there whole or not at all. A call that was
stopped goes on where it was; one with other settings is refused, or makes anew what they concern (`overwrite`).
"""

import contextlib
import dataclasses
import json
import math
import shutil
import tempfile
from pathlib import Path

import joblib
import msgspec

from mcc_keras.datasets.cases import read_image
from mcc_keras.datasets.splits import PARTS, check_shares, check_split, read_split, split_cases, write_split
from mcc_keras.errors import (
    DataError,
    DataErrors,
    EnvironmentFailure,
    LabelError,
    MCCKerasError,
    OutputExistsError,
    UsageError,
)
from mcc_keras.files import staged_folder, write_text
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.encoding import check_compression
from mcc_keras.records.manifest import MANIFEST, PREPROCESSING, SPLIT, read_manifest, write_manifest
from mcc_keras.records.provenance import (
    describe_cases,
    differences,
    record_keys,
    refuse_changed,
    same_fit,
    same_split,
    source_stamps,
)
from mcc_keras.records.shards import (
    Earlier,
    ShardTask,
    keep_shard,
    link_shard,
    list_shards,
    plan_shards,
    unfinished,
    write_shard,
)

PLAN = "plan.json"
SCRATCH = ".scratch"


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
    command=None,
    progress=False,
):
    """Prepare cases for training: split by patient, fit on the training part, preprocess, write sharded records.

    The same call again does nothing; after a kill it makes what is missing, and the bytes are those of an undisturbed
    call. What has changed is told by the SHA-256 of the source files, the preprocessing, the split and the labels.

    Args:
        cases: `Case`s with masks, all of the same labels and channels.
        work: Folder to write. One that holds records of the same settings and sources is left as it is.
        preprocessing: `Preprocessing`; what it leaves open is fitted to the training cases.
        split: Shares of training, validation and test, a dict part → case ids, or a file that `write_split` wrote.
        seed: Integer seed of a split by shares.
        stratify: For a split by shares, `"foreground"` or a column of the cases, as in `split_cases`.
        compression: `"gzip"` trades time for space (masks shrink a lot, float images hardly); `None` is read fastest.
        workers: Processes that read and preprocess; `None` is one a core. The bytes do not depend on it.
        overwrite: Replace records of other settings or sources, or damaged ones. Only the shards that differ are made
            anew, and the old set stays until the new one is whole.
        command: What the manifest notes as the command that made it; `None` notes this call.
        progress: Show a bar on a terminal.

    Returns:
        The `Manifest`.

    Raises:
        OutputExistsError: `work` holds something else, or records of other settings or sources.
        DataErrors: Cases that cannot be prepared, all of them at once.
        EnvironmentFailure: The disk is full, or cannot be written; `work` is as it was.

    Example:

    >>> import tempfile
    >>> from mcc_keras.datasets import find_cases, write_synthetic
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
    old, sound = _published(work, overwrite=overwrite)
    settings = _settings(cases, preprocessing, split, seed=seed, stratify=stratify)
    before = source_stamps(cases)
    settings |= {"compression": compression, "cases": describe_cases(cases, workers=workers)}
    parts = _parts(cases, split, settings, old)
    part_of = {case_id: part for part, ids in parts.items() for case_id in ids}
    settings["cases"] = [{**entry, "part": part_of[entry["case_id"]]} for entry in settings["cases"]]
    differ = differences(old.settings, settings) if old else []
    if sound and not differ:
        return old
    if differ and not overwrite:
        way_out = "Choose another folder, or replace them with overwrite: only what differs is made anew."
        raise OutputExistsError(work, f"records of other settings ({'; '.join(differ)})", way_out)
    job = _Job(cases, preprocessing, settings, old, workers=workers, progress=progress)
    try:
        with staged_folder(work) as folder:
            prepared = job.write(folder, command or _call(preprocessing, settings))
            refuse_changed(before, source_stamps(cases))
    except MCCKerasError:
        raise
    except OSError as error:
        problem = f"{work}: cannot be written ({error.strerror or error})."
        raise EnvironmentFailure(f"{problem} Make room, or choose another disk.") from error
    return dataclasses.replace(read_manifest(work, verify=False), prepared=prepared)


class _Job:
    """One writing of records into a staged folder, which may hold what a stopped call has made of the same plan."""

    def __init__(self, cases, preprocessing, settings, old, *, workers, progress):
        self.cases = {case.case_id: case for case in cases}
        self.preprocessing, self.settings, self.old = preprocessing, settings, old
        self.workers, self.progress = workers or joblib.cpu_count(), progress

    def write(self, folder, command):
        """Write what is missing and the manifest; return how many cases were preprocessed."""
        self._resume(folder)
        fitted = self._fit(folder)
        plan = self._plan(fitted)
        prepared = self._write_shards(plan, folder, fitted)
        shards = list_shards(plan, folder)
        split = {part: [case.case_id for case in cases] for part, cases in self._members().items()}
        made = {"seed": self.settings["seed"], "shares": self.settings["split"], "stratify": self.settings["stratify"]}
        write_split(split, folder / SPLIT, **made, overwrite=True)
        write_manifest(folder, settings=self.settings, shards=shards, command=command)
        kept = {MANIFEST, PREPROCESSING, SPLIT, *(shard.file for shard in plan)}
        for path in folder.iterdir():
            if path.name not in kept:
                path.rmdir() if path.is_dir() else path.unlink()
        return prepared

    def _resume(self, folder):
        for scratch in folder.glob(f"{SCRATCH}*"):
            # Renamed first: workers of a killed call may still be at work, and find no place to write to any more.
            shutil.rmtree(scratch.rename(folder / f".gone{scratch.name}"), ignore_errors=True)
        text = json.dumps(self.settings)
        if not (folder / PLAN).is_file() or (folder / PLAN).read_text("utf-8") != text:
            for path in folder.iterdir():
                path.unlink()
            write_text(folder / PLAN, text)

    def _fit(self, folder):
        path = folder / PREPROCESSING
        if path.is_file():
            return Preprocessing.from_json(path.read_text("utf-8"), path=path)
        if self.old and same_fit(self.old.settings, self.settings):
            fitted = self.old.preprocessing
        else:
            fitted = self.preprocessing.fit(read_image(case) for case in self._members()["train"])
        write_text(path, fitted.to_json())
        return fitted

    def _members(self):
        entries = self.settings["cases"]
        return {part: [self.cases[e["case_id"]] for e in entries if e["part"] == part] for part in PARTS}

    def _plan(self, fitted):
        voxels = math.prod(fitted.size)
        record_bytes = voxels * (4 * len(self.settings["task"]["channel_names"]) + 1)
        return plan_shards(self._members(), record_keys(self.settings, fitted), record_bytes=record_bytes)

    def _write_shards(self, plan, folder, fitted):
        earlier = Earlier(self.old.work, self.old.shards) if self.old else Earlier()
        todo = [shard for shard in unfinished(plan, folder) if not link_shard(shard, folder, earlier)]
        todo.sort(key=lambda shard: -len(shard.cases))  # the short ones last, so that no process works on alone
        scratch, failed = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=folder)), []
        tasks = [self._task(shard, scratch, fitted, earlier, processes=len(todo)) for shard in todo]
        with contextlib.closing(self._written(tasks)) as written:
            for task, problems in zip(tasks, written, strict=True):
                failed += problems
                _raise_of_disk(problems)
                if not failed:
                    keep_shard(task, folder)
        if failed:
            raise DataErrors(failed)
        return sum(len(task.new) for task in tasks)

    def _task(self, shard, scratch, fitted, earlier, *, processes):
        spans = {key: earlier.spans[key] for key in shard.keys if key in earlier.spans}
        compression, threads = self.settings["compression"], max(1, self.workers // processes)
        return ShardTask(shard, scratch, fitted, compression=compression, earlier=spans, threads=threads)

    def _written(self, tasks):
        """Yield for each shard, in order, the errors of its writing; a process writes one at a time."""
        workers = max(1, min(self.workers, len(tasks)))
        parallel = joblib.Parallel(n_jobs=workers, return_as="generator", batch_size=1, pre_dispatch="all")
        with contextlib.ExitStack() as stack:
            bar = stack.enter_context(_bar(sum(len(task.new) for task in tasks))) if self.progress and tasks else None
            results = stack.enter_context(contextlib.closing(parallel(joblib.delayed(write_shard)(t) for t in tasks)))
            for task, problems in zip(tasks, results, strict=True):
                if bar:
                    bar.update(len(task.new))
                yield problems


def _bar(total):
    from tqdm import tqdm

    return tqdm(total=total, desc="prepare", unit="case", disable=None)


def _raise_of_disk(problems):
    for problem in problems:
        if isinstance(problem, EnvironmentFailure):
            raise problem


def _published(work, *, overwrite):
    """The manifest of the records that lie in `work` (None where there is none), and whether all of it is sound."""
    if not work.exists() or (work.is_dir() and not any(work.iterdir())):
        return None, False
    if not (work / MANIFEST).is_file():
        raise OutputExistsError(work, "a folder that is not empty", "Choose another folder for the records.")
    if overwrite:
        _refuse_strangers(work)
    for verify in (True, False):
        try:
            return read_manifest(work, verify=verify), verify
        except DataError:
            if not overwrite:
                raise
    return None, False


def _refuse_strangers(work):
    known = {MANIFEST, PREPROCESSING, SPLIT}
    found = sorted(path.name for path in work.iterdir() if path.name not in known and path.suffix != ".tfrecord")
    if found:
        way_out = "Move that away, since the folder is replaced as a whole."
        raise OutputExistsError(work, f"beside the records also {', '.join(found[:5])}", way_out)


def _settings(cases, preprocessing, split, *, seed, stratify):
    given = isinstance(split, dict | str | Path) or any(case.part is not None for case in cases)
    return {
        "task": msgspec.json.decode(msgspec.json.encode(cases[0].task)),  # lists, as read from the manifest
        "preprocessing": json.loads(preprocessing.to_json()),
        "split": None if given else list(check_shares(split)),
        "seed": None if given else int(seed),
        "stratify": None if given else stratify,
    }


def _parts(cases, split, settings, old):
    if isinstance(split, dict):
        parts = split
    elif isinstance(split, str | Path):
        parts = read_split(split)
    elif old and same_split(old.settings, settings):
        parts = {part: tuple(e["case_id"] for e in old.settings["cases"] if e["part"] == part) for part in PARTS}
    else:
        parts = split_cases(cases, split, seed=settings["seed"] or 0, stratify=settings["stratify"])
    check_split(parts, cases)
    return parts


def _call(preprocessing, settings):
    split = repr(tuple(settings["split"])) if settings["split"] else repr(SPLIT)
    chosen = ", ".join(f"{name}={settings[name]!r}" for name in ("seed", "stratify", "compression"))
    return f"write_tfrecords(cases, work, preprocessing={preprocessing!r}, split={split}, {chosen})"


def _check_uniform(cases):
    if not cases:
        raise UsageError("Expected at least one case to prepare, received none.")
    without = [
        LabelError(case.case_id, "expected a mask, found none", "Leave it out.") for case in cases if not case.mask
    ]
    if without:
        raise DataErrors(without)
    tasks = dict.fromkeys(case.task for case in cases)
    if len(tasks) > 1:
        raise UsageError(f"All cases must have one task. Received: {'; '.join(map(repr, tasks))}.")
