import nibabel as nib
import numpy as np
import pytest

from mcc_keras.datasets import Case
from mcc_keras.errors import LabelError
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.encoding import encode_case, exact_dtype


@pytest.fixture
def case(tmp_path):
    voxels = np.arange(64, dtype=np.int16).reshape(4, 4, 4)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii")
    nib.save(nib.Nifti1Image((voxels > 9).astype(np.uint8), np.eye(4)), tmp_path / "a_mask.nii")
    return Case("a", (tmp_path / "a.nii",), mask=tmp_path / "a_mask.nii")


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0, 255], "uint8"),
        ([0, 256], "int16"),
        ([-32768, 32767], "int16"),
        ([0, 65535], "uint16"),
        ([-1, 65535], "float32"),
        ([0, 65536], "float32"),
        ([0] * 5000 + [0.5], "float32"),
        ([1, -0.0], "float32"),
        ([0, 2.0**40], "float32"),
    ],
)
def test_the_smallest_type_that_is_exact_is_chosen(values, dtype):
    assert exact_dtype(np.array(values, np.float32)) == dtype


def test_voxels_that_nothing_changes_are_stored_as_they_were(case):
    encoded = encode_case(case, Preprocessing(size=4, normalize="none", clip_percentiles=None))
    assert (encoded.image_dtype, encoded.shape) == ("uint8", (4, 4, 4, 1))
    assert encoded.image == bytes(range(64))
    assert encoded.mask == bytes([0] * 10 + [1] * 54)


def test_an_error_of_ours_comes_back_as_a_value(case):
    nib.save(nib.Nifti1Image(np.full((4, 4, 4), 7, np.uint8), np.eye(4)), case.mask)
    assert isinstance(encode_case(case, Preprocessing(size=4)), LabelError)
