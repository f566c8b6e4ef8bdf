"""Masks and images are written on the grid of their scan, whole or not at all."""

import gzip
import resource
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nifti_files import AXES, patch, save, voxels

from mcc_keras.errors import EnvironmentFailure, GeometryError, OutputExistsError, UsageError
from mcc_keras.formats.geometry import corner_displacement
from mcc_keras.volumes import Volume, read_volume, write_mask, write_volume

OBLIQUE = np.array([[0.9, -0.2, 0.1, -30.0], [0.2, 0.88, -0.3, 12.0], [0.0, 0.4, 2.6, 7.0], [0, 0, 0, 1]])


@pytest.mark.parametrize("sform, qform", [(1, 1), (2, 0), (0, 3), (4, 2)])
def test_a_mask_has_the_shape_affine_and_codes_of_its_scan_and_reads_the_same_everywhere(tmp_path, sform, qform):
    save(tmp_path / "a.nii", voxels(dtype=np.float32), sform=sform, qform=qform)
    patch(tmp_path / "a.nii", scl_slope=3, scl_inter=1)
    mask = (voxels(seed=1) > 50).astype(np.int64) * 2
    path = write_mask(mask, tmp_path / "m.nii.gz", like=read_volume(tmp_path / "a.nii"))
    image, scan = nib.load(path), nib.load(tmp_path / "a.nii")
    raw = nib.Nifti1Header(gzip.decompress(path.read_bytes())[:348])
    assert (raw.get_data_dtype(), float(raw["scl_slope"]), float(raw["scl_inter"])) == (np.uint8, 1, 0)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (sform, qform)
    np.testing.assert_array_equal(image.header.get_sform(), scan.header.get_sform())
    np.testing.assert_array_equal(image.header.get_qform(), scan.header.get_qform())
    np.testing.assert_array_equal(np.asarray(image.dataobj), mask)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T, mask)


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_a_mask_of_a_metaimage_or_nrrd_lies_on_it_for_simpleitk(tmp_path, name):
    image = sitk.GetImageFromArray(voxels().T)
    image.SetSpacing((0.7, 0.8, 3))
    image.SetOrigin((-10, 20, 30))
    image.SetDirection((0, 1, 0, 0.6, 0, -0.8, -0.8, 0, -0.6))
    sitk.WriteImage(image, str(tmp_path / name))
    volume = read_volume(tmp_path / name)
    mask = sitk.ReadImage(str(write_mask(voxels() > 50, tmp_path / "m.nii.gz", like=volume)))
    for index in ((0, 0, 0), (4, 3, 2)):
        np.testing.assert_allclose(
            mask.TransformIndexToPhysicalPoint(index), image.TransformIndexToPhysicalPoint(index), atol=1e-4
        )


def test_a_sheared_scan_gets_a_mask_in_its_place(tmp_path):
    affine = OBLIQUE.copy()
    affine[0, 2] = 0.9
    like = Volume(voxels(), affine)
    mask = read_volume(write_mask(voxels() > 50, tmp_path / "m.nii", like=like))
    assert corner_displacement(affine, mask.affine, like.shape) < 1e-4


def test_labels_above_255_are_written_as_uint16(tmp_path):
    mask = np.full((2, 2, 2), 300)
    assert read_volume(write_mask(mask, tmp_path / "m.nii", like=Volume(mask, AXES))).array.dtype == np.uint16


@pytest.mark.parametrize("value", [-1, 70_000, 0.5, np.nan])
def test_values_that_are_no_labels_are_not_written(tmp_path, value):
    with pytest.raises(UsageError, match="whole numbers from 0 to 65535"):
        write_mask(np.full((2, 2, 2), value), tmp_path / "m.nii", like=Volume(np.zeros((2, 2, 2)), AXES))
    assert not list(tmp_path.iterdir())


def test_a_mask_of_another_shape_is_not_written(tmp_path):
    with pytest.raises(GeometryError, match=r"expected a mask of shape \(5, 4, 3\), found \(3, 4, 5\)"):
        write_mask(np.zeros((3, 4, 5), int), tmp_path / "m.nii", like=Volume(voxels(), AXES))


def test_a_file_is_overwritten_only_on_request(tmp_path):
    path = write_volume(voxels(), tmp_path / "a.nii", affine=AXES)
    with pytest.raises(OutputExistsError):
        write_volume(voxels(seed=1), path, affine=AXES)
    np.testing.assert_array_equal(read_volume(path).array, voxels())
    write_volume(voxels(seed=1), path, affine=AXES, overwrite=True)
    np.testing.assert_array_equal(read_volume(path).array, voxels(seed=1))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.nii"]


def test_the_same_voxels_give_the_same_bytes(tmp_path):
    first, second = (write_volume(voxels(), tmp_path / f"{i}.nii.gz", affine=OBLIQUE) for i in range(2))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("name", ["m", "m.hdr", "m.png", "m.seg"])
def test_a_mask_in_another_format_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match=r"\.nii \.nii\.gz \.mha \.mhd \.nrrd \.dcm\. Received.*Choose one of these"):
        write_mask(voxels(), tmp_path / name, like=Volume(voxels(), AXES))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["m.nii", "m.nii.gz", "m.nrrd", "m.mha", "m.mhd"])
@pytest.mark.parametrize("largest, dtype", [(2, "uint8"), (255, "uint8"), (256, "uint16"), (65535, "uint16")])
def test_a_mask_lies_on_the_grid_in_every_format_and_itk_reads_it_the_same(tmp_path, name, largest, dtype):
    turn = np.array([[0.6, 0.8, 0], [0, 0, -1], [-0.8, 0.6, 0]])
    affine = nib.affines.from_matvec(turn @ np.diag([0.7, 0.8, 2.5]), (-11, 22, 33))
    mask = voxels(seed=3).astype(int)
    mask[1, 2, 0] = largest
    mask[mask < 50] = 0
    path = write_mask(np.minimum(mask, largest), tmp_path / name, like=Volume(voxels(), affine))
    image = sitk.ReadImage(str(path))
    read = sitk.GetArrayFromImage(image)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read.T, np.minimum(mask, largest))
    for index in ((0, 0, 0), (4, 0, 0), (0, 3, 0), (0, 0, 2)):
        place = np.array(image.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        np.testing.assert_allclose(place, (affine @ (*index, 1))[:3], atol=1e-5)
    again = read_volume(path)
    np.testing.assert_array_equal(again.array, np.minimum(mask, largest))
    np.testing.assert_allclose(again.affine, affine, atol=1e-5)


@pytest.mark.parametrize("name", ["m.nii.gz", "m.nrrd", "m.mha", "m.mhd"])
def test_the_same_mask_gives_the_same_bytes_in_every_format(tmp_path, name):
    for folder in ("a", "b"):
        write_mask(voxels() > 50, tmp_path / folder / name, like=Volume(voxels(), AXES))
    first, second = ([path.read_bytes() for path in sorted((tmp_path / x).iterdir())] for x in ("a", "b"))
    assert first == second


def test_a_mask_of_two_files_replaces_either_only_on_request(tmp_path):
    (tmp_path / "m.zraw").write_text("mine")
    like = Volume(voxels(), AXES)
    with pytest.raises(OutputExistsError, match=r"m\.zraw"):
        write_mask(voxels() > 50, tmp_path / "m.mhd", like=like)
    assert (tmp_path / "m.zraw").read_text() == "mine"
    for limit in (50, 20):
        path = write_mask(voxels() > limit, tmp_path / "m.mhd", like=like, overwrite=True)
        np.testing.assert_array_equal(read_volume(path).array, voxels() > limit)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["m.mhd", "m.zraw"]


def test_a_mask_of_two_files_that_cannot_be_written_leaves_the_old_one(tmp_path):
    scan = voxels((20, 20, 20))
    path = write_mask(scan > 50, tmp_path / "m.mhd", like=Volume(scan, AXES))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (900, limits[1]))  # enough for the header, not for the voxels
    try:
        with pytest.raises(EnvironmentFailure, match="cannot be written"):
            write_mask(scan > 20, path, like=Volume(scan, AXES), overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    np.testing.assert_array_equal(read_volume(path).array, scan > 50)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["m.mhd", "m.zraw"]


@pytest.mark.parametrize("name", ["m.nrrd", "m.mha", "m.mhd"])
def test_a_sheared_grid_is_written_as_nifti_only(tmp_path, name):
    affine = OBLIQUE.copy()
    affine[0, 2] = 0.9
    with pytest.raises(GeometryError, match="axes at right angles.*Write the mask as .nii.gz"):
        write_mask(voxels() > 50, tmp_path / name, like=Volume(voxels(), affine))
    assert not list(tmp_path.iterdir())


def test_images_are_written_as_nifti_only(tmp_path):
    with pytest.raises(UsageError, match=r"\.nii or \.nii\.gz"):
        write_volume(voxels(), tmp_path / "m.mha", affine=AXES)


def test_an_affine_without_an_inverse_is_not_written(tmp_path):
    with pytest.raises(GeometryError):
        write_volume(voxels(), Path(tmp_path / "a.nii"), affine=np.diag([1, 1, 0, 1]))
