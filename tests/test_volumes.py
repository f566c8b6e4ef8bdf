"""Volumes are read the same from every format, with their rank, values and place."""

import gzip
import itertools
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nifti_files import AXES, patch, save, voxels

from mcc_keras.errors import GeometryError, UsageError, VolumeError
from mcc_keras.formats.geometry import corner_displacement
from mcc_keras.volumes import Volume, read_volume, suffix_of, write_mask, write_volume


def all_orientations():
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            yield np.eye(3)[list(axes)] * signs


# ---- formats -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr", "a.img", "A.NII"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64", ">i2", ">f4"])
def test_nifti_reads_as_nibabel_reads_it(tmp_path, name, kind, dtype):
    pair = {nib.Nifti1Image: nib.Nifti1Pair, nib.Nifti2Image: nib.Nifti2Pair}[kind]
    path = tmp_path / name
    image = (pair if "nii" not in name.lower() else kind)(voxels(dtype=np.dtype(dtype)), AXES)
    image.to_filename(path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, np.asarray(nib.load(path).dataobj))
    assert volume.array.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_allclose(volume.affine, AXES, atol=1e-6)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr", "a.img", "a.hdr.gz", "a.img.gz"])
@pytest.mark.parametrize("endianness", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
def test_nifti_of_either_version_and_byte_order_is_read_alone_or_as_a_pair(tmp_path, name, endianness, version):
    kind = getattr(nib, f"Nifti{version}{'Image' if '.nii' in name else 'Pair'}")
    kind(voxels(), AXES, kind.header_class(endianness=endianness)).to_filename(tmp_path / name)
    data = next(tmp_path.glob("*.nii*"), next(tmp_path.glob("*.hdr*"), None)).read_bytes()
    size = (gzip.decompress(data) if name.endswith("gz") else data)[:4]
    assert int.from_bytes(size, "little" if endianness == "<" else "big") == {1: 348, 2: 540}[version]
    volume = read_volume(tmp_path / name)
    np.testing.assert_array_equal(volume.array, voxels())
    np.testing.assert_allclose(volume.affine, AXES, atol=1e-6)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mha", "a.nrrd"])
def test_a_link_that_the_caller_names_is_followed(tmp_path, name):
    (tmp_path / "in").mkdir()
    write_mask(voxels(), tmp_path / name, like=Volume(voxels(), AXES))
    (tmp_path / "in" / name).symlink_to(tmp_path / name)
    np.testing.assert_array_equal(read_volume(tmp_path / "in" / name).array, voxels())


@pytest.mark.parametrize("named, link", [("a.hdr", "a.img"), ("a.img", "a.hdr")])
def test_half_of_a_pair_that_leads_elsewhere_is_refused(tmp_path, named, link):
    (tmp_path / "in").mkdir()
    nib.Nifti1Pair(voxels(), AXES).to_filename(tmp_path / "in" / "a.hdr")
    (tmp_path / "in" / link).rename(tmp_path / link)
    (tmp_path / "in" / link).symlink_to(tmp_path / link)
    with pytest.raises(VolumeError, match="leads elsewhere"):
        read_volume(tmp_path / "in" / named)


@pytest.mark.parametrize("turn", list(all_orientations()), ids=str)
def test_one_scan_is_one_volume_in_every_format_and_orientation(tmp_path, turn):
    affine = np.eye(4)
    affine[:3, :3] = turn * (0.5, 0.75, 3.0)
    affine[:3, 3] = (10, -20, 30)
    first = read_volume(write_volume(voxels(), tmp_path / "a.nii.gz", affine=affine))
    image = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    for name in ("a.nrrd", "a.mha", "a.mhd"):
        sitk.WriteImage(image, str(tmp_path / name))
        other = read_volume(tmp_path / name)
        np.testing.assert_array_equal(other.array, first.array)
        np.testing.assert_allclose(other.affine, first.affine, atol=1e-5)


@pytest.mark.parametrize("angle", [1e-4, 0.01, 1.0, np.pi - 1e-3, np.pi - 1e-5])
def test_a_scan_turned_by_any_angle_is_read_where_it_lies(tmp_path, angle):
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = nib.affines.from_matvec(turn @ np.diag([0.7, 0.7, 4]), (90, -120, 40))
    volume = read_volume(write_volume(voxels((200, 180, 9), np.uint8), tmp_path / "a.nii", affine=affine))
    assert corner_displacement(affine, volume.affine, volume.shape) < 1e-3


def test_spaces_and_letters_of_any_alphabet_in_a_path_work(tmp_path):
    path = tmp_path / "mes données ☃" / "Fräulein 1.nii.gz"
    write_volume(voxels(), path, affine=AXES)
    assert read_volume(path).shape == (5, 4, 3)
    sitk.WriteImage(sitk.ReadImage(str(path)), str(path.with_name("ü ü.nrrd")))
    assert read_volume(path.with_name("ü ü.nrrd")).shape == (5, 4, 3)


def test_reading_a_volume_loads_no_tensorflow(tmp_path):
    write_volume(voxels(), tmp_path / "a.nii", affine=AXES)
    code = (
        "import sys; from mcc_keras.volumes import read_volume; read_volume(sys.argv[1]); "
        "assert not {'tensorflow', 'keras', 'SimpleITK._SimpleITK'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.nii"], check=True, timeout=120)


@pytest.mark.parametrize("name", ["a.txt", "a", "a.nii.zip", "a.dcm"])
def test_a_file_of_another_kind_is_refused(tmp_path, name):
    (tmp_path / name).write_text("hello")
    with pytest.raises(VolumeError, match="expected a volume"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr", "a.mha", "a.nrrd"])
def test_a_missing_file_is_a_typed_error(tmp_path, name):
    with pytest.raises(VolumeError, match="expected a file, found none"):
        read_volume(tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(VolumeError, match="expected a"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("path", ["gs://bucket/a.nii", "http://x.org/a.nii", "hf://a/b.nii", "s3:/a.nii"])
def test_a_path_on_another_machine_is_refused(path):
    with pytest.raises(UsageError, match="must lie on this machine"):
        read_volume(path)


def test_suffixes_are_recognized_in_any_case():
    assert [suffix_of(name) for name in ("A.NII.GZ", "b.nrrd", "c.gz", "d.nii.gz.txt")] == [".nii.gz", ".nrrd", "", ""]


# ---- rank ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 4, 3, 1), (5, 4, 3, 1, 1), (5, 4, 1)])
def test_axes_of_one_at_the_end_are_no_channels(tmp_path, shape):
    save(tmp_path / "a.nii", voxels(shape))
    assert read_volume(tmp_path / "a.nii").array.shape == shape[:3]


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3, 2), (5, 4, 3, 1, 2), (5, 4, 3, 2, 2), (5,)])
def test_a_volume_of_another_rank_is_refused_with_its_shape(tmp_path, shape):
    save(tmp_path / "a.nii", voxels(shape))
    with pytest.raises(VolumeError, match=rf"expected a volume \(x, y, z\), found shape \({shape[0]}, ?"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("shape", [(5, 4, 3, 2), (5, 4, 3, 1, 2)])
def test_channels_are_read_where_they_are_declared(tmp_path, shape):
    array = voxels(shape)
    save(tmp_path / "a.nii", array)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii", channels=2).array, array.reshape(5, 4, 3, 2))
    with pytest.raises(VolumeError, match=r"\(x, y, z, 3\)"):
        read_volume(tmp_path / "a.nii", channels=3)


def test_a_vector_image_of_metaimage_has_its_channels_last(tmp_path):
    array = voxels((3, 4, 5, 2))
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=True), str(tmp_path / "a.mha"))
    volume = read_volume(tmp_path / "a.mha", channels=2)
    np.testing.assert_array_equal(volume.array, array.transpose(2, 1, 0, 3))


# ---- scaling and values --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slope", [0.0, np.nan, 1.0])
def test_without_a_slope_the_voxels_are_as_stored(tmp_path, slope):
    patch(save(tmp_path / "a.nii", voxels()), scl_slope=slope, scl_inter=0)
    volume = read_volume(tmp_path / "a.nii")
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, voxels())


def test_scaling_is_exact_to_the_last_bit_of_float32(tmp_path):
    array = voxels(dtype=np.int32) * 1_000_003
    patch(save(tmp_path / "a.nii", array), scl_slope=0.1, scl_inter=-7)
    expected = (array * np.float64(np.float32(0.1)) - 7).astype(np.float32)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").array, expected)


@pytest.mark.parametrize("slope, inter", [(np.inf, 0), (2, np.nan), (2, np.inf)])
def test_scaling_that_is_no_number_is_refused(tmp_path, slope, inter):
    patch(save(tmp_path / "a.nii", voxels()), scl_slope=slope, scl_inter=inter)
    with pytest.raises(VolumeError, match="expected finite scaling"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.mha", "a.nrrd"])
def test_voxels_that_are_not_finite_are_counted_and_shown(tmp_path, value, name):
    array = voxels(dtype=np.float32)
    array[2, 1, 0] = array[4, 3, 2] = value
    sitk.WriteImage(sitk.GetImageFromArray(array.T), str(tmp_path / name))
    with pytest.raises(VolumeError, match=r"found 2 NaN or infinite, the first at \(2, 1, 0\)"):
        read_volume(tmp_path / name)
    repaired = read_volume(tmp_path / name, nonfinite="zero").array
    np.testing.assert_array_equal(repaired, np.where(np.isfinite(array), array, 0))


def test_choices_that_do_not_exist_are_refused(tmp_path):
    with pytest.raises(UsageError, match="nonfinite='ignore'"):
        read_volume(tmp_path / "a.nii", nonfinite="ignore")
    with pytest.raises(UsageError, match="affine='best'"):
        read_volume(tmp_path / "a.nii", affine="best")


# ---- where the volume lies -----------------------------------------------------------------------------------------


def test_two_forms_that_disagree_are_refused_until_one_is_chosen(tmp_path):
    patch(save(tmp_path / "a.nii", voxels()), qoffset_x=5.0)
    with pytest.raises(GeometryError, match="corners 10 voxels apart"):
        read_volume(tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii", affine="sform").affine[0, 3] == 0
    assert read_volume(tmp_path / "a.nii", affine="qform").affine[0, 3] == 5


def test_two_forms_that_agree_but_for_rounding_are_fine(tmp_path):
    save(tmp_path / "a.nii", voxels(), np.diag([1 / 3, 1 / 3, 0.7, 1]))
    patch(tmp_path / "a.nii", qoffset_x=1e-4)
    assert read_volume(tmp_path / "a.nii").spacing_mm == pytest.approx((1 / 3, 1 / 3, 0.7))


@pytest.mark.parametrize("sform, qform", [(1, 0), (0, 1), (2, 0), (0, 0)])
def test_a_form_without_a_code_is_not_used(tmp_path, sform, qform):
    save(tmp_path / "a.nii", voxels(), sform=sform, qform=qform)
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii").affine, nib.load(tmp_path / "a.nii").affine, atol=1e-6)


@pytest.mark.parametrize(
    "fields",
    [
        {"srow_x": [0, 0, 0, 0]},
        {"srow_x": [np.nan, 0, 0, 0]},
        {"srow_x": [0, 1, 0, 0], "srow_y": [0, 1, 0, 0]},
        {"srow_z": [0, 0, np.inf, 0]},
    ],
)
def test_an_affine_that_maps_nothing_is_refused(tmp_path, fields):
    patch(save(tmp_path / "a.nii", voxels(), qform=0), **fields)
    with pytest.raises(GeometryError):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("pixdim", [0.0, np.nan, np.inf])
def test_a_spacing_of_zero_or_no_number_is_refused(tmp_path, pixdim):
    patch(save(tmp_path / "a.nii", voxels(), sform=0), pixdim=[1, pixdim, 1, 1, 1, 1, 1, 1])
    with pytest.raises(GeometryError):
        read_volume(tmp_path / "a.nii")


def test_an_invalid_quaternion_is_refused(tmp_path):
    patch(save(tmp_path / "a.nii", voxels(), sform=0), quatern_b=3.0)
    with pytest.raises(GeometryError, match="expected a valid affine in the qform"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("units, factor", [(1, 1000), (2, 1), (3, 0.001), (0, 1)])
def test_metres_and_micrometres_become_millimetres_and_masks_stay_on_top(tmp_path, units, factor):
    patch(save(tmp_path / "a.nii", voxels()), xyzt_units=units)
    volume = read_volume(tmp_path / "a.nii")
    assert volume.spacing_mm == pytest.approx((0.5 * factor, 0.75 * factor, 3 * factor))
    mask = read_volume(write_mask(voxels(), tmp_path / "m.nii", like=volume))
    np.testing.assert_allclose(mask.affine, volume.affine)
    np.testing.assert_allclose(nib.load(tmp_path / "m.nii").affine, nib.load(tmp_path / "a.nii").affine)


def test_a_distance_between_grids_is_that_of_the_corner_that_moves_most():
    turned = np.eye(4)
    turned[0, 1] = 0.1
    assert corner_displacement(np.eye(4), turned, (11, 21, 31)) == pytest.approx(2.0)
    assert corner_displacement(np.diag([2, 2, 2, 1]), np.diag([2, 2, 2.2, 1]), (11, 21, 31)) == pytest.approx(3.0)
