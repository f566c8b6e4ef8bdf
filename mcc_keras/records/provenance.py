"""What records follow from: sources by their SHA-256, labels, preprocessing, split; and how two sets differ in it."""

import contextlib
import functools
import hashlib
import json
from pathlib import Path

from mcc_keras.errors import VolumeError
from mcc_keras.records.sources import hash_files, source_files

RECORD_SCHEMA = 2
_NAMED = 5
_DECIDING = ("labels", "background", "channel_names")  # of the task; names of classes change no byte


def describe_cases(cases, *, workers=None):
    """Return an entry for each case: id, patient, paths, and size and SHA-256 of every file it is read from.

    Args:
        cases: `Case`s with masks.
        workers: Files that are read at a time; `None` is one a core.
    """
    files = {
        case.case_id: [file for path in (*case.images, case.mask) for file in source_files(path)] for case in cases
    }
    hashes = hash_files([file for some in files.values() for file in some], workers=workers)
    place = functools.cache(lambda path: str(Path(path).resolve()))
    return [
        {
            "case_id": case.case_id,
            "group": case.group,
            "images": [place(path) for path in case.images],
            "mask": place(case.mask),
            "affine": case.affine,
            "nonfinite": case.nonfinite,
            "sources": [
                {"file": place(file), "bytes": hashes[file][0], "sha256": hashes[file][1]}
                for file in files[case.case_id]
            ],
        }
        for case in cases
    ]


def source_stamps(cases):
    """Return file → (bytes, time of its last change), which a file that is written to does not keep."""
    files = [file for case in cases for path in (*case.images, case.mask) for file in source_files(path)]
    states = {}
    for file in files:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            states[file] = file.stat()
    return {file: (state.st_size, state.st_mtime_ns) for file, state in states.items()}


def refuse_changed(before, after):
    """Refuse sources that were written to between their hashing and now: hash and voxels might be of two files."""
    changed = sorted(file for file in before.keys() | after.keys() if before.get(file) != after.get(file))
    if changed:
        problem = "expected a file that nobody writes to while it is prepared, found it changed"
        raise VolumeError(changed[0], problem, "Run it again.")


def record_keys(settings, preprocessing):
    """Return case id → key: the SHA-256 of all that the bytes of its record follow from.

    Args:
        settings: Dict of task, compression and cases.
        preprocessing: The fitted `Preprocessing`.
    """
    shared = {"schema": RECORD_SCHEMA, "preprocessing": preprocessing.to_json(), "compression": settings["compression"]}
    shared |= {name: settings["task"][name] for name in _DECIDING}
    keys = {}
    for entry in settings["cases"]:
        own = {
            "case_id": entry["case_id"],
            "affine": entry["affine"],
            "nonfinite": entry["nonfinite"],
            "sources": _hashes(entry),
        }
        keys[entry["case_id"]] = hashlib.sha256(json.dumps(shared | own, sort_keys=True).encode()).hexdigest()
    return keys


def same_split(old, new):
    """Do two settings ask for one split by shares, of the same cases? Then the stored one is taken, not made anew."""
    asked = [(s["split"], s["seed"], s["stratify"]) for s in (old, new)]
    cases = [[(e["case_id"], e["group"], _hashes(e)) for e in s["cases"]] for s in (old, new)]
    return new["split"] is not None and asked[0] == asked[1] and cases[0] == cases[1]


def same_fit(old, new):
    """Would preprocessing be fitted to the same training cases, from the same settings?"""
    training = [[_hashes(e) for e in s["cases"] if e["part"] == "train"] for s in (old, new)]
    return training[0] == training[1] and all(old[name] == new[name] for name in ("preprocessing", "task"))


def differences(old, new):
    """Return in words what differs between two settings; empty where nothing does.

    Args:
        old: Settings of a manifest.
        new: Settings of a call.
    """
    found = [name for name in new["task"] if old["task"].get(name) != new["task"][name]]
    found += [name for name in new if name not in ("task", "cases") and old.get(name) != new[name]]
    before, now = ({entry["case_id"]: entry for entry in settings["cases"]} for settings in (old, new))
    both = [name for name in now if name in before]
    kinds = {
        "new cases": [name for name in now if name not in before],
        "cases that are gone": [name for name in before if name not in now],
        "sources of": [name for name in both if _hashes(now[name]) != _hashes(before[name])],
        "part of": [name for name in both if now[name]["part"] != before[name]["part"]],
        "patient of": [name for name in both if now[name]["group"] != before[name]["group"]],
    }
    found += [f"{kind} {_listed(names)}" for kind, names in kinds.items() if names]
    if not found and new["cases"] != old["cases"]:
        found.append("places of the source files")
    return found


def _hashes(entry):
    return [source["sha256"] for source in entry["sources"]]


def _listed(names):
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
