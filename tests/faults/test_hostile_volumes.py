"""Thousands of damaged files of every format give a volume or a typed error, within limits of memory and time.

The mutants are read in a process of their own; if a reader crashes, the index written last names the mutant.
`python tests/faults/test_hostile_volumes.py nrrd FOLDER 17 18` reads number 17 of NRRD again.
"""

import gzip
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from mcc_keras.errors import DataError, VolumeError
from mcc_keras.formats import dicom, dicom_slices, dicom_tags
from mcc_keras.volumes import read_volume

MUTANTS, SECONDS, MEMORY, MAX_VOXELS = 5_000, 20, 2 << 30, 1 << 20
VOXELS = np.random.default_rng(0).integers(0, 100, (5, 4, 3)).astype(np.int16)
FORMATS = ("nii", "nii.gz", "nii.gz stream", "hdr", "mha", "mha zlib", "mhd", "nrrd", "nrrd gzip", "dicom")
COMPRESSED = ("dicom JPEG", "dicom JPEG2000", "dicom JPEGLS")
NUMBERS = (b"-1", b"0", b"1e9", b"99999999999", b"3 3", b"nan nan nan", b"", b"y" * 5000, b"1 " * 400, b"10", b"yes")
META = b"NDims DimSize ElementSpacing ElementSize Offset Position TransformMatrix HeaderSize CompressedDataSize"
META += (
    b" ElementType ElementNumberOfChannels BinaryData CompressedData ElementDataFile Comment BinaryDataByteOrderMSB Foo"
)
NRRD = b"type:dimension:space:sizes:space directions:kinds:endian:encoding:space origin:spacings:line skip:byte skip"
NRRD += b":axis mins:data file:block size:labels:number"


def seeds(kind, folder):
    """Write small valid files and what lies beside them; return the ones to damage as a list of (name, bytes)."""
    folder, (name, *how) = Path(folder), kind.split()
    affine = np.diag([-0.5, 0.75, 3.0, 1.0])
    if name in ("nii", "nii.gz"):
        for number, image in enumerate((nib.Nifti1Image, nib.Nifti2Image, nib.Nifti1Image)):
            header = image.header_class(endianness=">" if number == 2 else "<")
            image(VOXELS, affine, header).to_filename(folder / f"{number}.nii")
        return [(f"mutant.{name}", (folder / f"{number}.nii").read_bytes()) for number in range(3)]
    if name == "hdr":
        for number, image in enumerate((nib.Nifti1Pair, nib.Nifti2Pair)):
            image(VOXELS, affine).to_filename(folder / f"{number}.hdr")
        (folder / "mutant.img").write_bytes((folder / "0.img").read_bytes())
        return [("mutant.hdr", (folder / f"{number}.hdr").read_bytes()) for number in range(2)]
    if name == "dicom":
        plane = sitk.GetImageFromArray(np.random.default_rng(1).integers(0, 900, (16, 16)).astype(np.int16))
        for tag, value in (("0008|0060", "MR"), ("0020|000e", "1.2.3"), ("0020|0032", "1\\2\\3")):
            plane.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(folder / "whole.dcm"))
        if how:
            writer.SetUseCompression(True)
            writer.SetCompressor(how[0])
        writer.Execute(plane)
        return [("mutant.dcm", (folder / "whole.dcm").read_bytes())]
    image = sitk.GetImageFromArray(VOXELS.T)
    image.SetSpacing((0.5, 0.75, 3.0))
    sitk.WriteImage(image, str(folder / f"whole.{name}"), useCompression=bool(how))
    return [(f"mutant.{name}", (folder / f"whole.{name}").read_bytes())]


def mutant(kind, data, index):
    """Return the bytes of mutant number `index`: changed, cut, doubled and swapped bytes, numbers, words and lines."""
    rng = random.Random(f"{kind} {index}")
    result, text = bytearray(data), kind.split()[0] in ("mha", "mhd", "nrrd")
    head = len(data) if kind == "mhd" or not text else data.rfind(b"\n", 0, 420)
    for _ in range(rng.choice((1, 1, 2, 6))):
        draw, at = rng.random(), rng.randrange(max(1, min(head, len(result))))
        if draw < 0.5:
            letters = b"0123456789 -=:\n./xA\xff\x00%e" if text else b"\x00\x01\x7f\x80\xff" + rng.randbytes(2)
            result[at : at + 1] = bytes([rng.choice(letters)])
        elif draw < 0.6:
            del result[at : at + rng.choice((1, 2, 8, 100))]
        elif draw < 0.7:
            result[at:at] = rng.choice((b"9", b"99999999", b" -1", b"1e30", rng.randbytes(1), result[at : at + 30]))
        elif draw < 0.9 and text:
            lines = bytes(result).split(b"\n")
            here, there = rng.randrange(1, min(len(lines), 14) + 1), rng.randrange(min(len(lines), 14))
            if draw < 0.8:
                name = rng.choice(NRRD.split(b":") if kind.startswith("nrrd") else META.split())
                lines.insert(here, name + (b": " if kind.startswith("nrrd") else b" = ") + rng.choice(NUMBERS))
            else:
                lines[here % len(lines)], lines[there] = lines[there], lines[here % len(lines)]
            result = bytearray(b"\n".join(lines))
        elif draw < 0.9:
            size = rng.choice((2, 4))
            result[at : at + size] = rng.choice((0, 1, (1 << 8 * size - 1) - 1, 1 << 8 * size - 1)).to_bytes(
                size, "little"
            )
        else:
            result[at : at + 1] = bytes([result[at] ^ 1 << rng.randrange(8)]) if at < len(result) else b""
    return bytes(result)


def packed(kind, data, index):
    """Return the bytes on disk of a mutant."""
    if kind == "nii.gz":
        return gzip.compress(mutant(kind, data, index), 1)
    return mutant(kind, gzip.compress(data, 6, mtime=0) if kind == "nii.gz stream" else data, index)


def read_mutants(kind, folder, first, stop):
    """Read the mutants from `first` up to `stop`; write the counts and the number of the next one to `answer.json`.

    It ends early once half of its memory is gone, since GDCM keeps what it has taken for a size that a file claims.
    """
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    folder = Path(folder)
    whole = seeds(kind, folder)
    before = set(os.listdir(folder)) | {whole[0][0], "answer.json", "progress"}
    counts, slowest, progress = {"read": 0, "refused": 0}, 0.0, os.open(folder / "progress", os.O_CREAT | os.O_RDWR)
    for index in range(first, stop):
        os.pwrite(progress, b"%8d" % index, 0)
        name, data = whole[index % len(whole)]
        (folder / name).write_bytes(packed(kind, data, index))
        signal.alarm(SECONDS)
        start = time.perf_counter()
        try:
            counts[read_one(kind, folder / name)] += 1
        except DataError:
            counts["refused"] += 1
        slowest = max(slowest, time.perf_counter() - start)
        if address_space() > MEMORY // 2:
            break
    assert set(os.listdir(folder)) <= before, os.listdir(folder)
    (folder / "answer.json").write_text(json.dumps({**counts, "slowest": slowest, "next": index + 1}))


def address_space():
    """Return the bytes of addresses that this process has, 0 where the system does not say."""
    path = Path("/proc/self/statm")
    return int(path.read_text().split()[0]) * resource.getpagesize() if path.exists() else 0


def read_one(kind, path):
    if kind.startswith("dicom"):
        assert dicom_tags.read_tags(path) is None or dicom.holds_dicom(path.parent)
        array, affine, _ = dicom_slices.decode(path.parent, [path], max_voxels=MAX_VOXELS, max_ratio=200)
    else:
        volume = read_volume(path, max_voxels=MAX_VOXELS, nonfinite="zero")
        array, affine = volume.array, volume.affine
        assert np.isfinite(affine).all()
    assert array.ndim == 3 and 0 < array.size <= MAX_VOXELS and array.dtype.kind in "iuf"
    return "read"


def run(kind, folder, *, first, stop):
    """Read mutants in a child; return its answer or None, the index written last, its return code and stderr."""
    command = [sys.executable, __file__, kind, folder, str(first), str(stop)]
    (folder / "answer.json").unlink(missing_ok=True)
    (folder / "progress").unlink(missing_ok=True)
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    answer, last = folder / "answer.json", int((folder / "progress").read_text() or 0)
    return (json.loads(answer.read_text()) if answer.exists() else None), last, done.returncode, done.stderr[-2000:]


@pytest.fixture
def quick_folder():
    """A folder in memory where the system has such a place."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        yield Path(folder)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_mutant_is_read_or_refused_and_nothing_else(quick_folder, kind):
    first = read = refused = 0
    mutants = MUTANTS // 5 if kind == "dicom" else MUTANTS  # GDCM takes memory by the gibibyte
    while first < mutants:
        answer, last, code, words = run(kind, quick_folder, first=first, stop=mutants)
        assert answer, f"mutant {last} of {kind} ended the reader with code {code}: {words}"
        assert answer["slowest"] < SECONDS
        first, read, refused = answer["next"], read + answer["read"], refused + answer["refused"]
    assert read + refused == mutants
    assert read > 50 and refused > 400


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_crash_of_the_native_decoder_is_a_typed_error(quick_folder, kind):
    """Native code decodes compressed DICOM slices; damaged ones may end its process, never that of the caller."""
    first, broken = 0, []
    while first < 150:
        answer, last, code, words = run(kind, quick_folder, first=first, stop=150)
        if answer:
            first = answer["next"]
            continue
        assert code < 0, f"mutant {last} of {kind}: {words}"
        broken.append(last)
        first = last + 1
    for index in broken[:2]:
        (quick_folder / "one").mkdir(exist_ok=True)
        (quick_folder / "one" / "mutant.dcm").write_bytes(
            packed(kind, (quick_folder / "whole.dcm").read_bytes(), index)
        )
        with pytest.raises(VolumeError):
            read_volume(quick_folder / "one")


# ---- bombs --------------------------------------------------------------------------------------------------------

ZEROS = 64 << 20


def gzip_bomb(path, head, *, inside=b""):
    """Write a gzip file of 2 MB that inflates to 2 GiB, its members 64 MiB of zeros each."""
    path.write_bytes(head + (gzip.compress(inside) if inside else b"") + gzip.compress(bytes(ZEROS), 9) * 32)
    return path


def zlib_bomb(path, head):
    packer = zlib.compressobj(9)
    first = packer.compress(bytes(ZEROS)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(ZEROS)) + packer.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(head + first + again * 31)
    return path


def bomb(folder, name, shape):
    sizes = " ".join(map(str, shape))
    if name == "a.nii.gz":
        header = nib.Nifti1Header()
        header.set_data_shape(shape)
        header.set_data_dtype(np.int16)
        header["vox_offset"], header["magic"] = 352, b"n+1"
        return gzip_bomb(folder / name, b"", inside=header.binaryblock + bytes(4))
    if name == "a.nrrd":
        text = f"NRRD0004\ntype: short\ndimension: 3\nsizes: {sizes}\nencoding: gzip\nendian: little\n\n"
        return gzip_bomb(folder / name, text.encode())
    text = f"ObjectType = Image\nNDims = 3\nCompressedData = True\nDimSize = {sizes}\nElementType = MET_SHORT\n"
    return zlib_bomb(folder / name, (text + "ElementDataFile = LOCAL\n").encode())


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
@pytest.mark.parametrize("shape", [(1024, 1024, 1024), (2, 2, 2), (32767, 32767, 32767)])
def test_two_megabytes_that_inflate_to_two_gibibytes_are_refused_in_little_memory(tmp_path, name, shape):
    path = bomb(tmp_path, name, shape)
    assert path.stat().st_size < 3 << 20
    code = (
        "import resource, sys; from mcc_keras.volumes import read_volume\n"
        "from mcc_keras.errors import VolumeError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "try: read_volume(sys.argv[1])\nexcept VolumeError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=200)
    assert done.stdout.startswith(str(path)), done.stderr
    assert any(
        words in done.stdout
        for words in ("times the compressed", "found more than", "at most", "bytes of voxels, found")
    )


# ---- paths --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mhd", "a.nrrd", "series"])
def test_spaces_and_letters_of_any_alphabet_work_without_a_locale(tmp_path, name):
    folder = tmp_path / "mes données ☃"
    folder.mkdir()
    image = sitk.GetImageFromArray(VOXELS[:, :, :1].T)
    if name == "series":
        (folder / name).mkdir()
        plane = sitk.GetImageFromArray(VOXELS[:, :, 0].T)
        plane.SetMetaData("0008|0060", "MR")
        plane.SetMetaData("0020|0032", "1\\2\\3")
        sitk.WriteImage(plane, str(folder / name / "Schädel 1.dcm"))
    elif name == "a.mhd":
        sitk.WriteImage(image, str(folder / "Schädel ☃ 1.mhd"))
        name = "Schädel ☃ 1.mhd"
    else:
        sitk.WriteImage(image, str(folder / name))
    code = (
        "import sys; from mcc_keras.volumes import read_volume, write_mask\n"
        "volume = read_volume(sys.argv[1])\n"
        "for end in ('.nii.gz', '.nrrd', '.mha', '.mhd'):\n"
        "    path = write_mask(volume.array, sys.argv[2] + end, like=volume)\n"
        "    assert (read_volume(path).array == volume.array).all()"
    )
    clean = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", code, folder / name, folder / "Möhre 1"]
    subprocess.run(command, check=True, timeout=120, env=clean)
    assert (folder / "Möhre 1.mhd").exists() and (folder / "Möhre 1.zraw").exists()


if __name__ == "__main__":
    read_mutants(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
