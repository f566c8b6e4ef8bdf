"""NIfTI files as bytes: what a stream holds, whether it is whole, and how one is written.

A header is parsed by nibabel, but never believed: sizes are compared with what the file can hold before anything is
allocated, and a compressed stream is read to its end, so that zlib compares its checksum and length.
"""

import gzip
import math
import os
import zlib
from pathlib import Path

import lazy_loader as lazy
import numpy as np

from mcc_keras.errors import VolumeError

try:
    from isal import isal_zlib as inflater  # the same checks as zlib in less than half the time
except ImportError:  # no wheel for this machine
    inflater = zlib

nib = lazy.load("nibabel")

_HEADER_BYTES = {348: "Nifti1Header", 540: "Nifti2Header"}
# The mark that tells a NIfTI file, where it stands, and what it is in a single file; a pair has "i" for "+".
_MARKS = {"Nifti1Header": (344, b"n+1\0"), "Nifti2Header": (4, b"n+2\0\r\n\x1a\n")}
# Codes of the NIfTI standard: integers of 8 to 64 bits, float32 and float64. Complex and colour voxels are refused.
_DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_PIECE, _CHUNK = 1 << 14, 1 << 20
_DEFLATE_LIMIT = 1032  # deflate cannot shrink further, so a header that promises more is false
_RATIO_FREE_BYTES = 1 << 30  # empty masks shrink a thousandfold: the ratio is asked for above a gibibyte only
_UNKNOWN_FLAGS = 0b11100000  # bits of a gzip header that the standard (RFC 1952) keeps free
_WHOLE = "Copy or download the file again."


def read_nifti(path, *, max_voxels, max_ratio):
    """Return the voxels (any rank, stored dtype, unscaled) and the header of a `.nii`, `.nii.gz` or `.hdr`/`.img`."""
    head_path, voxel_path = _parts(path)
    partner = voxel_path if path == head_path else head_path
    if partner != path and not inside(partner, path.parent):
        raise VolumeError(
            partner, "expected a file beside its other half, found one that leads elsewhere", "Put it there."
        )
    stream = _open(voxel_path)
    head_stream = stream if head_path == voxel_path else _open(head_path)
    header = parse_header(head_stream.head(540), head_path, single=head_path == voxel_path)
    shape, dtype = stored_shape(header, path), stored_dtype(header, path)
    voxels = math.prod(shape)
    refuse_huge(path, shape, max_voxels)
    offset = _offset(header, path, single=head_path == voxel_path)
    stream.refuse_ratio(offset + voxels * dtype.itemsize, max_ratio)
    if head_stream is not stream:
        head_stream.voxels(0, np.dtype("u1"), min(540, head_stream.size))
    array = stream.voxels(offset, dtype, voxels).reshape(shape, order="F")
    return array.astype(dtype.newbyteorder("="), copy=False), header


def inside(path, folder):
    """Whether a path lies in a folder or below it after following links.

    >>> inside("scans/a.raw", "scans"), inside("scans/../a.raw", "scans")
    (True, False)
    """
    root = os.path.realpath(folder)
    return os.path.commonpath([root, os.path.realpath(path)]) == root


def refuse_huge(path, shape, max_voxels):
    """Refuse a shape that is empty or of more than `max_voxels` voxels, before anything is allocated."""
    if not shape or min(shape) < 1:
        raise VolumeError(path, f"expected at least one voxel along each axis, found shape {tuple(shape)}", _WHOLE)
    if math.prod(shape) > max_voxels:
        raise VolumeError(
            path,
            f"expected at most {max_voxels} voxels, found shape {tuple(shape)}, which is {math.prod(shape)}",
            "If the file is to be trusted, read it with a larger max_voxels.",
        )


def refuse_ratio(path, count, compressed, max_ratio):
    """Refuse compressed bytes that cannot hold what is promised, or that would grow out of all proportion."""
    if count > _DEFLATE_LIMIT * compressed:
        raise VolumeError(
            path, f"the header promises {count} bytes, which {compressed} compressed bytes cannot hold", _WHOLE
        )
    if count > max(max_ratio * compressed, _RATIO_FREE_BYTES):
        raise VolumeError(
            path,
            f"expected at most {max_ratio} times the compressed {compressed} bytes, found {count}",
            "If the file is to be trusted, read it with a larger max_ratio.",
        )


def parse_header(head, path, *, single):
    """Return the nibabel header of the first bytes of a file, or say what is wrong with them."""
    endianness, kind = _kind(head, path)
    size = next(size for size, name in _HEADER_BYTES.items() if name == kind)
    start, expected = _MARKS[kind]
    expected = expected if single else expected.replace(b"+", b"i")
    mark = bytes(head[start : start + len(expected)])
    if mark != expected:
        raise VolumeError(
            path, f"expected the NIfTI mark {expected!r}, found {mark!r}", "Save the scan as NIfTI, NRRD or MetaImage."
        )
    return getattr(nib, kind)(bytes(head[:size]), endianness=endianness, check=False)


def stored_shape(header, path):
    """Return the shape that a header promises, as Python integers."""
    rank = int(header["dim"][0])
    if not 1 <= rank <= 7:
        raise VolumeError(path, f"expected 1 to 7 dimensions, found {rank}", _WHOLE)
    return tuple(int(size) for size in header["dim"][1 : rank + 1])


def stored_dtype(header, path):
    """Return the dtype that a header promises, in the file's byte order."""
    code, bits = int(header["datatype"]), int(header["bitpix"])
    if code not in _DTYPES:
        raise VolumeError(
            path, f"expected integer or real voxels, found data type {code}", "Save the scan with one number a voxel."
        )
    dtype = np.dtype(_DTYPES[code]).newbyteorder(header.endianness)
    if dtype.itemsize * 8 != bits:
        raise VolumeError(path, f"expected {dtype.itemsize * 8} bits a voxel for {dtype}, found {bits}", _WHOLE)
    return dtype


def scaling(header, path):
    """Return (slope, intercept) of a header, or None where the voxels are stored as they are.

    By the standard a slope of 0 means that there is no scaling; writers leave NaN for the same.
    """
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or math.isnan(slope) or (slope, intercept) == (1, 0):
        return None
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise VolumeError(path, f"expected finite scaling, found scl_slope={slope} and scl_inter={intercept}", _WHOLE)
    return slope, intercept


def encode_nifti(array, header, *, level):
    """Return the bytes of a single NIfTI file; compressed (with no date in them) where `level` is not 0."""
    header = header.copy()
    header.set_data_shape(array.shape)
    header.set_data_dtype(array.dtype)
    header.set_slope_inter(1, 0)
    header["vox_offset"] = 352 if int(header["sizeof_hdr"]) == 348 else 544
    data = header.binaryblock + bytes(4) + array.astype(header.get_data_dtype(), copy=False).tobytes(order="F")
    return gzip.compress(data, compresslevel=level, mtime=0) if level else data


def _parts(path):
    name = path.name.lower()
    for ours, other in ((".hdr", ".img"), (".img", ".hdr")):
        for zipped in ("", ".gz"):
            if name.endswith(ours + zipped):
                partner = path.with_name(path.name[: -len(ours + zipped)] + other + zipped)
                return (path, partner) if ours == ".hdr" else (partner, path)
    return path, path


def _open(path):
    try:
        return _Gzip(path) if path.name.lower().endswith(".gz") else _Plain(path)
    except FileNotFoundError:
        raise VolumeError(path, "expected a file, found none", "Check the path.") from None
    except OSError as error:
        raise VolumeError(path, f"expected a readable file, found: {error.strerror}", "Check its rights.") from None


def _kind(head, path):
    if len(head) >= 4:
        for endianness, order in (("<", "little"), (">", "big")):
            size = int.from_bytes(head[:4], order)
            if size in _HEADER_BYTES and len(head) >= size:
                return endianness, _HEADER_BYTES[size]
    raise VolumeError(path, f"expected a NIfTI header of 348 or 540 bytes, found {_sample(head)}", _WHOLE)


def _sample(head):
    return f"{len(head)} bytes that begin with {bytes(head[:4])!r}"


def _offset(header, path, *, single):
    offset, least = float(header["vox_offset"]), int(header["sizeof_hdr"]) + 4 if single else 0
    if not (math.isfinite(offset) and offset >= least and offset == int(offset)):
        raise VolumeError(path, f"expected voxels from byte {least} on, found vox_offset={offset}", _WHOLE)
    return int(offset)


class _Plain:
    """An uncompressed file."""

    def __init__(self, path):
        self.path, self.size = path, os.stat(path).st_size
        if not Path(path).is_file():
            raise VolumeError(path, "expected a file, found a folder or a device", "Check the path.")

    def head(self, count):
        with open(self.path, "rb") as file:
            return file.read(count)

    def refuse_ratio(self, count, max_ratio):
        if count > self.size:
            raise VolumeError(self.path, f"expected {count} bytes, found {self.size}: the file is cut", _WHOLE)

    def voxels(self, offset, dtype, count):
        with open(self.path, "rb") as file:
            file.seek(offset)
            array = np.fromfile(file, dtype, count)
        if array.size != count:
            raise VolumeError(self.path, f"expected {count} voxels, found {array.size}: the file is cut", _WHOLE)
        return array


class _Gzip:
    """A gzip file, held compressed in memory."""

    def __init__(self, path):
        self.path = path
        self.data = Path(path).read_bytes()
        self.size = len(self.data)

    def head(self, count):
        head = b""
        for chunk in self._chunks(count):
            head += chunk
            if len(head) >= count:
                break
        return head[:count]

    def refuse_ratio(self, count, max_ratio):
        refuse_ratio(self.path, count, self.size, max_ratio)

    def voxels(self, offset, dtype, count):
        buffer = np.empty(count * dtype.itemsize, np.uint8)
        start, stop, position = offset, offset + buffer.size, 0
        for chunk in self._chunks(_CHUNK):
            first, last = max(position, start), min(position + len(chunk), stop)
            if first < last:
                part = np.frombuffer(chunk, np.uint8)[first - position : last - position]
                buffer[first - start : last - start] = part
            position += len(chunk)
            if position > stop + _RATIO_FREE_BYTES:
                raise VolumeError(self.path, f"expected {stop} bytes, found more than {position}", _WHOLE)
        if position < stop:
            raise VolumeError(self.path, f"expected {stop} bytes, found {position}: the file is cut", _WHOLE)
        return buffer.view(dtype)

    def _chunks(self, size):
        try:
            yield from inflate(self.data, size)
        except (zlib.error, EOFError) as error:
            raise VolumeError(self.path, f"expected a whole gzip stream, found: {error}", _WHOLE) from None


def inflate(data, size):
    """Yield what gzip data holds, at most `size` bytes at a time; accepts what `gzip -t` accepts.

    The decoder compares the checksum and the length of every member; zeros may follow the last one, nothing else.
    """
    view, position = memoryview(data), 0
    while True:
        if any(flags & _UNKNOWN_FLAGS for flags in view[position + 3 : position + 4]):
            raise zlib.error("unknown flags in a gzip header")  # isal does not look
        decoder = inflater.decompressobj(31)
        while not decoder.eof:
            piece = decoder.unconsumed_tail
            if not piece:
                piece = view[position : position + _PIECE]
                position += len(piece)
            try:
                chunk = decoder.decompress(piece, size)
            except inflater.error as error:
                raise zlib.error(str(error)) from None
            if chunk:
                yield chunk
            elif not len(piece) and not decoder.eof:
                raise EOFError("it ends too early")
        position -= len(decoder.unused_data)
        while position < len(view) and view[position] == 0:
            position += 1
        if position == len(view):
            return
