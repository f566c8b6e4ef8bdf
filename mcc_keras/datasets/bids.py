"""BIDS: scans in `sub-*/[ses-*/]anat/`, masks in `derivatives/<name>/`.

    sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz                                 a channel T1w; FLAIR, T2w, … beside it
    derivatives/manual/sub-01/ses-1/anat/sub-01_ses-1_desc-lesion_mask.nii.gz a mask; also _dseg.nii.gz
    derivatives/manual/desc-lesion_dseg.tsv                                   names of labels: columns index and name

The patient is `sub-`; each session is a case. `participants.tsv` gives the columns of the cases.
"""

import csv
import re

from mcc_keras.datasets.paths import confined, stem_of, volumes_in
from mcc_keras.datasets.seen import command
from mcc_keras.errors import CaseError, UsageError, raise_all

_SUBJECT = re.compile(r"sub-[A-Za-z0-9+]+")
_MASKS = ("dseg", "mask")
NO_MASKS = ""
_DERIVATIVE = 'Choose with derivative="{}".'


def matches(source):
    """Whether a folder has scans in `sub-*/anat/` or `sub-*/ses-*/anat/`."""
    return source.is_dir() and any(True for _ in _sessions(source))


def find(source, derivative=None):
    """Return one case for each session, the labels of the masks, and their names.

    Args:
        source: The folder.
        derivative: Name of the folder in `derivatives` that holds the masks; None: the only one that does; `NO_MASKS`:
            none is looked for.
    """
    masks, pipeline = _masks(source, derivative)
    table, cases, problems = _participants(source), [], []
    for subject, folder in _sessions(source):
        key = folder.parent.relative_to(source).parts
        try:
            cases.append(_case(folder, source, masks.pop(key, []), table.get(subject, {})))
        except CaseError as problem:
            problems.append(problem)
    problems += [
        CaseError(paths[0], f"expected a scan of {'_'.join(key)}, found none", "Is the data set complete?")
        for key, paths in masks.items()
    ]
    raise_all(problems)
    regions = _label_names(pipeline, [case["mask"] for case in cases if case["mask"]])
    return cases, tuple(sorted(regions.values())) or ((1,),), regions


def _sessions(source):
    for subject in sorted(source.glob("sub-*")):
        if _SUBJECT.fullmatch(subject.name):
            for folder in sorted((*subject.glob("anat"), *subject.glob("ses-*/anat"))):
                if folder.is_dir() and any(_is_scan(path) for path in volumes_in(folder)):
                    yield subject.name, folder


def _is_scan(path):
    return "_" in path.name and not stem_of(path).endswith("mask")


def _case(folder, source, masks, columns):
    key = folder.parent.relative_to(source).parts
    channels = {}
    for path in filter(_is_scan, volumes_in(folder)):
        name = stem_of(path).removeprefix("_".join(key)).lstrip("_")
        if name in channels:
            raise CaseError(folder, f"expected one file of {name}, found {channels[name].name} and {path.name}")
        channels[name] = confined(path, source)
    if len(masks) > 1:
        pattern = masks[0].relative_to(source).as_posix().replace(key[0], "sub-*").replace(key[-1], key[-1][:4] + "*")
        scan = next(iter(channels.values())).relative_to(source).as_posix()
        scan = scan.replace(key[0], "sub-*").replace(key[-1], key[-1][:4] + "*")
        found = f"found {', '.join(path.name for path in masks)}"
        way_out = f"Choose by patterns, such as: {command(source, [scan], pattern)}."
        raise CaseError(folder, f"expected one mask, {found}", way_out)
    return {
        "case_id": "_".join(key),
        "group": key[0],
        "images": tuple(channels.values()),
        "mask": masks[0] if masks else None,
        "channel_names": tuple(channels),
        "columns": columns,
    }


def _masks(source, derivative):
    """Return (subject, session) → masks of the pipeline that holds them, and the folder of the pipeline."""
    if derivative == NO_MASKS:
        return {}, None
    folder = source / "derivatives"
    pipelines = [path for path in sorted(folder.iterdir()) if path.is_dir()] if folder.is_dir() else []
    found = {path.name: _masks_of(path, source) for path in pipelines}
    found = {name: masks for name, masks in found.items() if masks}
    names = ", ".join(found) or "none"
    if derivative is None and len(found) > 1:
        rule = f"expected masks in one folder of derivatives, found them in {names}"
        raise CaseError(source, rule, _DERIVATIVE.format(next(iter(found))))
    if derivative is not None and derivative not in found:
        raise UsageError(f"`derivative` must be a folder with masks in derivatives ({names}). Received: {derivative=}")
    name = derivative or next(iter(found), None)
    return (found[name], folder / name) if name else ({}, None)


def _masks_of(pipeline, source):
    found = {}
    for path in sorted((*pipeline.glob("sub-*/anat/*"), *pipeline.glob("sub-*/ses-*/anat/*"))):
        if path in volumes_in(path.parent) and stem_of(path).rpartition("_")[2] in _MASKS:
            found.setdefault(path.parent.parent.relative_to(pipeline).parts, []).append(confined(path, source))
    return found


def _label_names(pipeline, masks):
    """Return name → (label,) of the `_dseg.tsv` beside the masks, or of the one in the folder of the pipeline."""
    tables = dict.fromkeys(table for mask in masks if (table := mask.with_name(f"{stem_of(mask)}.tsv")).is_file())
    if not tables and any(stem_of(mask).endswith("_dseg") for mask in masks):
        tables = dict.fromkeys(sorted(pipeline.glob("*dseg.tsv")))
    found = {table: _read_names(table) for table in tables}
    raise_all(
        CaseError(table, f"expected the labels of {next(iter(found)).name}, found others", "Make them equal.")
        for table, names in found.items()
        if names != next(iter(found.values()))
    )
    return next(iter(found.values()), {})


def _read_names(path):
    rows, regions = _rows(path), {}
    for row in rows:
        try:
            label, name = int(row["index"]), row["name"].strip()
        except (KeyError, TypeError, ValueError, AttributeError):
            problem = f"expected columns index (a whole number) and name, found {row!r:.120}"
            raise CaseError(path, problem, "See BIDS on label tables.") from None
        if name in regions or (label,) in regions.values():
            raise CaseError(path, f"expected each index and name once, found {label} {name!r} again", "Mend the table.")
        if label:
            regions[name] = (label,)
    return regions


def _participants(source):
    """Return subject → further columns of `participants.tsv`, if there is one."""
    path = source / "participants.tsv"
    if not path.is_file():
        return {}
    return {
        row.get("participant_id"): {name: value or "" for name, value in row.items() if name != "participant_id"}
        for row in _rows(path)
    }


def _rows(path):
    try:
        return list(csv.DictReader(path.read_text("utf-8-sig").splitlines(), delimiter="\t", restkey="further"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CaseError(path, f"expected a table with tabs in UTF-8, found: {error}", "Mend or remove it.") from None
