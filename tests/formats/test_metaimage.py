"""Headers of MetaImage in all the ways that writers have, read as ITK reads them."""

import numpy as np
import pytest
import SimpleITK as sitk

from mcc_keras.errors import GeometryError, VolumeError
from mcc_keras.formats import text_header
from mcc_keras.formats.metaimage import encode_metaimage
from mcc_keras.volumes import read_volume

VOXELS = np.random.default_rng(0).integers(-100, 100, (5, 4, 3)).astype(np.int16)
PLAIN = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "TransformMatrix": "0.6 0.8 0 -0.8 0.6 0 0 0 1",
    "Offset": "-10.5 20 30",
    "ElementSpacing": "0.5 0.75 3",
    "DimSize": "5 4 3",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}


def write(path, data=None, **changes):
    fields = {name: value for name, value in {**PLAIN, **changes}.items() if value is not None}
    fields["ElementDataFile"] = fields.pop("ElementDataFile")
    text = "".join(f"{name} = {value}\n" for name, value in fields.items())
    path.write_bytes(text.encode() + (VOXELS.tobytes(order="F") if data is None else data))
    return path


def itk_affine(image):
    corners = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    points = np.array([image.TransformIndexToPhysicalPoint(corner) for corner in corners]) * (-1, -1, 1)
    return np.vstack([np.column_stack([*(points[1:] - points[0]), points[0]]), [0, 0, 0, 1]])


def agrees_with_itk(path, *, channels=1):
    volume, image = read_volume(path, channels=channels), sitk.ReadImage(str(path))
    expected = sitk.GetArrayFromImage(image)
    axes = (2, 1, 0) if channels == 1 else (2, 1, 0, 3)
    np.testing.assert_array_equal(volume.array, expected.transpose(axes))
    np.testing.assert_allclose(volume.affine, itk_affine(image), atol=1e-9)
    return volume


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"TransformMatrix": None, "Orientation": "0 1 0 1 0 0 0 0 -1"},
        {"TransformMatrix": None, "Rotation": "0 1 0 1 0 0 0 0 -1"},
        {"Offset": None, "Position": "1 2 3"},
        {"Offset": None, "Origin": "1 2 3"},
        {"TransformMatrix": None, "Offset": None, "ElementSpacing": None},
        {"ElementSpacing": None, "ElementSize": "2 2 2"},
        {"BinaryDataByteOrderMSB": None, "ElementByteOrderMSB": "False"},
        {"AnatomicalOrientation": "LPS", "Comment": "hello there", "Modality": "MET_MOD_MR", "MyOwnField": "1 2 x"},
        {"ElementType": "MET_USHORT"},
        {"CenterOfRotation": "0 0 0", "CompressedData": "False"},
    ],
    ids=str,
)
def test_a_header_is_read_as_itk_reads_it(tmp_path, changes):
    agrees_with_itk(write(tmp_path / "a.mha", **changes))


def test_the_order_of_bytes_is_that_of_the_header(tmp_path):
    data = VOXELS.astype(">i2").tobytes(order="F")
    volume = agrees_with_itk(write(tmp_path / "a.mha", data, BinaryDataByteOrderMSB="True"))
    np.testing.assert_array_equal(volume.array, VOXELS)
    assert volume.array.dtype == np.int16


def test_voxels_may_be_written_as_words(tmp_path):
    data = " ".join(str(value) for value in VOXELS.ravel(order="F")).encode()
    np.testing.assert_array_equal(read_volume(write(tmp_path / "a.mha", data, BinaryData="False")).array, VOXELS)
    for wrong in (data[:-3], data + b" 5", data.replace(b" 5", b" x", 1), b"9" * 300):
        with pytest.raises(VolumeError, match="numbers"):
            read_volume(write(tmp_path / "a.mha", wrong, BinaryData="False"))


@pytest.mark.parametrize("size, before", [("7", 7), ("-1", 11)])
def test_a_header_of_another_kind_before_the_voxels_is_skipped(tmp_path, size, before):
    (tmp_path / "a.raw").write_bytes(bytes(before) + VOXELS.tobytes(order="F"))
    path = write(tmp_path / "a.mhd", b"", HeaderSize=size, ElementDataFile="a.raw")
    np.testing.assert_array_equal(agrees_with_itk(path).array, VOXELS)


def test_channels_are_those_of_itk(tmp_path):
    data = np.arange(120, dtype=np.int16).tobytes()
    agrees_with_itk(write(tmp_path / "a.mha", data, ElementNumberOfChannels="2"), channels=2)


def test_a_data_file_in_a_folder_below_is_read(tmp_path):
    (tmp_path / "sub folder").mkdir()
    (tmp_path / "sub folder" / "ü.raw").write_bytes(VOXELS.tobytes(order="F"))
    agrees_with_itk(write(tmp_path / "a.mhd", b"", ElementDataFile="sub folder/ü.raw"))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"NDims": "83"}, "as many sizes as NDims = 83"),
        ({"NDims": "-3"}, "as many sizes"),
        ({"NDims": "31e30"}, "whole numbers in NDims"),
        ({"DimSize": "5 4 -3"}, "at least one voxel"),
        ({"ElementType": "MET_STRING"}, "integer or real voxels"),
        ({"ElementNumberOfChannels": "99999999"}, "at most"),
        ({"ElementNumberOfChannels": "-1"}, "at least one channel"),
        ({"ElementSpacing": "1 1"}, "3 numbers in ElementSpacing"),
        ({"TransformMatrix": "1 0 0"}, "9 numbers in TransformMatrix"),
        ({"Offset": "x y z"}, "3 numbers in Offset"),
        ({"CompressedData": "True"}, "compressed stream"),
        ({"CompressedData": "True", "HeaderSize": "-1"}, "position of the zlib voxels"),
        ({"HeaderSize": "99999999999999999999"}, "truncated"),
    ],
    ids=str,
)
def test_an_invalid_header_is_refused_with_the_field(tmp_path, changes, message):
    with pytest.raises(VolumeError, match=message):
        read_volume(write(tmp_path / "a.mha", **changes))


def test_a_field_that_is_there_twice_is_refused(tmp_path):
    path = write(tmp_path / "a.mha")
    path.write_bytes(path.read_bytes().replace(b"Offset", b"NDims = 99999999\nOffset"))
    with pytest.raises(VolumeError, match="expected NDims once"):
        read_volume(path)


@pytest.mark.parametrize("spacing", ["0 1 1", "nan 1 1", "inf 1 1", "1e-30 1 1"])
def test_spacings_that_measure_nothing_are_refused(tmp_path, spacing):
    with pytest.raises(GeometryError):
        read_volume(write(tmp_path / "a.mha", ElementSpacing=spacing))


def test_what_is_encoded_is_read_by_itk(tmp_path):
    affine = np.array([[0.3, -0.4, 0, 5], [0.4, 0.3, 0, -6], [0, 0, -2.5, 7], [0, 0, 0, 1]])
    mask = np.random.default_rng(1).integers(0, 300, (5, 4, 3)).astype(np.uint16)
    (tmp_path / "a.mha").write_bytes(b"".join(encode_metaimage(mask, affine)))
    np.testing.assert_array_equal(agrees_with_itk(tmp_path / "a.mha").array, mask)
    np.testing.assert_allclose(itk_affine(sitk.ReadImage(str(tmp_path / "a.mha"))), affine, atol=1e-12)


def test_a_field_may_have_a_colon_for_its_equals_sign(tmp_path):
    path = write(tmp_path / "a.mha", Comment="at 10:30 = late")
    path.write_bytes(path.read_bytes().replace(b"DimSize =", b"DimSize:").replace(b"Offset =", b"Offset:"))
    np.testing.assert_array_equal(agrees_with_itk(path).array, VOXELS)


def test_a_header_with_several_lines_per_frame_is_read(tmp_path):
    frames = {f"Seq_Frame{index:04}_ProbeToTracker": "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1" for index in range(2000)}
    path = write(tmp_path / "a.mha", **frames)
    assert path.stat().st_size > 1 << 16
    np.testing.assert_array_equal(agrees_with_itk(path).array, VOXELS)


def test_a_header_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(text_header, "HEADER_BYTES", 1 << 17)
    (tmp_path / "a.mha").write_bytes(b"Comment = " + b"x" * (1 << 18))
    with pytest.raises(VolumeError, match="expected the end of the header within"):
        read_volume(tmp_path / "a.mha")


@pytest.mark.parametrize("unit, mm", [("um", 0.001), ("mm", 1), ("cm", 10), ("?", 1)])
def test_distances_in_other_units_become_millimetres(tmp_path, unit, mm):
    plain = read_volume(write(tmp_path / "a.mha")).affine
    volume = read_volume(write(tmp_path / "a.mha", DistanceUnits=unit))
    np.testing.assert_allclose(volume.affine, np.diag([mm, mm, mm, 1]) @ plain)
