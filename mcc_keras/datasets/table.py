"""A table: `case`, `image` (or several: `image_FLAIR`, `image_T1`, or `image_0`, …), `label`, `group` and `part`.

    case,image,label,group,part
    a1,scans/a1.nii.gz,masks/a1.nii.gz,patient7,train

Comma, semicolon or tab; `.csv` or `.tsv`. Paths are relative to the table; an image can be a folder of DICOM files. An
empty `label` is a case without a mask. `part` (train, validation or test) fixes the split. Other columns are kept with
the case. Only `case` and an image are required.
"""

import csv
import difflib
import warnings

from mcc_keras.datasets.paths import possible_file, volumes_in
from mcc_keras.datasets.splits import PARTS
from mcc_keras.errors import CaseError, raise_all
from mcc_keras.formats.dicom import holds_dicom

WAY_OUT = "The columns are case, image (or image_FLAIR, image_T1, ...), label, group, part."
_SUFFIXES = (".csv", ".tsv")
_COLUMNS = ("case", "image", "label", "group", "part")
# Other names of the columns; similar spellings are found by edit distance.
_OTHER_NAMES = {
    **dict.fromkeys(("id", "case_id", "caseid", "scan_id"), "case"),
    **dict.fromkeys(("scan", "volume", "img", "file"), "image"),
    **dict.fromkeys(("mask", "masks", "seg", "segmentation", "truth", "gt", "ground_truth", "annotation"), "label"),
    **dict.fromkeys(("patient", "patient_id", "subject", "subject_id", "participant_id"), "group"),
    **dict.fromkeys(("split", "set", "subset", "fold"), "part"),
}
_READ = ("case", "image", "label")


def matches(source):
    """Whether a path is a table, or a folder with one; with a volume beside it, one that has the columns."""
    if not source.is_dir():
        return source.suffix.lower() in _SUFFIXES
    return bool(_tables(source))


def find(source):
    """Return the cases of a table."""
    tables = _tables(source) if source.is_dir() else [source]
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables)
        raise CaseError(source, f"expected one table of cases, found {names}", "Name the one to read.")
    path = tables[0]
    header, rows = _rows(path)
    _refuse_other_names(header, path)
    images = _image_columns(header, path)
    cases, problems = [], []
    for line, row in rows:
        try:
            cases.append(_case(row, images, path, line))
        except CaseError as problem:
            problems.append(problem)
    raise_all(problems)
    if not cases:
        raise CaseError(path, "expected cases, found none below the header", WAY_OUT)
    return cases, ((1,),), {}


def passed_over(source):
    """Return the tables of a folder that are not one of cases."""
    tables = _tables(source)
    return [path for path in _files(source) if path not in tables]


def _files(folder):
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    return [path for path in paths if path.is_file() and not path.name.startswith(".")]


def _tables(folder):
    """Return the tables of cases in a folder; any table where there is nothing else to read."""
    files = _files(folder)
    found = [path for path in files if _is_table(path)]
    if found or volumes_in(folder) or any(path.is_dir() for path in folder.iterdir()):
        return found
    return files


def _is_table(path):
    try:
        header, _ = _rows(path)
    except CaseError:
        return False
    return "image" in header or any(name.startswith("image_") for name in header)


def _rows(path):
    try:
        text = path.read_text("utf-8-sig")
        first = text.splitlines()[0] if text else ""
        delimiter = max(",;\t", key=first.count)
        reader = csv.DictReader(text.splitlines(), delimiter=delimiter, strict=True)
        rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CaseError(path, f"expected a CSV table in UTF-8, found: {error}", WAY_OUT) from None
    header = [_name(name) for name in reader.fieldnames or ()]
    if "case" not in header or len(set(header)) != len(header):
        found = ", ".join(header)
        raise CaseError(path, f"expected a column named case and no name twice, found {found!r:.200}", WAY_OUT)
    return header, [(line, {_name(str(k)): v for k, v in row.items()}) for line, row in rows]


def _name(name):
    """Return the name of a column; those that are read in lower case."""
    name = name.strip()
    return name.lower() if name.lower() in _COLUMNS else name


def _refuse_other_names(header, path):
    """Refuse another name of a column that is needed and missing; warn where a patient or a part may be meant."""
    for name in header:
        meant = None if name in _COLUMNS or name.startswith("image_") else _meant(name)
        if meant is None or meant in header or (meant == "image" and any(n.startswith("image_") for n in header)):
            continue
        if meant in _READ:
            raise CaseError(path, f"expected a column {meant}, found {name}", f"Rename it {meant}. {WAY_OUT}")
        text = f"{path}: the column {name} is kept with the cases. If it is meant as {meant}, rename it {meant}."
        warnings.warn(text, stacklevel=2)


def _meant(name):
    """Return which column of `_COLUMNS` an unknown name may stand for.

    >>> [_meant(name) for name in ("Mask", "lable", "patient", "site")]
    ['label', 'label', 'group', None]
    """
    near = difflib.get_close_matches(name.lower(), _COLUMNS, n=1, cutoff=0.8)
    return _OTHER_NAMES.get(name.lower()) or next(iter(near), None)


def _image_columns(header, path):
    several = [name for name in header if name.startswith("image_")]
    if "image" in header and not several:
        return {"image": "image"}
    if not several or "image" in header:
        raise CaseError(path, "expected one column image, or several that begin with image_", WAY_OUT)
    if any(name.removeprefix("image_").isdecimal() for name in several):
        several.sort(key=lambda name: (len(name), name))
        if several != [f"image_{index}" for index in range(len(several))]:
            raise CaseError(path, "expected image_0, image_1 and so on without a gap", WAY_OUT)
        return {name: name for name in several}
    return {name: name.removeprefix("image_") or name for name in several}


def _case(row, image_columns, path, line):
    where = f"{path}, line {line}"
    if None in row or "None" in row or any(value is None for value in row.values()):
        raise CaseError(where, f"expected as many cells as columns, found {row!r:.200}", WAY_OUT)
    row = {name: value.strip() for name, value in row.items()}
    if not row["case"] or not all(row[name] for name in image_columns):
        raise CaseError(where, "expected a case and its image, found an empty cell", WAY_OUT)
    part = row.get("part") or None
    if part not in (None, *PARTS):
        raise CaseError(where, f"expected a part of {', '.join(PARTS)}, found {part!r}", WAY_OUT)
    used = {"case", "label", "group", "part", *image_columns}
    return {
        "case_id": row["case"],
        "images": tuple(_file(row[name], path, where) for name in image_columns),
        "mask": _file(row["label"], path, where) if row.get("label") else None,
        "group": row.get("group", ""),
        "part": part,
        "channel_names": tuple(image_columns.values()),
        "columns": {name: value for name, value in row.items() if name not in used},
    }


def _file(name, path, where):
    file = path.parent / possible_file(name, where)
    if not file.is_file() and not (file.is_dir() and holds_dicom(file)):
        raise CaseError(where, f"expected the file {name!r}, found none", "Paths are relative to the table.")
    return file
