import random

import numpy as np
import pytest
import SimpleITK as sitk

from mcc_keras.errors import VolumeError
from mcc_keras.formats import streams
from mcc_keras.volumes import read_volume

VOXELS = np.random.default_rng(0).integers(0, 100, (12, 11, 10)).astype(np.int16)
NAMES = ("a.mha", "a.mhd", "a.nrrd")


def save(path, array=VOXELS, *, compress=False):
    sitk.WriteImage(sitk.GetImageFromArray(array.T), str(path), useCompression=compress)
    return next(iter(path.parent.glob("*raw")), path)


def reads(path):
    try:
        read_volume(path)
    except VolumeError:
        return False
    return True


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64"]
)
def test_every_kind_of_voxel_is_read(tmp_path, name, compress, dtype):
    save(tmp_path / name, VOXELS.astype(dtype), compress=compress)
    array = read_volume(tmp_path / name).array
    assert array.dtype == dtype
    np.testing.assert_array_equal(array, VOXELS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("compress", [False, True])
def test_a_file_that_is_cut_anywhere_is_refused(tmp_path, name, compress):
    body = save(tmp_path / name, compress=compress)
    data = body.read_bytes()
    for length in [*range(0, len(data), max(1, len(data) // 60)), *range(len(data) - 12, len(data))]:
        body.write_bytes(data[:length])
        assert not reads(tmp_path / name), f"cut after {length} of {len(data)} bytes"
    body.write_bytes(data)
    np.testing.assert_array_equal(read_volume(tmp_path / name).array, VOXELS)


@pytest.mark.parametrize("name", NAMES)
def test_a_flipped_bit_in_a_compressed_stream_never_changes_a_voxel_unseen(tmp_path, name):
    body = save(tmp_path / name, compress=True)
    data, random_ = body.read_bytes(), random.Random(3)
    for _ in range(80):
        at = random_.randrange(len(data) - 500, len(data))
        body.write_bytes(data[:at] + bytes([data[at] ^ 1 << random_.randrange(8)]) + data[at + 1 :])
        assert not reads(tmp_path / name), f"bit flipped in byte {at} of {len(data)}"


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../outside.raw", "LIST", "a%03d.raw 1 3 1", "gs://b/a.raw", "no.raw"]
)
@pytest.mark.parametrize("name", ["a.mhd", "a.nrrd"])
def test_a_header_that_points_elsewhere_is_refused(tmp_path, name, target):
    (tmp_path / "outside.raw").write_bytes(bytes(60))
    (tmp_path / "in").mkdir()
    text = f"ObjectType = Image\nNDims = 3\nDimSize = 5 4 3\nElementType = MET_UCHAR\nElementDataFile = {target}\n"
    if name == "a.nrrd":
        text = f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 5 4 3\nencoding: raw\ndata file: {target}\n"
    (tmp_path / "in" / name).write_text(text)
    with pytest.raises(VolumeError, match="data file"):
        read_volume(tmp_path / "in" / name)


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "outside.raw").write_bytes(bytes(60))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.raw").symlink_to(tmp_path / "outside.raw")
    text = "ObjectType = Image\nNDims = 3\nDimSize = 5 4 3\nElementType = MET_UCHAR\nElementDataFile = a.raw\n"
    (tmp_path / "in" / "a.mhd").write_text(text)
    with pytest.raises(VolumeError, match="beside the header"):
        read_volume(tmp_path / "in" / "a.mhd")


@pytest.mark.parametrize("sizes", ["32767 32767 32767", "0 4 5", "-1 4 5", "a b c", "", "999999999999999999999 1 1"])
@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_sizes_that_promise_too_much_or_nothing_are_refused(tmp_path, name, sizes):
    text = f"ObjectType = Image\nNDims = 3\nDimSize = {sizes}\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    if name == "a.nrrd":
        text = f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: {sizes}\nencoding: raw\n\n"
    (tmp_path / name).write_text(text)
    with pytest.raises(VolumeError):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("name", NAMES)
def test_a_bomb_is_refused_by_its_ratio(tmp_path, name, monkeypatch):
    save(tmp_path / name, np.zeros((128, 128, 256), np.uint8), compress=True)
    assert read_volume(tmp_path / name).array.shape == (128, 128, 256)
    monkeypatch.setattr(streams, "RATIO_FREE_VOXELS", 1 << 20)
    with pytest.raises(VolumeError, match="at most 200 times the compressed"):
        read_volume(tmp_path / name)
