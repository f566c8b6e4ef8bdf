"""Inputs that determine the bytes of a record: SHA-256 of sources, labels, preprocessing and split."""

import contextlib
import functools
import hashlib
import json
from pathlib import Path

import msgspec

from mcc_keras.errors import VolumeError
from mcc_keras.records.entries import CaseEntry, SourceEntry
from mcc_keras.records.sources import hash_files, source_files, stamp

RECORD_SCHEMA = 3
_NAMED = 5
_DECIDING = ("labels", "background", "channel_names")  # fields of the task; names of classes change no byte


def describe_cases(cases, *, workers=None):
    """Return the `CaseEntry` of each case, with size and SHA-256 of every file that it is read from.

    Args:
        cases: `Case`s with masks.
        workers: Files that are read at a time; `None` is one per core.
    """
    files = {
        case.case_id: [file for path in (*case.images, case.mask) for file in source_files(path)] for case in cases
    }
    hashes = hash_files([file for some in files.values() for file in some], workers=workers)
    place = functools.cache(lambda path: str(Path(path).resolve()))
    return tuple(
        CaseEntry(
            case_id=case.case_id,
            group=case.group,
            images=tuple(place(path) for path in case.images),
            mask=place(case.mask),
            affine=case.affine,
            nonfinite=case.nonfinite,
            sources=tuple(
                SourceEntry(file=place(file), bytes=hashes[file][0], sha256=hashes[file][1])
                for file in files[case.case_id]
            ),
        )
        for case in cases
    )


def source_stamps(cases):
    """Return file → the `stamp` that a file which is written to, or replaced, does not keep."""
    files = [file for case in cases for path in (*case.images, case.mask) for file in source_files(path)]
    stamps = {}
    for file in files:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            stamps[file] = stamp(file)
    return stamps


def refuse_changed(before, after):
    """Refuse sources that were written to between their hashing and now: hash and voxels might be of two files."""
    changed = sorted(file for file in before.keys() | after.keys() if before.get(file) != after.get(file))
    if changed:
        problem = "expected a file that does not change while it is prepared, found it changed"
        raise VolumeError(changed[0], problem, "Run it again.")


def record_keys(settings, preprocessing):
    """Return case id → key: the SHA-256 of everything that determines the bytes of its record.

    Args:
        settings: `Settings`.
        preprocessing: The fitted `Preprocessing`.
    """
    shared = {"schema": RECORD_SCHEMA, "preprocessing": preprocessing.to_json(), "compression": settings.compression}
    shared |= {name: getattr(settings.task, name) for name in _DECIDING}
    keys = {}
    for entry in settings.cases:
        own = {name: getattr(entry, name) for name in ("case_id", "affine", "nonfinite")}
        text = json.dumps(shared | own | {"sources": entry.hashes}, sort_keys=True)
        keys[entry.case_id] = hashlib.sha256(text.encode()).hexdigest()
    return keys


def set_name(settings):
    """Return the name of the set for some settings: the same settings give the same records."""
    return hashlib.sha256(b"%d" % RECORD_SCHEMA + msgspec.json.encode(settings)).hexdigest()[:16]


def same_split(old, new):
    """Whether two settings have the same split by shares of the same cases, so that the stored one is reused."""
    asked = [(s.split, s.seed, s.stratify) for s in (old, new)]
    cases = [[(entry.case_id, entry.group, entry.hashes) for entry in s.cases] for s in (old, new)]
    return new.split is not None and asked[0] == asked[1] and cases[0] == cases[1]


def same_fit(old, new):
    """Whether preprocessing would be fitted to the same training cases, from the same settings."""
    training = [[entry.hashes for entry in s.of_part("train")] for s in (old, new)]
    return training[0] == training[1] and (old.preprocessing, old.task) == (new.preprocessing, new.task)


def differences(old, new):
    """Return descriptions of the differences between two settings; empty if there are none.

    Args:
        old: `Settings` of a manifest.
        new: `Settings` of a call.
    """
    found = _changed_fields(old.task, new.task)
    found += [name for name in _changed_fields(old, new) if name not in ("task", "cases")]
    before, now = ({entry.case_id: entry for entry in settings.cases} for settings in (old, new))
    both = [name for name in now if name in before]
    kinds = {
        "new cases": [name for name in now if name not in before],
        "cases that are gone": [name for name in before if name not in now],
        "sources of": [name for name in both if now[name].hashes != before[name].hashes],
        "part of": [name for name in both if now[name].part != before[name].part],
        "patient of": [name for name in both if now[name].group != before[name].group],
    }
    found += [f"{kind} {_listed(names)}" for kind, names in kinds.items() if names]
    if not found and new.cases != old.cases:
        found.append("places of the source files")
    return found


def _changed_fields(old, new):
    return [name for name in new.__dataclass_fields__ if getattr(old, name) != getattr(new, name)]


def _listed(names):
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
