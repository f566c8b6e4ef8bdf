"""Common code of MetaImage and NRRD: a header of text lines, and the voxels after it or in a file beside it.

Both are read here, with NumPy, because the native readers follow a data file wherever it is, allocate memory for any
size, accept a compressed stream whose checksum is wrong, and crash on damaged headers.
"""

import math
import os
import re
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcc_keras.errors import VolumeError
from mcc_keras.formats import streams
from mcc_keras.formats.streams import WHOLE

HEADER_BYTES = 16 << 20
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_FIRST_BYTES = 1 << 16
_CHUNK = 1 << 20
_LONGEST_NUMBER = 400
_MM = {"m": 1e3, "cm": 10.0, "mm": 1.0, "um": 1e-3, "nm": 1e-6}
_UNITS = {"": "mm", "?": "mm", "???": "mm", "µm": "um", "μm": "um", "micron": "um", "microns": "um"}
_UNITS |= {f"{long}{end}": short for long, short in (("meter", "m"), ("metre", "m")) for end in ("", "s")}
_UNITS |= {
    f"{prefix}{long}{end}": short
    for prefix, short in (("centi", "cm"), ("milli", "mm"), ("micro", "um"), ("nano", "nm"))
    for long in ("meter", "metre")
    for end in ("", "s")
}


@dataclass(frozen=True)
class Stored:
    """Location and encoding of the voxels.

    Args:
        shape: Sizes in the order of the file, the fastest axis first.
        dtype: Type of a voxel, in the byte order of the file.
        packing: `"raw"`, `"zlib"`, `"gzip"` or `"text"`.
        data: The file that holds them.
        offset: Byte of that file where they begin; -1 where they are its last bytes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    packing: str
    data: Path
    offset: int


def read_header(path, parse):
    """Return `parse(head, whole)` for the first bytes of a file; it gives None while the header goes on behind them.

    `whole` says that `head` is the whole file. Headers of up to 16 MiB are read: tracked ultrasound has several lines
    per frame, a segmentation several per structure.
    """
    size = streams.file_size(path)
    try:
        with open(path, "rb") as file:
            head = file.read(_FIRST_BYTES)
            found = parse(head, len(head) >= size)
            if found is None and len(head) < size:
                head += file.read(HEADER_BYTES - _FIRST_BYTES)
                found = parse(head, len(head) >= size)
    except OSError as error:
        raise streams.unreadable(path, error) from None
    if found is None:
        problem = f"expected the end of the header within {HEADER_BYTES >> 20} MiB, found none"
        raise VolumeError(path, problem, WHOLE)
    return found


def read_voxels(stored, path, *, max_voxels, max_ratio):
    """Return the voxels of a `Stored` in the machine's byte order; nothing is allocated that the file cannot hold."""
    streams.refuse_huge(path, stored.shape, max_voxels)
    if stored.offset < 0 and stored.packing != "raw":
        problem = f"expected the position of the {stored.packing} voxels, found -1, which only raw voxels can have"
        raise VolumeError(path, problem, WHOLE)
    count = math.prod(stored.shape)
    try:
        if stored.packing == "raw":
            array = _raw(stored, count)
        elif stored.packing == "text":
            array = _text(stored, count)
        else:
            array = _inflated(stored, count, max_ratio)
    except OSError as error:
        raise streams.unreadable(stored.data, error) from None
    array = array.reshape(stored.shape, order="F")
    return array.astype(stored.dtype.newbyteorder("="), copy=False)


def add_field(fields, name, value, *, path):
    """Add a field of a header; refuse one that occurs twice, since readers differ in which of the two they take."""
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
    """Return `count` real numbers of a field as an array; the affine made of them is checked to be finite."""
    try:
        numbers = np.array([float(number) for number in text.split()[: count + 1]])
    except ValueError:
        numbers = np.empty(0)
    if numbers.size != count:
        raise VolumeError(path, f"expected {count} numbers in {name}, found {text[:60]!r}", WHOLE)
    return numbers


def mm_per_unit(name, path):
    """Return the millimetres in a unit of length; an unknown one counts as millimetres, with a warning.

    >>> mm_per_unit("um", "a.nrrd"), mm_per_unit("Centimeters", "a.nrrd"), mm_per_unit("", "a.nrrd")
    (0.001, 10.0, 1.0)
    """
    word = name.strip().lower()
    unit = _UNITS.get(word, word)
    if unit not in _MM:
        text = f"{path}: expected a unit of length (m, cm, mm, um, nm), found {name[:60]!r}; it is read as millimetres."
        warnings.warn(text, stacklevel=2)
    return _MM.get(unit, 1.0)


def affine_of_axes(vectors, origin, *, steps, to_ras=(-1, -1, 1)):
    """Return the affine to RAS+ of axes given by their vectors, one per row, their steps and their origin."""
    affine, rank = np.eye(4), len(vectors)
    with np.errstate(all="ignore"):  # refuse_bad_affine shows the numbers
        affine[:rank, :rank], affine[: len(origin), 3] = np.transpose(vectors) * steps, origin
        affine[:3] *= np.array(to_ras)[:, None]
    return affine


def is_plain_name(name):
    """Whether every reader takes the name in a header as that of one data file: MetaIO has lists, patterns and LOCAL.

    >>> is_plain_name("a.zraw"), is_plain_name("LIST1.zraw"), is_plain_name("100%.zraw")
    (True, False, False)
    """
    printable = bool(name) and min(name) >= " " and name == name.strip()
    return printable and not name.startswith("LIST") and "%" not in name and name.upper() != "LOCAL"


def data_file(name, path):
    """Return the file with the voxels that a header names; it must lie beside or below the header."""
    if not name or min(name) < " " or re.match(r"LIST(\s|$)", name) or re.search(r"%\d*[diu]", name):
        raise VolumeError(path, f"expected one data file, found {name[:200]!r}", "Save the volume in one file.")
    data = path.parent / name
    if "://" in name or not streams.inside(data, path.parent):
        raise VolumeError(path, f"expected a data file beside the header, found {name[:200]!r}", "Put it there.")
    if not os.path.exists(data):
        raise VolumeError(path, f"expected the data file {name[:200]!r} beside it, found none", WHOLE)
    streams.file_size(data)
    return data


def _raw(stored, count):
    expected, size = count * stored.dtype.itemsize, stored.data.stat().st_size
    offset = size - expected if stored.offset < 0 else stored.offset
    if offset < 0 or size - offset < expected:
        raise VolumeError(
            stored.data, f"expected {expected} bytes of voxels, found fewer: the file is truncated", WHOLE
        )
    with open(stored.data, "rb") as file:
        file.seek(offset)
        return np.fromfile(file, stored.dtype, count)


def _text(stored, count):
    # A number needs a digit and a space, so that a file cannot promise more numbers than it has bytes for.
    if stored.data.stat().st_size - stored.offset < 2 * count - 1:
        raise VolumeError(stored.data, f"expected {count} numbers, found fewer: the file is truncated", WHOLE)
    number = float if stored.dtype.kind == "f" else int
    array, found = np.empty(count, stored.dtype), 0
    try:
        for words in _words(stored):
            if found + len(words) <= count:
                array[found : found + len(words)] = np.array([number(word) for word in words], stored.dtype)
            found += len(words)
    except (ValueError, OverflowError):
        raise VolumeError(stored.data, f"expected numbers of {stored.dtype.name}, found other words", WHOLE) from None
    if found != count:
        raise VolumeError(stored.data, f"expected {count} numbers, found {found}", WHOLE)
    return array


def _words(stored):
    rest = b""
    with open(stored.data, "rb") as file:
        file.seek(stored.offset)
        while piece := file.read(_CHUNK):
            words = (rest + piece).split()
            rest = b"" if piece[-1:].isspace() else words.pop()
            if len(rest) > _LONGEST_NUMBER:
                raise ValueError
            yield words
    yield [rest] if rest else []


def _inflated(stored, count, max_ratio):
    expected, length = count * stored.dtype.itemsize, 0
    compressed = stored.data.stat().st_size - stored.offset
    streams.refuse_ratio(stored.data, expected, compressed, voxels=count, max_ratio=max_ratio)
    buffer = np.empty(expected, np.uint8)
    inflate = streams.inflate if stored.packing == "gzip" else streams.inflate_zlib
    try:
        with open(stored.data, "rb") as file:
            file.seek(stored.offset)
            for chunk in inflate(file, _CHUNK):
                kept = max(0, min(len(chunk), expected - length))
                buffer[length : length + kept] = np.frombuffer(chunk, np.uint8, kept)
                length += len(chunk)
                if length > expected + _CHUNK:
                    break
    except (zlib.error, EOFError) as error:
        raise VolumeError(stored.data, f"expected a whole compressed stream, found: {error}", WHOLE) from None
    if length != expected:
        raise VolumeError(stored.data, f"expected {expected} bytes of voxels, found {length}", WHOLE)
    return buffer.view(stored.dtype)
