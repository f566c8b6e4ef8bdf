"""NIfTI headers as real writers leave them: odd but unambiguous ones are read, others refused with their numbers."""

import contextlib
import gzip

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nifti_files import patch

from mcc_keras.errors import GeometryError, VolumeError
from mcc_keras.volumes import read_volume, write_mask

VOXELS = np.random.default_rng(0).integers(0, 100, (5, 4, 3)).astype(np.int16)
AFFINE = np.diag([-0.5, 0.75, 3.0, 1.0])


def save(path, array=VOXELS, affine=AFFINE, *, sform=1, qform=1, moved=0.0, **fields):
    """Write a file and change fields of its header as they are stored; `moved` shifts the qform by millimetres."""
    image = nib.Nifti1Image(array, affine)
    image.header.set_sform(affine, sform)
    fields = {"sform_code": sform, "qform_code": qform, **fields}  # nibabel sets them again when both are 0
    shifted = np.array(affine, float)
    shifted[0, 3] += moved
    image.header.set_qform(shifted, qform)
    image.to_filename(path)
    return patch(path, **fields)


def pixdim(*values):
    return [*values, *[1] * (8 - len(values))]


@pytest.mark.parametrize("sform", [0, 1])
@pytest.mark.parametrize("affine", [AFFINE, np.diag([0.5, 0.75, 3.0, 1.0])])
def test_a_handedness_of_zero_counts_as_one(tmp_path, sform, affine):
    path = save(tmp_path / "a.nii", affine=abs(affine), sform=sform, pixdim=pixdim(0, 0.5, 0.75, 3))
    volume = read_volume(path)
    np.testing.assert_allclose(volume.affine, nib.load(path).affine, atol=1e-6)
    np.testing.assert_allclose(volume.affine, abs(affine), atol=1e-6)
    mask = nib.load(write_mask(VOXELS, tmp_path / "m.nii", like=volume))
    np.testing.assert_allclose(mask.affine, abs(affine), atol=1e-6)


@pytest.mark.parametrize("handedness", [-1.0, -3.0, 0.5, 7.0])
def test_a_handedness_that_is_not_one_goes_by_its_sign_as_in_itk(tmp_path, handedness):
    path = save(tmp_path / "a.nii", sform=0, pixdim=pixdim(handedness, 0.5, 0.75, 3))
    image = sitk.ReadImage(str(path))
    direction = np.diag([-1, -1, 1]) @ np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    np.testing.assert_allclose(read_volume(path).affine[:3, :3], direction, atol=1e-6)


@pytest.mark.parametrize("step", [-0.75, 0.0, np.nan])
def test_a_valid_sform_wins_over_voxel_sizes_that_are_none(tmp_path, step):
    path = save(tmp_path / "a.nii", pixdim=pixdim(-1, 0.5, step, 3))
    with pytest.warns(UserWarning, match=f"above 0 in pixdim, found 0.5, {step:g}, 3; the sform is used"):
        np.testing.assert_allclose(read_volume(path).affine, AFFINE)


@pytest.mark.parametrize("qform", [0, 1])
def test_voxel_sizes_below_zero_are_refused_where_no_sform_helps(tmp_path, qform):
    path = save(tmp_path / "a.nii", sform=0, qform=qform, pixdim=pixdim(-1, 0.5, -0.75, 3))
    with pytest.raises(GeometryError, match=r"expected voxel sizes above 0 in pixdim, found 0\.5, -0\.75, 3"):
        read_volume(path)


def test_a_size_of_zero_along_the_only_slice_counts_as_one(tmp_path):
    path = save(tmp_path / "a.nii", VOXELS[:, :, :1], sform=0, pixdim=pixdim(-1, 0.5, 0.75, 0))
    with pytest.warns(UserWarning, match=r"pixdim\[3\], found 0"):
        volume = read_volume(path)
    assert volume.spacing_mm == pytest.approx((0.5, 0.75, 1.0))
    assert nib.load(write_mask(VOXELS[:, :, :1], tmp_path / "m.nii", like=volume)).shape == (5, 4, 1)


def test_a_size_of_zero_beyond_the_rank_is_not_used(tmp_path):
    path = save(tmp_path / "a.nii", pixdim=[-1, 0.5, 0.75, 3, 0, 0, 0, 0])
    np.testing.assert_allclose(read_volume(path).affine, AFFINE)


def test_bits_per_voxel_of_zero_are_those_of_the_data_type_and_wrong_ones_are_refused(tmp_path):
    np.testing.assert_array_equal(read_volume(save(tmp_path / "a.nii", bitpix=0)).array, VOXELS)
    with pytest.raises(VolumeError, match="expected 16 bits per voxel"):
        read_volume(save(tmp_path / "a.nii", bitpix=8))


def test_the_magic_of_a_pair_in_a_single_file_is_read_where_the_voxels_are_in_it(tmp_path):
    np.testing.assert_array_equal(read_volume(save(tmp_path / "a.nii", magic=b"ni1")).array, VOXELS)
    with pytest.raises(VolumeError, match=r"from byte 352 on, found vox_offset=0\.0"):
        read_volume(save(tmp_path / "a.nii", magic=b"ni1", vox_offset=0))


# 0.5 mm along the axis that moves: 0.004 mm are 0.008 voxels.
@pytest.mark.parametrize("moved", [0.0, 0.004])
def test_forms_within_a_hundredth_of_a_voxel_agree(tmp_path, moved):
    np.testing.assert_allclose(read_volume(save(tmp_path / "a.nii", moved=moved)).affine, AFFINE)


@pytest.mark.parametrize("moved", [0.006, 0.14])
def test_forms_that_rounding_moved_apart_give_the_sform_with_a_warning(tmp_path, moved):
    with pytest.warns(UserWarning, match=f"sform and qform disagree by {moved / 0.5:.3g} voxels.*sform is used"):
        volume = read_volume(save(tmp_path / "a.nii", moved=moved))
    np.testing.assert_allclose(volume.affine, AFFINE)


@pytest.mark.parametrize("moved", [0.16, 0.25, 40.0])
def test_forms_further_apart_are_refused_until_one_is_chosen(tmp_path, moved):
    path = save(tmp_path / "a.nii", moved=moved)
    with pytest.raises(GeometryError, match=f'{moved / 0.5:.3g} voxels apart.*affine="sform" or affine="qform"'):
        read_volume(path)
    assert read_volume(path, affine="sform").affine[0, 3] == 0
    assert read_volume(path, affine="qform").affine[0, 3] == pytest.approx(moved)


@pytest.mark.parametrize("sform, qform", [(1, 0), (0, 1)])
def test_a_choice_applies_only_where_the_header_declares_both_forms(tmp_path, sform, qform):
    undeclared = {"qoffset_x": 77} if sform else {"srow_x": [0, 0, 1, 77], "srow_y": [0, 1, 0, 0]}
    path = save(tmp_path / "a.nii", sform=sform, qform=qform, **undeclared)
    for which in (None, "sform", "qform"):
        np.testing.assert_allclose(read_volume(path, affine=which).affine, AFFINE, atol=1e-6)


@pytest.mark.parametrize("digits", [3, 4, 5])
def test_direction_cosines_of_few_digits_are_read_with_their_sform(tmp_path, digits, recwarn):
    angles = np.radians([7.3, -4.1, 12.7])
    (a, b, c), (s, t, u) = np.cos(angles), np.sin(angles)
    row, column = np.round([b * c, b * u, -t], digits), np.round([s * t * c - a * u, s * t * u + a * c, s * b], digits)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([row, column, np.cross(row, column)], 1) * [0.5, 0.5, 1.0]
    path = save(tmp_path / "a.nii", np.zeros((512, 512, 4), np.uint8), affine)
    np.testing.assert_allclose(read_volume(path).affine, affine, atol=1e-6)
    assert len(recwarn) == (digits < 5)  # 0.08, 0.011 and 0.002 voxels


@pytest.mark.parametrize("angle", [np.pi, np.pi - 1e-5, np.pi - 1e-3, np.pi - 0.01])
@pytest.mark.parametrize("moved, outcome", [(0.0, "read"), (0.1, "warned"), (0.25, "refused")])
def test_half_a_voxel_is_seen_whatever_the_rounding_of_a_quaternion_near_half_a_turn(tmp_path, angle, moved, outcome):
    affine = np.eye(4)
    affine[:2, :2] = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * 0.5
    path = save(tmp_path / "a.nii", np.zeros((512, 512, 2), np.uint8), affine, moved=moved)
    with contextlib.ExitStack() as stack:
        if outcome == "warned":
            stack.enter_context(pytest.warns(UserWarning, match="disagree by 0.2 voxels"))
        elif outcome == "refused":
            stack.enter_context(pytest.raises(GeometryError, match="corners 0.5 voxels apart"))
        read_volume(path)


def test_a_file_is_read_by_its_first_bytes_and_a_wrong_suffix_is_a_warning(tmp_path):
    data = save(tmp_path / "a.nii").read_bytes()
    (tmp_path / "plain.nii.gz").write_bytes(data)
    (tmp_path / "packed.nii").write_bytes(gzip.compress(data))
    for name, found in (("plain.nii.gz", "found an uncompressed file"), ("packed.nii", "found a gzip file")):
        with pytest.warns(UserWarning, match=f"{name}: .*{found}.*Rename it"):
            np.testing.assert_array_equal(read_volume(tmp_path / name).array, VOXELS)


def test_numbers_that_a_graph_flushes_to_zero_are_zero_when_read(tmp_path):
    smallest = float(np.finfo(np.float32).tiny)  # 1.18e-38, the smallest normal float32
    values = np.array([smallest, -smallest, smallest / 2, -smallest / 2, 1e-45, 0.0, 1.0, -1.0])
    for dtype in (np.float32, np.float64):
        path = save(tmp_path / "a.nii", values.reshape(2, 2, 2).astype(dtype))
        found = read_volume(path).array.ravel()
        np.testing.assert_array_equal(found, np.array([smallest, -smallest, 0, 0, 0, 0, 1, -1], dtype))
