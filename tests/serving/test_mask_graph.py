"""The bytes of a mask made in the graph are those of `write_mask`, but for the description and the byte order."""

import nibabel as nib
import numpy as np
import pytest
import tensorflow as tf
from nifti_files import AXES, patch, save, voxels

from mcc_keras.serving.mask_graph import mask_bytes
from mcc_keras.volumes import read_volume, write_mask

DESCRIPTION = "mcc_keras 0.0.0 " + "f" * 40
OBLIQUE = np.array([[0, -0.9, 1.2, 10], [1.2, 0, 0, -20], [0, 0.4, 2.7, 5], [0, 0, 0, 1.0]])


def made(mask, path):
    head = np.frombuffer(path.read_bytes()[:540].ljust(540, b"\0"), np.uint8)
    return mask_bytes(tf.constant(mask), tf.constant(head), description=DESCRIPTION).numpy()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize(
    "affine, codes", [(AXES, {}), (OBLIQUE, {"qform": 0, "sform": 2}), (AXES, {"sform": 0, "xyzt_units": 10})]
)
def test_the_bytes_are_those_of_write_mask_with_a_description(tmp_path, kind, dtype, affine, codes):
    path = save(tmp_path / "a.nii", voxels(), affine, kind=kind, **codes)
    mask = voxels(dtype=dtype, seed=4) + (200 if dtype == np.uint16 else 0)
    expected = write_mask(mask, tmp_path / "m.nii", like=read_volume(path))
    found = bytearray(made(mask, path))
    start = kind.header_class.template_dtype.fields["descrip"][1]
    assert found[start : start + 80] == DESCRIPTION.encode().ljust(80, b"\0")
    found[start : start + 80] = bytes(80)
    assert found == expected.read_bytes()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_mask_has_the_byte_order_of_its_scan_and_opens_on_top_of_it(tmp_path, kind, dtype):
    image = kind(voxels(), OBLIQUE, kind.header_class(endianness=">"))
    image.header.set_qform(OBLIQUE, 1)
    image.to_filename(tmp_path / "a.nii")
    mask = voxels(dtype=dtype, seed=4)
    mask[0, 0, 0] = 300 if dtype == np.uint16 else 255
    (tmp_path / "m.nii").write_bytes(made(mask, tmp_path / "a.nii"))
    found = nib.load(tmp_path / "m.nii")
    assert found.header.endianness == ">" and found.get_data_dtype() == np.dtype(dtype).newbyteorder(">")
    np.testing.assert_array_equal(np.asarray(found.dataobj), mask)
    np.testing.assert_array_equal(found.affine, nib.load(tmp_path / "a.nii").affine)
    volume = read_volume(tmp_path / "m.nii")
    np.testing.assert_array_equal(volume.array, mask)
    np.testing.assert_array_equal(volume.affine, read_volume(tmp_path / "a.nii").affine)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_reading_repairs_in_a_header_is_repaired_in_that_of_the_mask(tmp_path):
    path = patch(save(tmp_path / "a.nii", voxels((5, 4, 1)), sform=0), pixdim=[-3, 0.5, 0.75, 0, 9, 9, 9, 9])
    mask = np.ones((5, 4, 1), np.uint8)
    (tmp_path / "m.nii").write_bytes(made(mask, path))
    assert nib.load(tmp_path / "m.nii").header["pixdim"].tolist() == [-1, 0.5, 0.75, 1, 1, 1, 1, 1]
    np.testing.assert_array_equal(read_volume(tmp_path / "m.nii").affine, read_volume(path).affine)
