import gzip
import itertools
import random
import resource
import subprocess
import sys
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from mcc_keras.errors import EnvironmentFailure, GeometryError, OutputExistsError, UsageError, VolumeError
from mcc_keras.formats import nifti
from mcc_keras.formats.geometry import corner_displacement
from mcc_keras.volumes import Volume, read_volume, suffix_of, write_mask, write_volume

OBLIQUE = np.array([[0.9, -0.2, 0.1, -30.0], [0.2, 0.88, -0.3, 12.0], [0.0, 0.4, 2.6, 7.0], [0, 0, 0, 1]])
AXES = np.diag([-0.5, 0.75, 3.0, 1.0])


def voxels(shape=(5, 4, 3), dtype=np.int16, seed=0):
    return np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)


def save(path, array, affine=AXES, *, sform=1, qform=1, kind=nib.Nifti1Image, **fields):
    image = kind(array, affine)
    image.header.set_sform(affine, sform)
    image.header.set_qform(affine, qform)
    for name, value in fields.items():
        image.header[name] = value
    nib.save(image, path)
    return path


def patch(path, **fields):
    """Change fields of an uncompressed NIfTI file where nibabel would mend or refuse them."""
    data = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(data[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock + bytes(data[348:]))
    return path


def all_orientations():
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            yield np.eye(3)[list(axes)] * signs


# ---- formats -----------------------------------------------------------------------------------------------------


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
def test_a_missing_file_is_told(tmp_path, name):
    with pytest.raises(VolumeError, match="expected a file, found none"):
        read_volume(tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(VolumeError, match="expected a"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("path", ["gs://bucket/a.nii", "http://x.org/a.nii", "hf://a/b.nii", "s3:/a.nii"])
def test_a_path_on_another_machine_is_refused(path):
    with pytest.raises(UsageError, match="must lie on this machine"):
        read_volume(path)


def test_suffixes_are_told_without_regard_to_capitals():
    assert [suffix_of(name) for name in ("A.NII.GZ", "b.nrrd", "c.gz", "d.nii.gz.txt")] == [".nii.gz", ".nrrd", "", ""]


# ---- rank ---------------------------------------------------------------------------------------------------------


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


# ---- scaling and values ------------------------------------------------------------------------------------------


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
    mended = read_volume(tmp_path / name, nonfinite="zero").array
    np.testing.assert_array_equal(mended, np.where(np.isfinite(array), array, 0))


def test_choices_that_do_not_exist_are_refused(tmp_path):
    with pytest.raises(UsageError, match="nonfinite='ignore'"):
        read_volume(tmp_path / "a.nii", nonfinite="ignore")
    with pytest.raises(UsageError, match="affine='best'"):
        read_volume(tmp_path / "a.nii", affine="best")


# ---- where the volume lies ----------------------------------------------------------------------------------------


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
def test_a_form_without_a_code_is_not_looked_at(tmp_path, sform, qform):
    save(tmp_path / "a.nii", voxels(), sform=sform, qform=qform)
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii").affine, nib.load(tmp_path / "a.nii").affine, atol=1e-6)
    with pytest.raises(GeometryError, match="expected a"):
        read_volume(tmp_path / "a.nii", affine="qform" if sform or not qform else "sform")


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


def test_a_quaternion_that_is_none_is_refused(tmp_path):
    patch(save(tmp_path / "a.nii", voxels(), sform=0), quatern_b=3.0)
    with pytest.raises(GeometryError, match="expected an affine in the qform"):
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


# ---- damaged and hostile files ------------------------------------------------------------------------------------


def gzip_accepts(path):
    return subprocess.run(["gzip", "-t", path], capture_output=True).returncode == 0


def reads(path):
    try:
        read_volume(path)
    except VolumeError:
        return False
    return True


def test_a_file_cut_at_any_byte_is_refused_and_a_whole_one_read(tmp_path):
    data = write_volume(voxels(), tmp_path / "whole.nii.gz", affine=AXES).read_bytes()
    cut = tmp_path / "cut.nii.gz"
    for length in range(len(data)):
        cut.write_bytes(data[:length])
        assert not reads(cut), f"cut after {length} of {len(data)} bytes"
    cut.write_bytes(data)
    assert reads(cut)


def test_what_is_accepted_is_what_gzip_accepts(tmp_path):
    data = write_volume(voxels(), tmp_path / "whole.nii.gz", affine=AXES).read_bytes()
    plain = gzip.decompress(data)
    mutants = [data[:n] for n in range(0, len(data), 9)] + [
        data + bytes(7),
        data + b"x",
        data + data,
        data[:-1] + b"\7",
    ]
    mutants += [gzip.compress(plain[:300]) + gzip.compress(plain[300:]), gzip.compress(plain + b"tail"), b"", plain]
    random_ = random.Random(5)
    for _ in range(40):
        at = random_.randrange(len(data))
        mutants.append(data[:at] + bytes([data[at] ^ 1 << random_.randrange(8)]) + data[at + 1 :])
    path = tmp_path / "mutant.nii.gz"
    accepted = 0
    for mutant in mutants:
        path.write_bytes(mutant)
        accepted += gzip_accepts(path)
        assert reads(path) == gzip_accepts(path), mutant[:20]
    assert accepted >= 4


def test_the_checksum_of_every_member_is_compared():
    whole = gzip.compress(b"abc") + gzip.compress(b"def")
    assert b"".join(nifti.inflate(whole, 1)) == b"abcdef"
    wrong = gzip.compress(b"abc")[:-8] + bytes(8) + gzip.compress(b"def")
    with pytest.raises(zlib.error, match="(?i)incorrect (data check|checksum)"):
        list(nifti.inflate(wrong, 1 << 10))


@pytest.mark.parametrize("name", ["a.nii", "a.img"])
def test_an_uncompressed_file_that_is_cut_is_refused(tmp_path, name):
    (nib.Nifti1Image if name == "a.nii" else nib.Nifti1Pair)(voxels(), AXES).to_filename(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    for length in range(0, len(data), 7):
        (tmp_path / name).write_bytes(data[:length])
        assert not reads(tmp_path / name)


def bomb(path, shape, *, zeros=0, dtype=np.uint8):
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    header.set_sform(np.eye(4), 1)
    data = header.binaryblock + bytes(4)
    if not path.name.endswith(".gz"):
        path.write_bytes(data + bytes(zeros))
        return path
    packer = zlib.compressobj(9, wbits=31)
    with open(path, "wb") as file:
        file.write(packer.compress(data))
        for _ in range(zeros >> 20):
            file.write(packer.compress(bytes(1 << 20)))
        file.write(packer.flush())
    return path


def limit_memory():
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("shape", [(32767, 32767, 32767), (1000, 1000, 1000), (32767, 8, 8)])
def test_a_header_that_promises_too_much_is_refused_before_memory_is_taken(tmp_path, name, shape):
    path = bomb(tmp_path / name, shape)
    code = (
        "import sys; from mcc_keras.volumes import read_volume\n"
        "from mcc_keras.errors import VolumeError\n"
        "try: read_volume(sys.argv[1])\nexcept VolumeError as error: print(error)"
    )
    run = [sys.executable, "-c", code, path]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120, preexec_fn=limit_memory)
    assert "voxels" in done.stdout or "promises" in done.stdout or "cut" in done.stdout, done.stderr


def test_a_bomb_is_refused_by_its_ratio_and_read_when_trusted(tmp_path, monkeypatch):
    path = bomb(tmp_path / "a.nii.gz", (256, 256, 256), zeros=16 << 20)
    assert read_volume(path).array.nbytes == 16 << 20
    monkeypatch.setattr(nifti, "_RATIO_FREE_BYTES", 1 << 20)
    with pytest.raises(VolumeError, match="at most 200 times the compressed"):
        read_volume(path)
    assert read_volume(path, max_ratio=1100).shape == (256, 256, 256)


def test_a_stream_that_goes_on_and_on_after_the_voxels_is_refused(tmp_path, monkeypatch):
    path = bomb(tmp_path / "a.nii.gz", (2, 2, 2), zeros=8 << 20)
    monkeypatch.setattr(nifti, "_RATIO_FREE_BYTES", 1 << 20)
    with pytest.raises(VolumeError, match="found more than"):
        read_volume(path)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mha", "a.nrrd"])
def test_the_limit_of_voxels_is_an_option(tmp_path, name):
    sitk.WriteImage(sitk.GetImageFromArray(voxels()), str(tmp_path / name))
    assert read_volume(tmp_path / name, max_voxels=60).shape == (3, 4, 5)
    with pytest.raises(VolumeError, match="expected at most 59 voxels"):
        read_volume(tmp_path / name, max_voxels=59)


@pytest.mark.parametrize("code", [128, 32, 1536, 1, 0, 2304])
def test_colours_and_complex_numbers_are_refused(tmp_path, code):
    patch(save(tmp_path / "a.nii", voxels()), datatype=code)
    with pytest.raises(VolumeError, match=f"found data type {code}"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("bits", [0, 8, 15, 32])
def test_a_header_whose_bits_are_not_those_of_its_type_is_refused(tmp_path, bits):
    patch(save(tmp_path / "a.nii", voxels()), bitpix=bits)
    with pytest.raises(VolumeError, match=f"expected 16 bits a voxel for int16, found {bits}"):
        read_volume(tmp_path / "a.nii")


def test_analyze_files_are_refused_since_they_do_not_say_left_from_right(tmp_path):
    nib.AnalyzeImage(voxels(), np.eye(4)).to_filename(tmp_path / "a.img")
    with pytest.raises(VolumeError, match="expected the NIfTI mark"):
        read_volume(tmp_path / "a.hdr")


# ---- writing ------------------------------------------------------------------------------------------------------


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
def test_a_mask_of_a_metaimage_or_nrrd_lies_on_it_for_simpleitk_too(tmp_path, name):
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


def test_a_file_is_not_overwritten_unless_told(tmp_path):
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


@pytest.mark.parametrize("name", ["m.dcm", "m", "m.hdr", "m.png", "m.seg"])
def test_a_mask_in_another_format_is_refused_with_the_way_to_dicom(tmp_path, name):
    with pytest.raises(UsageError, match=r"\.nii \.nii\.gz \.mha \.mhd \.nrrd.*DICOM SEG is not written: convert"):
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


def test_a_mask_of_two_files_is_not_written_over_either_unless_told(tmp_path):
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
