"""Splits by patient: no group of cases is ever on both sides, and the same seed gives the same split everywhere.

split = split_cases(cases, (0.7, 0.2, 0.1), seed=7)          # {"train": ids, "validation": ids, "test": ids}
write_split(split, "split.json", seed=7)                      # write_tfrecords(…, split="split.json") takes it
for number, split in enumerate(fold_cases(cases, folds=5, seed=7, stratify="foreground")):
    write_split(split, f"fold{number}.json", seed=7)
"""

import dataclasses
import hashlib
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np

from mcc_keras.documents import build, read_object
from mcc_keras.errors import CaseError, EnvironmentFailure, OutputExistsError, UsageError, raise_all
from mcc_keras.files import refuse_impossible_output, write_text
from mcc_keras.seeds import check_seed
from mcc_keras.volumes import read_mask_file

PARTS = ("train", "validation", "test")
FOREGROUND = "foreground"
_WAY_OUT = "Keep all cases of one patient in one part."
_MANY_VALUES = 10  # a numeric column with more distinct values is continuous, with fewer categorical


def split_cases(cases, shares=(0.7, 0.2, 0.1), *, seed=0, stratify=None):
    """Split cases into training, validation and test, whole groups (patients) at a time.

    The groups are put in an order that depends on the seed and their names only (a hash, so neither the machine nor a
    library's version matters), then dealt by the largest remainder; every share above 0 gets at least one group.

    Args:
        cases: `Case`s. Where each of them has a `part`, that is the split, and `shares` and `seed` are not used.
        shares: Of the groups, for training, validation and test; from 0 to 1, together 1. A share of 0 leaves a part
            empty.
        seed: Whole number from 0 to 2³² − 1; another seed gives another split.
        stratify: Variable to stratify by: `"foreground"` (organ volume, the mean over a patient's masks, which are read
            for it) or a column of the cases. Columns of more than 10 different numbers are binned. `None` leaves it to
            chance.

    Returns:
        A dict part → tuple of case ids, sorted.

    Raises:
        CaseError: Fewer groups than parts, an id twice, a group in two parts, or a `part` on some cases only.
        UsageError: Shares out of range, or a column that no case has.

    Example:

    >>> from mcc_keras.datasets import Case
    >>> cases = [Case(f"scan{i}", (Path("x.nii"),), group=f"patient{i // 2}") for i in range(6)]
    >>> split_cases(cases, (0.4, 0.3, 0.3), seed=1)
    {'train': ('scan2', 'scan3'), 'validation': ('scan0', 'scan1'), 'test': ('scan4', 'scan5')}
    >>> split_cases(cases, (0, 0, 1))["train"]
    ()
    """
    cases, seed = tuple(cases), check_seed(seed)
    _refuse_duplicates(cases)
    if any(case.part is not None for case in cases):
        return _given_parts(cases)
    groups = {case.group for case in cases}
    sizes = _sizes(check_shares(shares), len(groups))
    if stratify is not None:
        return _named(_deal(_blocks(_values(cases, stratify), sizes), sizes, seed), cases)
    order = sorted(groups, key=lambda group: _rank(seed, group))
    ends = np.cumsum([0, *sizes])
    return _named([order[start:end] for start, end in zip(ends, ends[1:], strict=False)], cases)


def fold_cases(cases, folds=5, *, validation=0.1, seed=0, stratify=None):
    """Split cases for cross-validation: every patient is in the test part of exactly one fold.

    The numbers of test patients of two folds differ by one at most. The validation part of a fold comes from the
    patients outside its test part, so that test cases never choose the epoch to keep.

    Args:
        cases: `Case`s, without a `part`.
        folds: Number of folds, from 2 to the number of patients.
        validation: Share of all patients that each fold validates on, from 0 (none) to less than 1 − 1 / folds.
        seed: Whole number from 0 to 2³² − 1.
        stratify: As in `split_cases`.

    Returns:
        A tuple of splits, each a dict part → tuple of case ids, sorted.

    Raises:
        CaseError: Too few patients, an id twice, or cases whose `part` is given.
        UsageError: Numbers out of range, or a column that no case has.

    Example:

    >>> from mcc_keras.datasets import Case
    >>> cases = [Case(f"p{i}", (Path("x.nii"),)) for i in range(6)]
    >>> [split["test"] for split in fold_cases(cases, folds=3, seed=1)]
    [('p1', 'p2'), ('p4', 'p5'), ('p0', 'p3')]
    """
    cases, seed = tuple(cases), check_seed(seed)
    _refuse_duplicates(cases)
    raise_all(CaseError(case.case_id, f"expected no part yet, found {case.part!r}") for case in cases if case.part)
    groups = sorted({case.group for case in cases})
    held = _validation_size(len(groups), folds, validation)
    sizes = [len(groups) // folds + (index < len(groups) % folds) for index in range(folds)]
    values = _values(cases, stratify) if stratify is not None else dict.fromkeys(groups, "")
    dealt = _deal(_blocks(values, sizes), sizes, seed)
    splits = []
    for number, test in enumerate(dealt):
        tested = set(test)
        rest = {group: values[group] for group in groups if group not in tested}
        parts = [len(rest) - held, held]
        train, inner = _deal(_blocks(rest, parts), parts, f"{seed}:{number}")
        splits.append(_named([train, inner, test], cases))
    return tuple(splits)


def foreground_fraction(case):
    """Return the fraction of foreground voxels in a case's mask, from 0 to 1.

    Example:

    >>> import tempfile
    >>> from mcc_keras.datasets import Case
    >>> from mcc_keras.volumes import write_volume
    >>> mask = np.arange(8, dtype=np.uint8).reshape(2, 2, 2) // 6
    >>> path = write_volume(mask, Path(tempfile.mkdtemp()) / "mask.nii", affine=np.eye(4))
    >>> foreground_fraction(Case("a", (Path("x.nii"),), mask=path))
    0.25
    """
    if case.mask is None:
        raise CaseError(case.case_id, "expected a mask to stratify by, found none", "Give it one, or leave it out.")
    array = read_mask_file(case.mask, affine=case.affine).array
    labels = [value for values in case.task.labels for value in values]
    return float(np.isin(np.rint(array), labels).mean())


def check_split(split, cases):
    """Refuse a split that does not fit the cases: an unknown or missing id, an id twice, a patient in two parts, a part
    that the case's own table contradicts.

    Raises:
        CaseError: One such problem; `DataErrors` if there are several.
    """
    _refuse_duplicates(cases)
    groups = {case.case_id: case.group for case in cases}
    listed = [(part, case_id) for part, ids in split.items() for case_id in ids]
    seen, problems = {}, []
    for part, case_id in listed:
        if part not in PARTS:
            problems.append(CaseError(case_id, f"expected a part of {', '.join(PARTS)}, found {part!r}"))
        elif case_id not in groups:
            problems.append(CaseError(case_id, f"expected a case of the data set, found none of this id, in {part}"))
        elif case_id in seen:
            problems.append(CaseError(case_id, f"expected once, found in {seen[case_id]} and in {part}", _WAY_OUT))
        seen[case_id] = part
    problems += [CaseError(name, "expected in a part, found in none") for name in groups if name not in seen]
    problems += [
        CaseError(case.case_id, f"expected the part of its table, {case.part}, found {seen[case.case_id]}")
        for case in cases
        if case.part is not None and seen.get(case.case_id, case.part) != case.part
    ]
    problems += _leaks((groups[name], seen[name]) for name in groups if name in seen)
    raise_all(problems)


def write_split(split, path, *, seed=None, shares=None, stratify=None, overwrite=False):
    """Write a split as JSON that a person can read and edit, with the seed and the shares that made it.

    Args:
        split: A dict part → case ids.
        path: The file.
        seed: Recorded in the file.
        shares: Recorded in the file.
        stratify: Recorded in the file.
        overwrite: Replace a file that is there already.

    Returns:
        The path.
    """
    path = Path(path)
    refuse_impossible_output(path)
    if path.exists() and not overwrite:
        raise OutputExistsError(path, "a file", "Choose another name, or allow overwriting.")
    made = {"seed": seed, "shares": None if shares is None else list(shares), "stratify": stratify}
    text = json.dumps({**made, **{part: list(split.get(part, ())) for part in PARTS}}, indent=1)
    try:
        return write_text(path, text + "\n")
    except OSError as error:
        raise EnvironmentFailure(f"{path}: cannot be written ({error.strerror}).") from error


def read_split(path):
    """Read a split that `write_split` wrote, as a dict part → tuple of case ids.

    Raises:
        CaseError: No such file, or one that holds no split.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "split.json"
    >>> _ = write_split({"train": ("a", "b"), "test": ("c",)}, path, seed=7)
    >>> read_split(path)
    {'train': ('a', 'b'), 'validation': (), 'test': ('c',)}
    """
    way_out = 'It looks like {"train": ["a", "b"], "validation": ["c"], "test": []}.'
    content = read_object(path, error=CaseError, way_out=way_out)
    stored = build(content, _StoredSplit, path=path, error=CaseError, way_out=way_out)
    split = {part: getattr(stored, part) for part in PARTS}
    twice = repeated(case_id for part in PARTS for case_id in split[part])
    if twice:
        raise CaseError(path, f"expected each case once, found {', '.join(twice[:5])} in two places", _WAY_OUT)
    return split


@dataclasses.dataclass(frozen=True, kw_only=True)
class _StoredSplit:
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    seed: int | None = None
    shares: tuple[float, ...] | None = None
    stratify: str | None = None


def repeated(ids):
    """Return the ids that occur more than once, sorted.

    >>> repeated(["b", "a", "b"])
    ['b']
    """
    return sorted(case_id for case_id, count in Counter(ids).items() if count > 1)


def _rank(seed, group):
    return hashlib.sha256(f"{seed}:{group}".encode("utf-8", "surrogateescape")).digest(), group


def check_shares(shares):
    """Return shares as three floats, or refuse them."""
    rule = f"`shares` must be three numbers from 0 to 1 that sum to 1. Received: shares={shares!r}"
    try:
        shares = tuple(float(share) for share in shares)
    except (TypeError, ValueError):
        raise UsageError(rule) from None
    if (
        len(shares) != 3
        or not all(0 <= share <= 1 for share in shares)
        or not math.isclose(sum(shares), 1, abs_tol=1e-6)
    ):
        raise UsageError(rule)
    return shares


def _sizes(shares, count):
    """Whole numbers of groups by the largest remainder, at least one for every share above 0."""
    wanted = [part for part, share in zip(PARTS, shares, strict=True) if share > 0]
    if count < len(wanted):
        raise CaseError(
            "split",
            f"expected at least one patient for each of {', '.join(wanted)}, found {count} in all",
            "Give a part the share 0, or add patients.",
        )
    exact = [round(share * count, 9) for share in shares]
    sizes = [math.floor(size) for size in exact]
    by_remainder = sorted(range(3), key=lambda index: sizes[index] - exact[index])
    for index in by_remainder[: count - sum(sizes)]:
        sizes[index] += 1
    for index, share in enumerate(shares):
        if share > 0 and sizes[index] == 0:
            sizes[max(range(3), key=lambda other: sizes[other])] -= 1
            sizes[index] = 1
    return sizes


def _validation_size(count, folds, validation):
    if not (isinstance(folds, int | np.integer) and folds >= 2):
        raise UsageError(f"`folds` must be an integer of at least 2. Received: folds={folds!r}.")
    if count < folds:
        way_out = "Take fewer folds, or add patients."
        raise CaseError("folds", f"expected at least one patient for each of {folds} folds, found {count}", way_out)
    if not 0 <= validation < 1 - 1 / folds:
        raise UsageError(
            f"`validation` must be at least 0 and below {1 - 1 / folds:.3g}. Received: validation={validation!r}."
        )
    held = max(1, round(validation * count)) if validation else 0
    if count - -(-count // folds) - held < 1:
        found = f"expected patients to train on beside {-(-count // folds)} for test and {held} for validation"
        raise CaseError("folds", f"{found}, found {count} in all", "Take validation=0, more folds, or more patients.")
    return held


def _values(cases, stratify):
    """Return for each group the value to stratify by: a number, or text."""
    if stratify == FOREGROUND:
        by_group = _by_group((case.group, foreground_fraction(case)) for case in cases)
        return {group: sum(found) / len(found) for group, found in by_group.items()}
    if not all(stratify in case.columns for case in cases):
        there = sorted(set.intersection(*(set(case.columns) for case in cases)))
        expected = f"Expected 'foreground' or a column of every case ({', '.join(there) or 'there is none'})."
        raise UsageError(f"{expected} Received: stratify={stratify!r}.")
    by_group = _by_group((case.group, str(case.columns[stratify])) for case in cases)
    try:
        numbers = {group: sum(map(float, found)) / len(found) for group, found in by_group.items()}
    except ValueError:
        numbers = {}
    if len(set(numbers.values())) > _MANY_VALUES and all(map(math.isfinite, numbers.values())):
        return numbers
    return {group: "\0".join(sorted(set(found))) for group, found in by_group.items()}


def _by_group(pairs):
    found = {}
    for group, value in pairs:
        found.setdefault(group, []).append(value)
    return found


def _blocks(values, sizes):
    """Return groups that are similar: those of one text, or, of numbers, neighbors in their order."""
    if not values or isinstance(next(iter(values.values())), str):
        blocks = {}
        for group, value in values.items():
            blocks.setdefault(value, []).append(group)
        return [blocks[value] for value in sorted(blocks)]
    order = sorted(values, key=lambda group: (values[group], group))
    length = max(1, round(len(order) / min(size for size in sizes if size)))
    return [order[start : start + length] for start in range(0, len(order), length)]


def _deal(blocks, sizes, seed):
    """Deal groups to parts so that each part has its share at any point, up to rounding, and exactly at the end.

    The order within a block is random. The part furthest behind its share is next, in whole numbers, so that rounding
    does not decide.
    """
    total, dealt = sum(sizes), [[] for _ in sizes]
    order = [group for block in blocks for group in sorted(block, key=lambda group: _rank(seed, group))]
    for number, group in enumerate(order, start=1):
        behind = [size * number - len(some) * total for size, some in zip(sizes, dealt, strict=True)]
        dealt[behind.index(max(behind))].append(group)
    return dealt


def _named(dealt, cases):
    parts = [set(groups) for groups in dealt]
    return {
        part: tuple(sorted(case.case_id for case in cases if case.group in groups))
        for part, groups in zip(PARTS, parts, strict=True)
    }


def _given_parts(cases):
    problems = [
        CaseError(case.case_id, f"expected a part of {', '.join(PARTS)}, found {case.part!r}", "Name it for each case.")
        for case in cases
        if case.part not in PARTS
    ]
    raise_all(problems + _leaks((case.group, case.part) for case in cases if case.part in PARTS))
    return {part: tuple(sorted(case.case_id for case in cases if case.part == part)) for part in PARTS}


def _leaks(group_parts):
    found = {}
    for group, part in group_parts:
        found.setdefault(group, set()).add(part)
    return [
        CaseError(group, f"expected a patient in one part, found in {' and '.join(sorted(parts))}", _WAY_OUT)
        for group, parts in found.items()
        if len(parts) > 1
    ]


def _refuse_duplicates(cases):
    if not cases:
        raise CaseError("split", "expected cases, found none", "Check the cases that find_cases returns.")
    raise_all(
        CaseError(case_id, "expected each case id once, found it more often", "Rename them.")
        for case_id in repeated(case.case_id for case in cases)
    )
