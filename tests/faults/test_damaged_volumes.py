"""Truncated, damaged and oversized files: refused with a typed error before memory is allocated for them."""

import gzip
import io
import random
import resource
import subprocess
import sys
import zlib

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nifti_files import AXES, patch, save, voxels

from mcc_keras.errors import VolumeError
from mcc_keras.formats import streams
from mcc_keras.volumes import read_volume, write_volume


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
    mutants += [gzip.compress(plain[:300]) + gzip.compress(plain[300:]), gzip.compress(plain + b"tail"), b""]
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
    assert b"".join(streams.inflate(io.BytesIO(whole), 1)) == b"abcdef"
    wrong = gzip.compress(b"abc")[:-8] + bytes(8) + gzip.compress(b"def")
    with pytest.raises(zlib.error, match="(?i)incorrect (data check|checksum)"):
        list(streams.inflate(io.BytesIO(wrong), 1 << 10))


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
    assert "voxels" in done.stdout or "promises" in done.stdout or "truncated" in done.stdout, done.stderr


def test_a_bomb_is_refused_by_its_ratio_and_read_when_trusted(tmp_path, monkeypatch):
    path = bomb(tmp_path / "a.nii.gz", (256, 256, 256), zeros=16 << 20)
    assert read_volume(path).array.nbytes == 16 << 20
    monkeypatch.setattr(streams, "RATIO_FREE_VOXELS", 1 << 20)
    with pytest.raises(VolumeError, match="at most 200 times the compressed"):
        read_volume(path)
    assert read_volume(path, max_ratio=1100).shape == (256, 256, 256)


def test_a_stream_that_goes_on_and_on_after_the_voxels_is_refused(tmp_path, monkeypatch):
    path = bomb(tmp_path / "a.nii.gz", (2, 2, 2), zeros=8 << 20)
    monkeypatch.setattr(streams, "_TAIL_BYTES", 1 << 20)
    with pytest.raises(VolumeError, match="found more than"):
        read_volume(path)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mha", "a.nrrd"])
def test_the_limit_of_voxels_is_an_option(tmp_path, name):
    sitk.WriteImage(sitk.GetImageFromArray(voxels()), str(tmp_path / name))
    assert read_volume(tmp_path / name, max_voxels=60).shape == (3, 4, 5)
    with pytest.raises(VolumeError, match="expected at most 59 voxels"):
        read_volume(tmp_path / name, max_voxels=59)


@pytest.mark.parametrize("code", [128, 32, 1536, 1, 0, 2304])
def test_colors_and_complex_numbers_are_refused(tmp_path, code):
    patch(save(tmp_path / "a.nii", voxels()), datatype=code)
    with pytest.raises(VolumeError, match=f"found data type {code}"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("bits", [8, 15, 32])
def test_a_header_whose_bits_are_not_those_of_its_type_is_refused(tmp_path, bits):
    patch(save(tmp_path / "a.nii", voxels()), bitpix=bits)
    with pytest.raises(VolumeError, match=f"expected 16 bits per voxel for int16, found {bits}"):
        read_volume(tmp_path / "a.nii")


def test_analyze_files_are_refused_since_they_do_not_say_left_from_right(tmp_path):
    nib.AnalyzeImage(voxels(), np.eye(4)).to_filename(tmp_path / "a.img")
    with pytest.raises(VolumeError, match="expected the NIfTI magic"):
        read_volume(tmp_path / "a.hdr")
