"""Folders of DICOM files, written by SimpleITK a slice a file."""

import numpy as np
import pytest
import SimpleITK as sitk

from mcc_keras.errors import GeometryError, VolumeError
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
    """Write `(x, y, z)` voxels slice by slice, under names that do not tell the order."""
    folder.mkdir(exist_ok=True)
    for index in range(voxels.shape[2]):
        if index not in skip:
            name = f"{(7 * index + 3) % 101:03}.dcm"
            write_slice(folder / name, voxels[:, :, index], ORIGIN + index * SPACING[2] * NORMAL, **options)
    return folder


def test_a_series_is_one_volume_in_its_place(tmp_path):
    volume = read_volume(write_series(tmp_path / "mr"))
    np.testing.assert_array_equal(volume.array, VOXELS)
    assert volume.array.dtype == np.int16
    lps = np.column_stack([ROW * 0.5, COLUMN * 0.75, NORMAL * 3, ORIGIN])
    np.testing.assert_allclose(volume.affine[:3], np.diag([-1, -1, 1]) @ lps, atol=1e-9)


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
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (folder / ".hidden").write_text("x")
    (folder / "more").mkdir()
    np.testing.assert_array_equal(read_volume(folder).array, VOXELS)


def test_a_file_that_calls_itself_dicom_and_is_none_is_told(tmp_path):
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
    with pytest.raises(VolumeError, match=r"found 2: 1\.2\.3 \(3 files: 003\.dcm …\), 9\.8\.7 \(1 files: localizer"):
        read_volume(tmp_path / "mr")


def test_a_missing_slice_is_told_with_its_neighbours(tmp_path):
    voxels = np.zeros((5, 4, 6), np.int16)
    with pytest.raises(GeometryError, match=r"expected slices 3 mm apart, found 6 mm between 017\.dcm and 031\.dcm"):
        read_volume(write_series(tmp_path / "mr", voxels, skip=(3,)))


def test_slices_at_one_place_are_told(tmp_path):
    write_slice(write_series(tmp_path / "mr") / "again.dcm", VOXELS[:, :, 0], ORIGIN + 3 * NORMAL)
    with pytest.raises(GeometryError, match=r"010\.dcm and again\.dcm at the same|again\.dcm and 010\.dcm at the same"):
        read_volume(tmp_path / "mr")


def test_planes_of_several_orientations_are_told(tmp_path):
    write_slice(write_series(tmp_path / "mr") / "other.dcm", VOXELS[:, :, 0], ORIGIN, axes=(ROW, NORMAL))
    with pytest.raises(GeometryError, match=r"other\.dcm: expected the orientation and spacing of 003\.dcm"):
        read_volume(tmp_path / "mr")


def test_planes_of_another_size_are_told(tmp_path):
    write_slice(write_series(tmp_path / "mr") / "other.dcm", VOXELS[:4, :, 0], ORIGIN - 3 * NORMAL)
    with pytest.raises(GeometryError, match=r"other\.dcm: expected the size \(5, 4\) of 003\.dcm, found \(4, 4\)"):
        read_volume(tmp_path / "mr")


def test_several_frames_in_a_file_are_refused(tmp_path):
    image = sitk.GetImageFromArray(VOXELS.T.astype(np.uint8))
    sitk.WriteImage(image, str(tmp_path / "a.dcm"))
    with pytest.raises(VolumeError, match=r"a\.dcm: expected one slice a file, found 3 frames.*NIfTI"):
        read_volume(tmp_path)


def test_colours_are_refused(tmp_path):
    image = sitk.GetImageFromArray(np.zeros((4, 5, 3), np.uint8), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "a.dcm"))
    with pytest.raises(VolumeError, match="found 3 \\(colours\\)"):
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


def test_a_decoder_that_breaks_down_takes_nobody_with_it(tmp_path, monkeypatch):
    write_series(tmp_path / "mr")
    monkeypatch.setattr(dicom, "_SERVE", "import os; os.abort()")
    with pytest.raises(VolumeError, match="found that the decoder broke down"):
        read_volume(tmp_path / "mr")
    monkeypatch.setattr(dicom, "_SERVE", "import time; time.sleep(60)")
    monkeypatch.setattr(dicom, "_SECONDS", 0.5)
    with pytest.raises(VolumeError, match="within 0.5 s"):
        read_volume(tmp_path / "mr")


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
