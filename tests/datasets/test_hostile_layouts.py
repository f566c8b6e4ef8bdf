"""Indices of data sets that were tampered with: a typed error or cases inside the folder, never anything else."""

import copy
import csv
import io
import json
import os
import random
import warnings

import pytest

from mcc_keras.datasets import find_cases, write_synthetic
from mcc_keras.errors import MCCKerasError

VALUES = [None, True, 0, -1, 10**30, 1.5, float("nan"), "", "0", "..", "/", "../x", "a\0b", "gs://b/x.nii", "\ud800"]
VALUES += [
    "é" * 300,
    ".nii.gz",
    "imagesTr",
    "./labelsTr",
    "~",
    "%s{0}",
    [],
    [[]],
    {},
    {"0": "x"},
    {"image": 1},
    ["a", "b"],
]
VALUES += ["dataset.json", "C:\\x", "background", "ignore", "imagesTr/../../outside.nii.gz", "\u202e", "x" * 5000]


def places(value, path=()):
    """Every place in a JSON value, as paths of keys and indices."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def mutant(value, rng):
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        *way, last = rng.choice([path for path in places(value) if path])
        holder = value
        for key in way:
            holder = holder[key]
        what = rng.random()
        if what < 0.2:
            del holder[last]
            if not value:
                return value
        elif what < 0.4 and isinstance(holder, dict):
            holder[str(rng.choice(VALUES))] = holder.pop(last)
        else:
            holder[last] = copy.deepcopy(rng.choice(VALUES))
    return value


def assert_inside(source, root):
    try:
        with warnings.catch_warnings(action="ignore"):  # of columns that may be meant as others
            cases = find_cases(source)
    except MCCKerasError:
        return False
    for case in cases:
        assert case.case_id.isascii() and not set(case.case_id) & set("/\\{}%: \0")
        for path in (*case.images, *([case.mask] if case.mask else [])):
            assert os.path.realpath(path).startswith(os.path.realpath(root) + os.sep)
    return True


@pytest.mark.parametrize("layout", ["decathlon", "nnunet", "nnunet_v1"])
def test_a_tampered_dataset_json_gives_an_error_of_ours_or_files_of_its_folder(tmp_path, layout):
    folder = write_synthetic(tmp_path / "in", num_cases=2, size=(8, 8, 8), layout=layout, num_channels=2, num_labels=2)
    (tmp_path / "outside.nii.gz").write_bytes(b"")
    index = json.loads((folder / "dataset.json").read_text())
    rng = random.Random(5)
    accepted = 0
    for _ in range(600):
        (folder / "dataset.json").write_text(json.dumps(mutant(index, rng)))
        accepted += assert_inside(folder, folder)
    assert 50 < accepted < 550


def test_a_tampered_table_gives_an_error_of_ours_or_cases(tmp_path):
    path = write_synthetic(tmp_path / "in", num_cases=2, size=(8, 8, 8))
    rows = list(csv.reader(io.StringIO(path.read_text())))
    words = [value for value in VALUES if isinstance(value, str)] + ["case", "image", 'a"b', "x,y", "\n", "image_0"]
    rng = random.Random(6)
    for _ in range(600):
        changed = copy.deepcopy(rows)
        for _ in range(rng.randint(1, 3)):
            row = rng.choice(changed)
            if rng.random() < 0.2:
                row.insert(rng.randint(0, len(row)), rng.choice(words))
            else:
                row[rng.randrange(len(row))] = rng.choice(words)
        text = io.StringIO()
        csv.writer(text).writerows(changed)
        path.write_bytes(text.getvalue().encode("utf-8", "surrogatepass"))
        assert_inside(path, tmp_path)


@pytest.mark.parametrize("layout", ["table", "nnunet"])
def test_an_index_with_flipped_bytes_gives_an_error_of_ours_or_files_of_its_folder(tmp_path, layout):
    source = write_synthetic(tmp_path / "in", num_cases=2, size=(8, 8, 8), layout=layout)
    path = source if layout == "table" else source / "dataset.json"
    original = path.read_bytes()
    rng = random.Random(7)
    for _ in range(400):
        data = bytearray(original)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.choice([len(data), rng.randrange(len(data))])])
        assert_inside(path, tmp_path)
