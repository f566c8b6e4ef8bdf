import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from mcc_keras.segmentation import probability
from mcc_keras.segmentation.probability import ProbabilityVoxels
from mcc_keras.volumes import Volume

SHAPE, CLASSES = (5, 6, 7), 3
AFFINE = np.array([[0, -1.2, 0, 4], [-1, 0, 0, -7], [0, 0, 2.5, 30], [0, 0, 0, 1]], float)
LIKE = Volume(np.zeros((*SHAPE, 1), "f4"), AFFINE)


@pytest.fixture
def expected():
    logits = np.random.default_rng(0).normal(0, 3, (*SHAPE, CLASSES))
    return (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).astype("f4")


def write(expected, path, axis=0):
    voxels = ProbabilityVoxels(expected.shape, path.parent)
    for first in range(0, SHAPE[axis], 2):
        index = tuple(slice(first, first + 2) if each == axis else slice(None) for each in range(3))
        voxels.put(index, expected[index])
    return voxels.write(path, like=LIKE, description="mcc_keras")


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", ["p.nii", "p.nii.gz"])
def test_slabs_along_any_axis_make_one_file_that_others_read(expected, tmp_path, axis, name):
    path = write(expected, tmp_path / name, axis)
    found = nib.load(path)
    assert (found.shape, found.get_data_dtype(), found.header["descrip"]) == (expected.shape, np.uint16, b"mcc_keras")
    np.testing.assert_allclose(found.get_fdata(), expected, atol=0.5 / 65535 + 1e-7)
    np.testing.assert_allclose(found.affine, AFFINE, atol=1e-6)
    other = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))  # class, z, y, x
    np.testing.assert_allclose(other.transpose(3, 2, 1, 0), expected, atol=0.5 / 65535 + 1e-6)
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_rounding_errors_beyond_0_and_1_do_not_wrap(tmp_path):
    values = np.broadcast_to(np.float32([-1e-6, 1 + 1e-6, 1]), (*SHAPE, CLASSES))
    found = nib.load(write(values, tmp_path / "p.nii")).get_fdata()
    np.testing.assert_allclose(found[0, 0, 0], [0, 1, 1], atol=1e-7)


def test_a_write_that_fails_leaves_nothing(expected, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(probability.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space"):
        write(expected, tmp_path / "p.nii.gz")
    assert list(tmp_path.iterdir()) == []
