import dataclasses
import json

import numpy as np
import pytest

from mcc_keras.datasets.cases import Case
from mcc_keras.errors import DataError
from mcc_keras.segmentation.origin import (
    describe_call,
    describe_model,
    find_difference,
    hash_inputs,
    is_origin,
    origin_path,
    read_origin,
    write_origin,
)
from mcc_keras.volumes import Volume, write_mask, write_volume

MASK = np.ones((3, 4, 5), np.uint8)
CALL = describe_call({"run": "a" * 64}, {"affine": None, "largest_component": False})


@pytest.fixture
def scan(tmp_path):
    return write_volume(MASK, tmp_path / "scan.nii", affine=np.eye(4))


def written(scan, name="mask.nii.gz"):
    mask = write_mask(MASK, scan.parent / name, like=Volume(MASK, np.eye(4)))
    origin = dataclasses.replace(CALL, inputs=hash_inputs(Case("scan", (scan,))))
    write_origin(origin, mask)
    return mask, origin


@pytest.mark.parametrize("name", ["mask.nii.gz", "mask.nii", "mask.nrrd", "mask.mhd"])
def test_the_file_beside_a_mask_gives_back_what_was_written(scan, name):
    mask, origin = written(scan, name)
    found = read_origin(mask)
    assert dataclasses.replace(found, outputs={}) == origin
    assert [*found.outputs] == ([name, "mask.zraw"] if name == "mask.mhd" else [name])
    assert find_difference(mask, origin) is None
    assert len(describe_model(found)) <= 80


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"fingerprint": "b" * 64}, "another model"),
        ({"options": {"affine": None, "largest_component": True}}, r"other options \(largest_component=False\)"),
        ({"options": CALL.options | {"flips": [0]}}, r"other options \(flips=None\)"),
        ({"inputs": {"elsewhere/scan.nii": "0" * 64}}, "other scans"),
        ({"version": "9.9"}, None),
    ],
)
def test_a_mask_of_another_call_is_told_by_what_differs(scan, change, difference):
    mask, origin = written(scan)
    found = find_difference(mask, dataclasses.replace(origin, **change))
    assert found is None if difference is None else difference.replace("\\", "") in found


def test_a_scan_that_was_moved_is_the_same_scan(scan, tmp_path):
    mask, _ = written(scan)
    moved = scan.rename(tmp_path / "moved.nii")
    assert find_difference(mask, dataclasses.replace(CALL, inputs=hash_inputs(Case("scan", (moved,))))) is None


def test_a_missing_file_a_changed_mask_and_a_missing_mask_are_named(scan, tmp_path):
    mask, origin = written(scan)
    mask.write_bytes(mask.read_bytes() + b"0")
    with pytest.raises(DataError, match=r"mask\.nii\.gz: expected the files that segment wrote, found others"):
        read_origin(mask)
    assert "changed" in find_difference(mask, origin)
    origin_path(mask).unlink()
    with pytest.raises(DataError, match=r"expected mask\.nii\.gz\.json beside it, found none"):
        read_origin(mask)
    assert find_difference(mask, origin) == "a file that segment did not write"
    with pytest.raises(DataError, match="expected a mask, found no file"):
        read_origin(tmp_path / "no.nii")


def test_a_file_about_another_mask_or_of_another_program_is_refused(scan, tmp_path):
    mask, _ = written(scan)
    other = write_mask(MASK, tmp_path / "other.nii", like=Volume(MASK, np.eye(4)))
    origin_path(other).write_bytes(origin_path(mask).read_bytes())
    with pytest.raises(DataError, match=r"expected a description of other\.nii"):
        read_origin(other)
    content = json.loads(origin_path(mask).read_text())
    for text in ("{}", json.dumps({**content, "fingerprint": "abc"}), json.dumps({**content, "further": 1})):
        origin_path(mask).write_text(text)
        assert not is_origin(origin_path(mask))
        with pytest.raises(DataError, match=r"mask\.nii\.gz\.json"):
            read_origin(mask)
