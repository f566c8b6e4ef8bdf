"""Folders of DICOM files, written by SimpleITK a slice a file."""

import os

import numpy as np
import pytest
import SimpleITK as sitk

from mcc_keras.errors import DataError, GeometryError, VolumeError
from mcc_keras.formats import dicom
from mcc_keras.formats.dicom import holds_dicom
from mcc_keras.volumes import read_volume

VOXELS = np.random.default_rng(0).integers(0, 900, (5, 4, 3)).astype(np.int16)
# Rows and columns of the slices, oblique; the third axis is their normal.
ROW, COLUMN = np.array([0.6, 0.8, 0.0]), np.array([0.0, 0.0, -1.0])
NORMAL, ORIGIN, SPACING = np.cross(ROW, COLUMN), np.array([-10.5, 20.0, 30.0]), (0.5, 0.75, 3.0)


def write_slice(path, plane, origin, *, series="1.2.3", axes=(ROW, COLUMN), spacing=SPACING, compressor=None, **tags):
    """Write `(x, y)` pixels as one file with its corner at `origin`."""
    image = sitk.GetImageFromArray(np.asarray(plane).T)
    image.SetSpacing(spacing[:2])
    words = {
        "0008|0060": "MR",
        "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
        "0008|0018": f"1.2.3.{abs(hash(path.name)) % 10**9}",
        "0020|000d": "1.2",
        "0020|000e": series,
        "0020|0032": "\\".join(f"{x:.10g}" for x in origin),
        "0020|0037": "\\".join(f"{x:.10g}" for x in np.concatenate(axes)),
        "0018|0050": f"{spacing[2]:g}",
        "0018|0088": f"{spacing[2]:g}",
        **{name.replace("_", "|").removeprefix("t"): value for name, value in tags.items()},
    }
    for name, value in words.items():
        image.SetMetaData(name, value)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    if compressor:
        writer.SetUseCompression(True)
        writer.SetCompressor(compressor)
    writer.Execute(image)


def write_series(folder, voxels=VOXELS, *, skip=(), **options):
    """Write `(x, y, z)` voxels slice by slice, under names in another order."""
    folder.mkdir(exist_ok=True)
    for index in range(voxels.shape[2]):
        if index not in skip:
            name = f"{(7 * index + 3) % 101:03}.dcm"
            place = ORIGIN + index * SPACING[2] * NORMAL
            write_slice(folder / name, voxels[:, :, index], place, t0020_0013=str(index + 1), **options)
    return folder


def test_a_series_is_one_volume_in_its_place(tmp_path):
    volume = read_volume(write_series(tmp_path / "mr"))
    np.testing.assert_array_equal(volume.array, VOXELS)
    assert volume.array.dtype == np.int16
    lps = np.column_stack([ROW * 0.5, COLUMN * 0.75, NORMAL * 3, ORIGIN])
    np.testing.assert_allclose(volume.affine[:3], np.diag([-1, -1, 1]) @ lps, atol=1e-9)


def test_each_slice_along_the_last_axis_names_its_file(tmp_path):
    folder = write_series(tmp_path / "mr")
    for number, (old, new) in enumerate((("003", "c"), ("010", "b"), ("017", "a"))):
        patch(folder / f"{old}.dcm", (0x0020, 0x0013), str(3 - number))
        (folder / f"{old}.dcm").rename(folder / f"{new}.dcm")
    volume = read_volume(folder)
    assert [one.path.name for one in volume.slices] == ["c.dcm", "b.dcm", "a.dcm"]
    for index, one in enumerate(volume.slices):
        image = sitk.ReadImage(str(one.path))
        assert one.uid == image.GetMetaData("0008|0018").strip("\0")
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image)[0].T, volume.array[:, :, index])


def test_the_same_scan_is_the_same_volume_in_every_format(tmp_path):
    volume = read_volume(write_series(tmp_path / "mr"))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "mr")))
    image = reader.Execute()
    for name in ("a.nii.gz", "a.nrrd", "a.mha", "a.mhd"):
        sitk.WriteImage(image, str(tmp_path / name))
        other = read_volume(tmp_path / name)
        np.testing.assert_array_equal(other.array, volume.array)
        np.testing.assert_allclose(other.affine, volume.affine, atol=1e-5)


@pytest.mark.parametrize("compressor", ["JPEG2000", "JPEG", "JPEGLS"])
def test_slices_that_are_compressed_without_loss_are_read(tmp_path, compressor):
    voxels = np.random.default_rng(1).integers(0, 900, (16, 16, 2)).astype(np.int16)
    volume = read_volume(write_series(tmp_path / "mr", voxels, compressor=compressor))
    np.testing.assert_array_equal(volume.array, voxels)


@pytest.mark.parametrize("slope, intercept, dtype", [("2", "-1024", "int32"), ("0.5", "-1", "float32")])
def test_voxels_are_rescaled_as_each_slice_says(tmp_path, slope, intercept, dtype):
    ct = {"t0008_0016": "1.2.840.10008.5.1.4.1.1.2", "t0008_0060": "CT"}
    plain = write_series(tmp_path / "plain", VOXELS, **ct)
    for index, path in enumerate(sorted(plain.iterdir())):
        patch(path, (0x0028, 0x1052), intercept if index else "0")
        patch(path, (0x0028, 0x1053), slope if index else "1")
    volume = read_volume(plain)
    assert volume.array.dtype == dtype
    order = {f"{(7 * index + 3) % 101:03}.dcm": index for index in range(3)}
    first = order[min(order)]
    expected = VOXELS * float(slope) + float(intercept)
    expected[:, :, first] = VOXELS[:, :, first]
    np.testing.assert_array_equal(volume.array, expected)


def test_a_single_slice_is_a_volume_of_one(tmp_path):
    folder = write_series(tmp_path / "mr", VOXELS[:, :, :1])
    patch(folder / "003.dcm", (0x0018, 0x0088), "3")
    volume = read_volume(folder)
    assert volume.shape == (5, 4, 1)
    assert volume.spacing_mm == pytest.approx(SPACING)


def test_a_gantry_tilt_stays_in_the_affine(tmp_path):
    for index in range(3):
        write_slice(tmp_path / f"{index}.dcm", VOXELS[:, :, index], ORIGIN + index * (3 * NORMAL + 0.5 * ROW))
    volume = read_volume(tmp_path)
    np.testing.assert_allclose(volume.affine[:3, 2], (3 * NORMAL + 0.5 * ROW) * (-1, -1, 1), atol=1e-9)


def test_other_files_in_the_folder_are_left_aside(tmp_path):
    folder = write_series(tmp_path / "Fräulein 1")
    (folder / "readme.txt").write_text("hello")
    (folder / "LIESMICH").write_text("für alle", encoding="utf-8")
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (folder / ".hidden").write_text("x")
    (folder / "more").mkdir()
    with pytest.warns(UserWarning, match="Fräulein 1: left aside, since they are no slices: LIESMICH, readme.txt$"):
        np.testing.assert_array_equal(read_volume(folder).array, VOXELS)


def test_a_file_with_a_dicom_suffix_and_other_content_is_refused(tmp_path):
    folder = write_series(tmp_path / "mr")
    (folder / "500.dcm").write_bytes(b"cut")
    with pytest.raises(VolumeError, match=r"500\.dcm: expected a DICOM file"):
        read_volume(folder)


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    write_slice(tmp_path / "elsewhere.dcm", VOXELS[:, :, 0], ORIGIN - 3 * NORMAL)
    (write_series(tmp_path / "mr") / "link.dcm").symlink_to(tmp_path / "elsewhere.dcm")
    with pytest.raises(VolumeError, match=r"link\.dcm: expected a file inside"):
        read_volume(tmp_path / "mr")


def test_several_series_are_refused_with_their_ids_and_numbers(tmp_path):
    write_slice(write_series(tmp_path / "mr") / "localizer.dcm", VOXELS[:, :, 0], ORIGIN, series="9.8.7")
    with pytest.raises(
        VolumeError, match=r"found 2: 1\.2\.3 \(MR, 3 files: 003\.dcm …\), 9\.8\.7 \(MR, 1 file: localizer"
    ):
        read_volume(tmp_path / "mr")


def test_a_missing_slice_is_reported_with_its_neighbors(tmp_path):
    voxels = np.zeros((5, 4, 6), np.int16)
    with pytest.raises(GeometryError, match=r"expected slices 3 mm apart, found 6 mm between 017\.dcm and 031\.dcm"):
        read_volume(write_series(tmp_path / "mr", voxels, skip=(3,)))


def test_slices_at_the_same_position_are_refused(tmp_path):
    write_slice(write_series(tmp_path / "mr") / "again.dcm", VOXELS[:, :, 0], ORIGIN + 3 * NORMAL)
    with pytest.raises(GeometryError, match=r"010\.dcm and again\.dcm at the same|again\.dcm and 010\.dcm at the same"):
        read_volume(tmp_path / "mr")


def test_planes_of_several_orientations_are_refused(tmp_path):
    write_slice(write_series(tmp_path / "mr") / "other.dcm", VOXELS[:, :, 0], ORIGIN, axes=(ROW, NORMAL))
    with pytest.raises(GeometryError, match=r"other\.dcm: expected the orientation and spacing of 003\.dcm"):
        read_volume(tmp_path / "mr")


def test_planes_of_another_size_are_refused(tmp_path):
    write_slice(write_series(tmp_path / "mr") / "other.dcm", VOXELS[:4, :, 0], ORIGIN - 3 * NORMAL)
    with pytest.raises(GeometryError, match=r"other\.dcm: expected the size \(5, 4\) of 003\.dcm, found \(4, 4\)"):
        read_volume(tmp_path / "mr")


def test_several_frames_in_a_file_are_refused(tmp_path):
    image = sitk.GetImageFromArray(VOXELS.T.astype(np.uint8))
    sitk.WriteImage(image, str(tmp_path / "a.dcm"))
    with pytest.raises(VolumeError, match=r"a\.dcm: expected one slice per file, found 3 frames.*NIfTI"):
        read_volume(tmp_path)


def test_colors_are_refused(tmp_path):
    image = sitk.GetImageFromArray(np.zeros((4, 5, 3), np.uint8), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "a.dcm"))
    with pytest.raises(VolumeError, match="found 3 \\(colors\\)"):
        read_volume(tmp_path)


def test_the_limit_of_voxels_holds(tmp_path):
    with pytest.raises(VolumeError, match="expected at most 59 voxels"):
        read_volume(write_series(tmp_path / "mr"), max_voxels=59)


def test_rows_and_columns_that_a_small_file_cannot_hold_are_refused(tmp_path):
    write_slice(tmp_path / "a.dcm", np.zeros((16, 16), np.int16), ORIGIN, compressor="JPEG2000")
    patch(tmp_path / "a.dcm", (0x0028, 0x0010), (30_000).to_bytes(2, "little"))
    patch(tmp_path / "a.dcm", (0x0028, 0x0011), (30_000).to_bytes(2, "little"))
    with pytest.raises(VolumeError, match="promises 900000000 bytes"):
        read_volume(tmp_path)


def test_a_folder_without_dicom_says_where_some_is(tmp_path):
    write_series(tmp_path / "s1")
    assert holds_dicom(tmp_path / "s1") and not holds_dicom(tmp_path)
    with pytest.raises(VolumeError, match="expected a folder of DICOM files, found none in it. Name one of .*: s1"):
        read_volume(tmp_path)
    with pytest.raises(VolumeError, match="for DICOM files name the folder"):
        read_volume(tmp_path / "s1" / "003.dcm")


def test_a_decoder_that_crashes_is_a_typed_error(tmp_path, monkeypatch):
    write_series(tmp_path / "mr")
    monkeypatch.setattr(dicom, "_SERVE", "import os; os.abort()")
    with pytest.raises(VolumeError, match="found that the decoder crashed"):
        read_volume(tmp_path / "mr")
    monkeypatch.setattr(dicom, "_SERVE", "import time; time.sleep(60)")
    monkeypatch.setattr(dicom, "_SECONDS", 0.5)
    with pytest.raises(VolumeError, match="within 0.5 s"):
        read_volume(tmp_path / "mr")


# ---- what lies beside a series, or is missing from it -------------------------------------------------------------


def bare(path):
    """Remove the preamble and the meta group from a file, which leaves the data set alone."""
    data = path.read_bytes()
    length = int.from_bytes(data[140:144], "little")
    path.write_bytes(data[144 + length :])


def element(group, number, kind, value):
    value = value.encode() + b"\0" * (len(value) % 2)
    return group.to_bytes(2, "little") + number.to_bytes(2, "little") + kind + len(value).to_bytes(2, "little") + value


def write_structure_set(path, *, series):
    sop_class = element(8, 0x16, b"UI", "1.2.840.10008.5.1.4.1.1.481.3")
    rest = element(8, 0x60, b"CS", "RTSTRUCT") + element(0x20, 0xE, b"UI", series)
    meta = element(2, 0x10, b"UI", "1.2.840.10008.1.2.1")
    head = bytes(128) + b"DICM" + element(2, 0, b"UL", len(meta).to_bytes(4, "little").decode("latin-1")) + meta
    path.write_bytes(head + sop_class + rest)


@pytest.mark.parametrize("which", ["all", "first", "last"])
def test_files_without_a_preamble_are_read(tmp_path, which):
    folder = write_series(tmp_path / "mr")
    chosen = {"all": range(3), "first": [0], "last": [2]}[which]
    for index in chosen:
        bare(folder / f"{(7 * index + 3) % 101:03}.dcm")
    assert holds_dicom(folder)
    np.testing.assert_array_equal(read_volume(folder).array, VOXELS)


@pytest.mark.parametrize("name, data", [("017", b""), ("017.dcm", b""), ("017", b"\0\1" * 99), ("IM.17", b"\xff" * 9)])
def test_a_slice_that_is_not_understood_is_refused_with_its_name(tmp_path, name, data):
    folder = write_series(tmp_path / "mr")
    (folder / "017.dcm").unlink()
    (folder / name).write_bytes(data)
    with pytest.raises(VolumeError, match=f"{name}: expected a DICOM file, found {len(data)} bytes that are none"):
        read_volume(folder)


@pytest.mark.parametrize("compressor", [None, "JPEG2000"])
def test_a_slice_with_holes_behind_it_is_refused_at_once(tmp_path, compressor):
    folder = write_series(tmp_path / "mr", np.zeros((16, 16, 1), np.int16), compressor=compressor)
    os.truncate(folder / "003.dcm", 8 << 30)
    with pytest.raises(VolumeError, match=r"003\.dcm: expected a slice, found a mebibyte of zeros behind it"):
        read_volume(folder)


@pytest.mark.parametrize("series", ["1.2.3", "7.7"])
def test_a_structure_set_beside_a_series_is_left_aside_with_its_name(tmp_path, series):
    folder = write_series(tmp_path / "mr")
    write_structure_set(folder / "RS.dcm", series=series)
    with pytest.warns(UserWarning, match=r"left aside, since they are no slices: RS\.dcm \(RTSTRUCT\)$"):
        np.testing.assert_array_equal(read_volume(folder).array, VOXELS)
    for path in folder.glob("0*.dcm"):
        path.unlink()
    assert not holds_dicom(folder)
    with pytest.raises(VolumeError, match=r"found only RS\.dcm \(RTSTRUCT\)"):
        read_volume(folder)


@pytest.mark.parametrize("series, message", [("1.2.3", "beside them"), ("9.9", r"9\.9")])
def test_a_localizer_beside_a_series_is_named(tmp_path, series, message):
    folder = write_series(tmp_path / "mr")
    options = {"axes": (ROW, NORMAL), "series": series, "t0008_0008": "ORIGINAL\\PRIMARY\\LOCALIZER"}
    write_slice(folder / "000.dcm", VOXELS[:, :, 0], ORIGIN, **options)
    with pytest.raises(DataError, match=rf"{message} \(MR localizer, 1 file: 000\.dcm\)"):
        read_volume(folder)


def test_the_same_slice_twice_is_called_a_copy(tmp_path):
    folder = write_series(tmp_path / "mr")
    (folder / "010 (1).dcm").write_bytes((folder / "010.dcm").read_bytes())
    with pytest.raises(GeometryError, match=r"found 010 \(1\)\.dcm and 010\.dcm: a copy\. Remove one of them"):
        read_volume(folder)


@pytest.mark.parametrize("tag, name", [(0x32, "position"), (0x37, "orientation")])
def test_a_file_without_a_place_is_refused(tmp_path, tag, name):
    write_slice(tmp_path / "a.dcm", VOXELS[:, :, 0], ORIGIN)
    data = (tmp_path / "a.dcm").read_bytes()
    (tmp_path / "a.dcm").write_bytes(data.replace(bytes([0x20, 0, tag, 0]), bytes([0x20, 0, tag + 1, 0])))
    with pytest.raises(GeometryError, match=rf"a\.dcm: expected a slice in space, found .* without {name} \(MR\)"):
        read_volume(tmp_path)


@pytest.mark.parametrize("missing, seen", [(0, "2 to 4"), (3, "1 to 3 of 4")])
def test_a_slice_that_is_missing_at_an_end_is_seen_by_the_instance_numbers(tmp_path, missing, seen):
    folder = write_series(tmp_path / "mr", np.zeros((5, 4, 4), np.int16), skip=(missing,), t0020_1002="4")
    with pytest.warns(UserWarning, match=f"mr: 3 slices with instance numbers {seen}.*: slices may be missing"):
        assert read_volume(folder).shape == (5, 4, 3)


def test_every_other_slice_is_seen_by_the_instance_numbers(tmp_path):
    folder = write_series(tmp_path / "mr", np.zeros((5, 4, 5), np.int16), skip=(1, 3))
    with pytest.warns(UserWarning, match="3 slices with instance numbers 1 to 5: slices may be missing"):
        assert read_volume(folder).spacing_mm[2] == pytest.approx(6)


@pytest.mark.parametrize(
    "dtype, compressor, slope, intercept",
    [
        *(("int16", None, "1", "-1024"), ("uint16", None, "2", "0"), ("uint8", None, "0.5", "3")),
        *(("int16", "JPEG2000", "0.5", "3"), ("uint16", "JPEGLS", "1", "-1024"), ("uint8", "JPEG", "1", "0")),
    ],
)
def test_what_is_meant_for_a_display_is_not_applied(tmp_path, dtype, compressor, slope, intercept):
    voxels = np.random.default_rng(2).integers(-90 * (dtype == "int16"), 200, (16, 16, 2)).astype(dtype)
    folder = write_series(tmp_path / "ct", voxels, compressor=compressor)
    for path in folder.iterdir():
        patch(path, (0x0028, 0x1052), intercept)
        patch(path, (0x0028, 0x1053), slope)
        patch(path, (0x0028, 0x0004), "MONOCHROME1")
    expected = voxels * float(slope) + float(intercept)
    np.testing.assert_array_equal(read_volume(folder).array, expected)


def patch(path, tag, value):
    """Change the value of a short element, in explicit (where compressed) or implicit little endian; or put it in."""
    data, value = path.read_bytes(), value.encode() if isinstance(value, str) else value
    name = tag[0].to_bytes(2, "little") + tag[1].to_bytes(2, "little")
    value += b" " * (len(value) % 2)
    at = data.find(name)
    pixels = data.index(b"\xe0\x7f\x10\x00")
    kind = data[at + 4 : at + 6] if at > 0 else b""
    size = 2 if kind.isalpha() else 4
    length = int.from_bytes(data[at + 8 - size : at + 8], "little")
    head = name + (kind if size == 2 else b"") + len(value).to_bytes(size, "little")
    start, end = (at, at + 8 + length) if at > 0 else (pixels, pixels)
    path.write_bytes(data[:start] + head + value + data[end:])
