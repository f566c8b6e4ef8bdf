"""The fast decoder accepts and refuses the same gzip streams as zlib, and returns the same bytes."""

import gzip
import io
import os
import subprocess
import sys
import zlib

import nibabel as nib
import numpy as np
import pytest
from isal import isal_zlib

from mcc_keras.errors import VolumeError
from mcc_keras.formats import streams
from mcc_keras.volumes import read_volume

DECODERS = zlib, isal_zlib


def mutants(data, *, count):
    rng = np.random.default_rng(5)
    for index in range(count):
        changed = bytearray(data)
        position = int(rng.integers(len(data)))
        match index % 6:
            case 0:
                changed[position] ^= 1 << int(rng.integers(8))
            case 1:
                del changed[position:]
            case 2:
                changed += rng.bytes(int(rng.integers(1, 20)))
            case 3:
                changed += bytes(int(rng.integers(30))) + data[: len(data) * int(rng.integers(2))]
            case 4:  # checksum and length
                changed[-int(rng.integers(1, 9))] ^= 1 << int(rng.integers(8))
            case 5:  # the header of ten bytes
                changed[int(rng.integers(10))] = int(rng.integers(256))
        yield bytes(changed)


def inflated(data, decoder, monkeypatch):
    monkeypatch.setattr(streams, "inflater", decoder)
    try:
        return b"".join(streams.inflate(io.BytesIO(data), 5000))
    except (zlib.error, EOFError):
        return None


def test_both_decoders_accept_and_refuse_the_same_streams(monkeypatch):
    voxels = np.random.default_rng(0).normal(0, 20, 60_000).astype(np.int16).tobytes()
    whole = gzip.compress(voxels, 6, mtime=0)
    accepted = 0
    for data in mutants(whole, count=600):
        one, other = (inflated(data, decoder, monkeypatch) for decoder in DECODERS)
        assert one == other
        accepted += one is not None
    assert 100 < accepted < 300


@pytest.mark.parametrize("flags", range(256))
def test_both_decoders_take_the_same_headers(monkeypatch, flags):
    head = bytes([31, 139, 8, flags, 0, 0, 0, 0, 0, 255])
    optional = [b"\2\0ab" if flags & 4 else b"", b"name\0" if flags & 8 else b"", b"note\0" if flags & 16 else b""]
    body, data = gzip.compress(b"voxels" * 99, mtime=0)[10:], head + b"".join(optional)
    checksum = (zlib.crc32(data) & 0xFFFF).to_bytes(2, "little") if flags & 2 else b""
    for stored in (checksum, bytes(byte ^ 4 for byte in checksum)):
        one, other = (inflated(data + stored + body, decoder, monkeypatch) for decoder in DECODERS)
        expected = flags < 32 and stored == checksum
        assert one == other == (b"voxels" * 99 if expected else None)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("position", [-1, -4, -5, -8])  # length, then checksum
def test_a_wrong_checksum_or_length_is_refused(monkeypatch, decoder, position):
    data = bytearray(gzip.compress(bytes(range(256)) * 50, mtime=0))
    data[position] ^= 1
    monkeypatch.setattr(streams, "inflater", decoder)
    with pytest.raises(zlib.error):
        list(streams.inflate(io.BytesIO(data), 1 << 20))


SIZE = 8 << 30
READ = (
    "import resource, sys; from mcc_keras.volumes import read_volume\n"
    "from mcc_keras.errors import VolumeError\n"
    "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
    "try: print(read_volume(sys.argv[1]).array.sum())\nexcept VolumeError as error: print(error)"
)


def read_in_little_memory(path):
    done = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, timeout=120)
    assert not done.stderr
    return done.stdout.strip()


def nifti(shape):
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.uint8)
    header.set_sform(np.eye(4), 1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    return header.binaryblock + bytes(4) + np.ones(shape, np.uint8).tobytes()


META = "NDims = 3\nDimSize = 5 4 3\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
NRRD = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 5 4 3\nencoding: %s\n\n"
ONES = np.ones(60, np.uint8).tobytes()


@pytest.mark.parametrize(
    "name, head, expected",
    [
        ("a.nii.gz", b"", "found 540 bytes that begin with"),
        ("a.nii.gz", gzip.compress(nifti((5, 4, 3))), "zeros after its end"),
        ("a.nii", nifti((5, 4, 3)), "60"),
        ("a.mha", ("CompressedData = True\n" + META).encode() + zlib.compress(ONES), "60"),
        ("a.mha", ("BinaryData = False\n" + META).encode() + b"1 " * 60, "other words"),
        ("a.nrrd", (NRRD % "gzip").encode() + gzip.compress(ONES), "zeros after its end"),
        ("a.nrrd", (NRRD % "text").encode() + b"1 " * 60, "other words"),
        ("a.nrrd", b"", "expected an NRRD header"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_of_eight_gibibytes_of_holes_takes_little_memory(tmp_path, name, head, expected):
    with open(tmp_path / name, "wb") as file:
        file.write(head)
        file.truncate(SIZE)
    assert expected in read_in_little_memory(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_a_mebibyte_that_becomes_a_gibibyte_of_voxels_is_refused(tmp_path, name):
    head = NRRD % "gzip" if name == "a.nrrd" else "CompressedData = True\n" + META
    (tmp_path / name).write_bytes(head.replace("5 4 3", "1024 1024 1024").encode() + bytes(1_050_000))
    with pytest.raises(VolumeError, match="expected at most 200 times the compressed 1050000 bytes, found 1073741824"):
        read_volume(tmp_path / name)


def test_a_volume_that_does_not_fit_the_memory_is_a_typed_error(tmp_path):
    header = nifti((1, 1, 1))
    header = header[:42] + np.array([1024, 1024, 1000], "<i2").tobytes() + header[48:352]
    with open(tmp_path / "a.nii", "wb") as file:
        file.write(header)
        file.truncate(352 + 1024 * 1024 * 1000)
    READ_SCALED = READ.replace("2 << 30", "1 << 30")
    done = subprocess.run([sys.executable, "-c", READ_SCALED, tmp_path / "a.nii"], capture_output=True, text=True)
    assert "expected a volume that fits the memory" in done.stdout


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.mha", "a.mhd", "a.nrrd"])
def test_a_pipe_is_refused_before_it_is_opened(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(VolumeError, match="expected a regular file, found a pipe or a device"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("pipe", ["a.hdr", "a.img", "a.raw"])
def test_a_pipe_in_the_place_of_one_of_two_files_is_refused(tmp_path, pipe):
    nib.Nifti1Pair(np.ones((5, 4, 3), np.int16), np.eye(4)).to_filename(tmp_path / "a.hdr")
    (tmp_path / "a.mhd").write_text(META.replace("LOCAL", "a.raw"))
    (tmp_path / pipe).unlink(missing_ok=True)
    os.mkfifo(tmp_path / pipe)
    with pytest.raises(VolumeError, match=f"{pipe}: expected a regular file, found a pipe"):
        read_volume(tmp_path / ("a.mhd" if pipe == "a.raw" else "a.hdr"))


def test_a_device_is_refused(tmp_path):
    (tmp_path / "a.nii").symlink_to("/dev/zero")
    with pytest.raises(VolumeError, match="found a pipe or a device"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("name", ["x" * 300 + ".nii", "x" * 300 + ".nrrd", "x" * 300, "a.nii/b.nii", "a.nii/b"])
def test_a_name_that_no_file_can_have_is_a_typed_error(tmp_path, name):
    (tmp_path / "a.nii").write_bytes(b"")
    with pytest.raises(VolumeError):
        read_volume(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_listed_is_a_typed_error(tmp_path):
    (tmp_path / "series").mkdir(mode=0)
    with pytest.raises(VolumeError, match="expected a readable file, found: Permission denied"):
        read_volume(tmp_path / "series")
