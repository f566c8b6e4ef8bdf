"""A CSV table: `case`, `image` (or `image_0`, `image_1`, … for channels), and if wanted `label`, `group` and `part`.

    case,image,label,group,part
    a1,scans/a1.nii.gz,masks/a1.nii.gz,patient7,train

Paths are relative to the table; an image can be a folder of DICOM files. An empty `label` is a case without a mask.
`part` (train, validation or test) fixes the split. Other columns are kept with the case.
"""

import csv

from mcc_keras.datasets.paths import possible_file
from mcc_keras.errors import CaseError, DataErrors
from mcc_keras.formats.dicom import holds_dicom

PARTS = ("train", "validation", "test")
WAY_OUT = "The columns are case, image (or image_0, image_1, ...), label, group, part."


def matches(source):
    """Whether a path is a CSV table or a folder with just one."""
    return source.suffix.lower() == ".csv" or (source.is_dir() and len(_tables(source)) == 1)


def find(source):
    """Return the cases of a table."""
    path = source if source.suffix.lower() == ".csv" else _tables(source)[0]
    header, rows = _rows(path)
    images = _image_columns(header, path)
    cases, problems = [], []
    for line, row in rows:
        try:
            cases.append(_case(row, images, path, line))
        except CaseError as problem:
            problems.append(problem)
    if problems:
        raise problems[0] if len(problems) == 1 else DataErrors(problems)
    return cases, ((1,),), {}


def _tables(folder):
    return [path for path in sorted(folder.glob("*.csv")) if not path.name.startswith(".")]


def _rows(path):
    try:
        text = path.read_text("utf-8-sig")
        first = text.splitlines()[0] if text else ""
        delimiter = max(",;\t", key=first.count)
        reader = csv.DictReader(text.splitlines(), delimiter=delimiter, strict=True)
        rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CaseError(path, f"expected a CSV table in UTF-8, found: {error}", WAY_OUT) from None
    header = [name.strip() for name in reader.fieldnames or ()]
    if "case" not in header or len(set(header)) != len(header):
        found = ", ".join(header)
        raise CaseError(path, f"expected a column named case and no name twice, found {found!r:.200}", WAY_OUT)
    return header, [(line, {str(k).strip(): v for k, v in row.items()}) for line, row in rows]


def _image_columns(header, path):
    several = sorted((name for name in header if name.startswith("image_")), key=lambda name: (len(name), name))
    if "image" in header and not several:
        return ["image"]
    if several != [f"image_{index}" for index in range(len(several))] or not several or "image" in header:
        raise CaseError(path, "expected one column image, or image_0, image_1 and so on without a gap", WAY_OUT)
    return several


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
        "channel_names": tuple(image_columns),
        "columns": {name: value for name, value in row.items() if name not in used},
    }


def _file(name, path, where):
    file = path.parent / possible_file(name, where)
    if not file.is_file() and not (file.is_dir() and holds_dicom(file)):
        raise CaseError(where, f"expected the file {name!r}, found none", "Paths are relative to the table.")
    return file
