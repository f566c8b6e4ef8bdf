"""Splits by patient: no group of cases is ever on both sides, and the same seed gives the same split everywhere.

split = split_cases(cases, (0.7, 0.2, 0.1), seed=7)          # {"train": ids, "validation": ids, "test": ids}
write_split(split, "split.json", seed=7)
"""

import hashlib
import json
import math
from pathlib import Path

from mcc_keras.errors import CaseError, DataErrors, EnvironmentFailure, OutputExistsError, UsageError
from mcc_keras.files import write_text

PARTS = ("train", "validation", "test")
_WAY_OUT = "Keep all cases of one patient in one part."


def split_cases(cases, shares=(0.7, 0.2, 0.1), *, seed=0):
    """Split cases into training, validation and test, whole groups (patients) at a time.

    The groups are put in an order that depends on the seed and their names only (a hash, so neither the machine nor a
    library's version matters), then dealt by the largest remainder; every share above 0 gets at least one group.

    Args:
        cases: `Case`s. Where each of them has a `part`, that is the split, and `shares` and `seed` are not used.
        shares: Of the groups, for training, validation and test; from 0 to 1, together 1. A share of 0 leaves a part
            empty.
        seed: Any integer; another seed gives another split.

    Returns:
        A dict part → tuple of case ids, sorted.

    Raises:
        CaseError: Fewer groups than parts, an id twice, a group in two parts, or a `part` on some cases only.
        UsageError: Shares that are no shares.

    Example:

    >>> from mcc_keras.datasets import Case
    >>> cases = [Case(f"scan{i}", (Path("x.nii"),), group=f"patient{i // 2}") for i in range(6)]
    >>> split_cases(cases, (0.4, 0.3, 0.3), seed=1)
    {'train': ('scan2', 'scan3'), 'validation': ('scan0', 'scan1'), 'test': ('scan4', 'scan5')}
    >>> split_cases(cases, (0, 0, 1))["train"]
    ()
    """
    cases = tuple(cases)
    _refuse_duplicates(cases)
    if any(case.part is not None for case in cases):
        return _given_parts(cases)
    sizes = _sizes(_shares(shares), len({case.group for case in cases}))
    order = sorted({case.group for case in cases}, key=lambda group: _rank(seed, group))
    split, start = {}, 0
    for part, size in zip(PARTS, sizes, strict=True):
        groups = set(order[start : start + size])
        split[part] = tuple(sorted(case.case_id for case in cases if case.group in groups))
        start += size
    return split


def check_split(split, cases):
    """Refuse a split that does not fit the cases: an unknown or missing id, an id twice, a patient in two parts.

    Raises:
        CaseError: One such problem; `DataErrors` if there are several.
    """
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
    problems += _leaks((groups[name], seen[name]) for name in groups if name in seen)
    _raise(problems)


def write_split(split, path, *, seed=None, shares=None, overwrite=False):
    """Write a split as JSON that a person can read and edit, with the seed and the shares that made it.

    Args:
        split: A dict part → case ids.
        path: The file.
        seed: Noted in the file.
        shares: Noted in the file.
        overwrite: Replace a file that is there already.

    Returns:
        The path.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise OutputExistsError(path, "a file", "Choose another name, or allow overwriting.")
    made = {"seed": seed, "shares": None if shares is None else list(shares)}
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
    try:
        data = json.loads(Path(path).read_text("utf-8"))
        split = {part: tuple(data[part]) for part in PARTS}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CaseError(path, f"expected a split in JSON, found: {type(error).__name__} {error}", way_out) from None
    ids = [case_id for part in PARTS for case_id in split[part]]
    if not all(isinstance(data[part], list) for part in PARTS) or not all(isinstance(name, str) for name in ids):
        raise CaseError(path, "expected lists of case ids, found something else", way_out)
    twice = sorted({case_id for case_id in ids if ids.count(case_id) > 1})
    if twice:
        raise CaseError(path, f"expected each case once, found {', '.join(twice[:5])} in two places", _WAY_OUT)
    return split


def _rank(seed, group):
    return hashlib.sha256(f"{int(seed)}:{group}".encode("utf-8", "surrogateescape")).digest(), group


def _shares(shares):
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


def _given_parts(cases):
    problems = [
        CaseError(case.case_id, f"expected a part of {', '.join(PARTS)}, found {case.part!r}", "Name it for each case.")
        for case in cases
        if case.part not in PARTS
    ]
    _raise(problems + _leaks((case.group, case.part) for case in cases if case.part in PARTS))
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
        raise CaseError("split", "expected cases, found none", "Look what find_cases gives.")
    ids = [case.case_id for case in cases]
    twice = sorted({case_id for case_id in ids if ids.count(case_id) > 1}) if len(set(ids)) < len(ids) else []
    _raise([CaseError(case_id, "expected each case id once, found it more often", "Rename them.") for case_id in twice])


def _raise(problems):
    if problems:
        raise problems[0] if len(problems) == 1 else DataErrors(problems)
