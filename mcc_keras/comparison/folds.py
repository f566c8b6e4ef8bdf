"""The folds of a comparison: the cases of WORK split by patient, and records made of their files for each fold.

Records of WORK itself are not used: the median spacing, the statistics of the set and the sides of its classes were
fitted to a training part that holds test patients of the folds.
"""

import json
from dataclasses import replace
from pathlib import Path

from mcc_keras.datasets.splits import fold_cases, split_cases
from mcc_keras.errors import CaseError, UsageError, raise_all
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.sources import hash_files
from mcc_keras.records.write import write_tfrecords

PROTOCOLS = ("folds", "paper")
PAPER_SHARES = (0.7, 0.2, 0.1)
VALIDATION = 0.2  # of the patients outside the test part


def read_sources(manifest):
    """Return the `Case`s of a WORK folder, of which each file is as it was when they were prepared.

    Args:
        manifest: `Manifest` of WORK.

    Raises:
        CaseError: A file is gone or has changed; `DataErrors` for several.
    """
    entries = manifest.settings.cases
    hashes = hash_files([Path(source.file) for entry in entries for source in entry.sources])
    raise_all(
        CaseError(
            source.file,
            f"expected the file of case {entry.case_id} as it was when {manifest.work} was prepared, found "
            + ("none" if hashes[Path(source.file)][1] is None else "another"),
            "Put it back, or run `prepare` again and compare into a new folder.",
        )
        for entry in entries
        for source in entry.sources
        if hashes[Path(source.file)][1] != source.sha256
    )
    return tuple(replace(entry.to_case(manifest.settings.task), part=None) for entry in entries)


def split_folds(cases, *, folds=5, protocol="folds", split_seed=0, stratify=None):
    """Return the splits, each a dict part → case ids: one for each fold, or the one of the paper.

    In a fold, a fifth of the patients outside its test part choose the epoch to keep, and the threshold.

    Args:
        cases: `Case`s without a part.
        folds: Number of folds.
        protocol: `"folds"`: every patient is in one test part. `"paper"`: one split, 70 % training, 20 % validation,
            10 % test.
        split_seed: Integer seed of the split.
        stratify: `"foreground"`, or `None`.

    Raises:
        UsageError: An unknown protocol, or a number out of range.
        CaseError: Too few patients.

    Example:

    >>> from mcc_keras.datasets import Case
    >>> cases = [Case(f"p{i}", (Path("x.nii"),)) for i in range(10)]
    >>> [[len(split[part]) for part in split] for split in split_folds(cases, folds=2)]
    [[4, 1, 5], [4, 1, 5]]
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"`protocol` must be one of {', '.join(PROTOCOLS)}. Received: protocol={protocol!r}.")
    if stratify not in (None, "foreground"):
        raise UsageError(f"`stratify` must be None or 'foreground'. Received: stratify={stratify!r}.")
    if protocol == "paper":
        return (split_cases(cases, PAPER_SHARES, seed=split_seed, stratify=stratify),)
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
        raise UsageError(f"`folds` must be an integer of at least 2. Received: folds={folds!r}.")
    patients = len({case.group for case in cases})
    if folds <= patients < 4 and patients - -(-patients // folds) < 2:
        problem = f"expected patients to train and to validate on beside each test part, found {patients} in all"
        raise CaseError("folds", problem, "Take more folds, or add patients.")
    return fold_cases(cases, folds, validation=VALIDATION * (1 - 1 / folds), seed=split_seed, stratify=stratify)


def patient_ratio(cases, splits):
    """Return the number of test patients by that of training patients, the mean over folds."""
    group = {case.case_id: case.group for case in cases}
    counts = [{part: len({group[name] for name in ids}) for part, ids in split.items()} for split in splits]
    return sum(count["test"] / count["train"] for count in counts) / len(counts)


def prepare_folds(manifest, cases, splits, folder, *, workers=None, progress=None):
    """Prepare FOLDER/k/work for each split from the files of the cases; records that are there already are left.

    Args:
        manifest: `Manifest` of WORK, whose settings are used.
        cases: `Case`s that `read_sources` returned.
        splits: Dicts part → case ids.
        folder: Folder of the folds.
        workers: Processes, as in `write_tfrecords`.
        progress: `None`, or a callable that gets a line of text for each fold.

    Returns:
        The WORK folder of each fold.
    """
    preprocessing = Preprocessing.from_json(json.dumps(manifest.settings.preprocessing), path=manifest.folder)
    works = []
    for number, split in enumerate(splits):
        work = fold_work(folder, number)
        prepared = write_tfrecords(
            cases,
            work,
            preprocessing=preprocessing,
            split=split,
            compression=manifest.compression,
            workers=workers,
            accept_loss=True,  # the box was accepted when WORK was prepared
        )
        works.append(work)
        if progress is not None and prepared.prepared:
            counts = ", ".join(f"{count} {part}" for part, count in prepared.counts.items())
            progress(f"fold {number}    prepared: {counts}")
    return tuple(works)


def fold_work(folder, number):
    """Return the WORK folder of a fold."""
    return Path(folder) / str(number) / "work"
