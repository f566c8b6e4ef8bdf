"""What MetaImage and NRRD share: a header of text lines, and the voxels behind it or in a file beside it.

Both are read here, with NumPy, since the native readers follow a data file to wherever it is, take memory for any size,
accept a compressed stream whose checksum is wrong, and break down on headers that a flipped byte has changed.
"""

import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcc_keras.errors import VolumeError
from mcc_keras.formats import nifti

HEADER_BYTES = 1 << 16
WHOLE = "Copy or download the file again."
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Stored:
    """Where the voxels are and what they are.

    Args:
        shape: Sizes in the order of the file, the axis that runs fastest first.
        dtype: Of a voxel, in the byte order of the file.
        packing: `"raw"`, `"zlib"`, `"gzip"` or `"text"`.
        data: The file that holds them.
        offset: The byte of it where they begin; -1 where they are its last bytes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    packing: str
    data: Path
    offset: int


def read_head(path):
    """Return the first bytes of a file, or say that it cannot be read."""
    if not path.is_file():
        raise VolumeError(path, "expected a file, found none", "Check the path.")
    try:
        with open(path, "rb") as file:
            return file.read(HEADER_BYTES)
    except OSError as error:
        raise VolumeError(path, f"expected a readable file, found: {error.strerror}", WHOLE) from None


def read_voxels(stored, path, *, max_voxels, max_ratio):
    """Return the voxels of a `Stored` in the machine's byte order; nothing is allocated that the file cannot hold."""
    nifti.refuse_huge(path, stored.shape, max_voxels)
    if stored.offset < 0 and stored.packing != "raw":
        raise VolumeError(path, f"expected to be told where the {stored.packing} voxels begin, found that not", WHOLE)
    count = math.prod(stored.shape)
    try:
        if stored.packing == "raw":
            array = _raw(stored, count)
        elif stored.packing == "text":
            array = _text(stored, count)
        else:
            array = _inflated(stored, count * stored.dtype.itemsize, max_ratio).view(stored.dtype)
    except OSError as error:
        raise VolumeError(stored.data, f"expected a readable file, found: {error.strerror}", WHOLE) from None
    array = array.reshape(stored.shape, order="F")
    return array.astype(stored.dtype.newbyteorder("="), copy=False)


def add_field(fields, name, value, *, path):
    """Keep a field of a header; refuse one that is there twice, since readers differ in which of them they believe."""
    if name in fields:
        raise VolumeError(path, f"expected {name} once, found it twice", WHOLE)
    fields[name] = value


def whole_numbers(text, name, path):
    """Return the whole numbers of a field."""
    try:
        numbers = tuple(int(number) for number in text.split()[:16])
    except ValueError:
        numbers = ()
    if not numbers:
        raise VolumeError(path, f"expected whole numbers in {name}, found {text[:60]!r}", WHOLE)
    return numbers


def real_numbers(text, name, *, count, path):
    """Return `count` real numbers of a field as an array; whether they are finite is asked of the affine."""
    try:
        numbers = np.array([float(number) for number in text.split()[: count + 1]])
    except ValueError:
        numbers = np.empty(0)
    if numbers.size != count:
        raise VolumeError(path, f"expected {count} numbers in {name}, found {text[:60]!r}", WHOLE)
    return numbers


def affine_of_axes(vectors, origin, *, steps, to_ras=(-1, -1, 1)):
    """Return the affine to RAS+ of the axes' vectors, one a row, the steps along them, and the first voxel's place."""
    affine, rank = np.eye(4), len(vectors)
    with np.errstate(all="ignore"):  # what is not finite is refused later, with its numbers
        affine[:rank, :rank], affine[: len(origin), 3] = np.transpose(vectors) * steps, origin
        affine[:3] *= np.array(to_ras)[:, None]
    return affine


def data_file(name, path):
    """Return the file with the voxels that a header names; it must lie beside or below the header."""
    if name.upper().startswith("LIST") or "%" in name or not name or min(name) < " ":
        raise VolumeError(path, f"expected one data file, found {name[:200]!r}", "Save the volume in one file.")
    data = path.parent / name
    if "://" in name or not nifti.inside(data, path.parent):
        raise VolumeError(path, f"expected a data file beside the header, found {name[:200]!r}", "Put it there.")
    try:
        found = data.is_file()
    except OSError:  # a name too long for the file system
        found = False
    if not found:
        raise VolumeError(path, f"expected the data file {name[:200]!r} beside it, found none", WHOLE)
    return data


def _raw(stored, count):
    expected, size = count * stored.dtype.itemsize, stored.data.stat().st_size
    offset = size - expected if stored.offset < 0 else stored.offset
    if offset < 0 or size - offset < expected:
        raise VolumeError(stored.data, f"expected {expected} bytes of voxels, found fewer: the file is cut", WHOLE)
    with open(stored.data, "rb") as file:
        file.seek(offset)
        return np.fromfile(file, stored.dtype, count)


def _text(stored, count):
    # A number needs a digit and a space, so that a file cannot promise more numbers than it has bytes for.
    if stored.data.stat().st_size - stored.offset < 2 * count - 1:
        raise VolumeError(stored.data, f"expected {count} numbers, found fewer: the file is cut", WHOLE)
    number = float if stored.dtype.kind == "f" else int
    try:
        words = stored.data.read_bytes()[stored.offset :].split()
        array = np.array([number(word) for word in words], stored.dtype)
    except (ValueError, OverflowError):
        raise VolumeError(stored.data, f"expected numbers of {stored.dtype.name}, found other words", WHOLE) from None
    if array.size != count:
        raise VolumeError(stored.data, f"expected {count} numbers, found {array.size}", WHOLE)
    return array


def _inflated(stored, expected, max_ratio):
    stream = stored.data.read_bytes()[stored.offset :]
    nifti.refuse_ratio(stored.data, expected, len(stream), max_ratio)
    buffer, length = np.empty(expected, np.uint8), 0
    try:
        for chunk in nifti.inflate(stream, _CHUNK) if stored.packing == "gzip" else _unzlib(stream):
            kept = max(0, min(len(chunk), expected - length))
            buffer[length : length + kept] = np.frombuffer(chunk, np.uint8, kept)
            length += len(chunk)
            if length > expected + _CHUNK:
                break
    except (zlib.error, EOFError) as error:
        raise VolumeError(stored.data, f"expected a whole compressed stream, found: {error}", WHOLE) from None
    if length != expected:
        raise VolumeError(stored.data, f"expected {expected} bytes of voxels, found {length}", WHOLE)
    return buffer


def _unzlib(stream):
    decoder, view, position = zlib.decompressobj(), memoryview(stream), 0
    while not decoder.eof:
        piece = decoder.unconsumed_tail
        if not piece:
            piece = view[position : position + (1 << 16)]
            position += len(piece)
        chunk = decoder.decompress(piece, _CHUNK)
        if chunk:
            yield chunk
        elif not len(piece) and not decoder.eof:
            raise EOFError("it ends too early")
