"""Bytes on disk: regular files only, gzip recognized by its first bytes, read in pieces whatever the file's size.

Sizes that a header promises are compared with what the file can hold before memory is allocated. A compressed stream is
read to its end, so that its checksum and length are compared.
"""

import math
import os
import stat
import zlib

import numpy as np
from isal import isal_zlib as inflater  # the same checks as zlib in less than half the time

from mcc_keras.errors import VolumeError

WHOLE = "Copy or download the file again."
_PIECE, _CHUNK = 1 << 14, 1 << 20
_GZIP = b"\x1f\x8b"
DEFLATE_LIMIT = 1032  # deflate cannot compress further, so a header that promises more is false
RATIO_FREE_VOXELS = 1 << 29  # an empty mask of 512 x 512 x 2048 voxels compresses a thousandfold
_TAIL_BYTES = 1 << 30  # what may follow the voxels in a stream
_PADDING = bytes(1 << 20)
_MOST_PADDING = 64 << 20  # tape archives are padded with zeros; a sparse file may have endless ones
_UNKNOWN_FLAGS = 0b11100000  # bits of a gzip header that the standard (RFC 1952) reserves
_UNCOMPRESSED = "Save it uncompressed, or read it in Python with a larger max_ratio."


def open_stream(path):
    """Return the bytes of a regular file as a `Plain` or `Gzip` stream, by its first bytes whatever its name is."""
    size = file_size(path)
    try:
        with open(path, "rb") as file:
            packed = file.read(len(_GZIP)) == _GZIP
    except OSError as error:
        raise unreadable(path, error) from None
    return Gzip(path, size) if packed else Plain(path, size)


def file_size(path):
    """Return the size of a regular file in bytes; refuse folders, and pipes and devices, which may never end."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise VolumeError(path, "expected a file, found none", "Check the path.") from None
    except OSError as error:
        raise unreadable(path, error) from None
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device"
        raise VolumeError(path, f"expected a regular file, found {kind}", "Check the path.")
    return found.st_size


def unreadable(path, error):
    """Return the typed error for a file that the system cannot open or read."""
    return VolumeError(path, f"expected a readable file, found: {error.strerror}", "Check its name and permissions.")


def inside(path, folder):
    """Whether a path lies in a folder or below it after following links.

    >>> inside("scans/a.raw", "scans"), inside("scans/../a.raw", "scans")
    (True, False)
    """
    root = os.path.realpath(folder)
    return os.path.commonpath([root, os.path.realpath(path)]) == root


def refuse_huge(path, shape, max_voxels):
    """Refuse a shape that is empty or of more than `max_voxels` voxels, before memory is allocated."""
    if not shape or min(shape) < 1:
        raise VolumeError(path, f"expected at least one voxel along each axis, found shape {tuple(shape)}", WHOLE)
    if math.prod(shape) > max_voxels:
        raise VolumeError(
            path,
            f"expected at most {max_voxels} voxels, found shape {tuple(shape)}, which is {math.prod(shape)}",
            "Crop or downsample the scan, or read it in Python with a larger max_voxels.",
        )


def refuse_ratio(path, count, compressed, *, voxels, max_ratio):
    """Refuse a `count` of bytes that so few compressed bytes cannot hold, or that would grow out of all proportion."""
    if count > DEFLATE_LIMIT * compressed:
        raise VolumeError(
            path, f"the header promises {count} bytes, which {compressed} compressed bytes cannot hold", WHOLE
        )
    if voxels > RATIO_FREE_VOXELS and count > max_ratio * compressed:
        problem = f"expected at most {max_ratio} times the compressed {compressed} bytes, found {count}"
        raise VolumeError(path, problem, _UNCOMPRESSED)


class Plain:
    """An uncompressed file."""

    packed = False

    def __init__(self, path, size):
        self.path, self.size = path, size

    def head(self, count):
        """Return the first bytes, at most `count`."""
        with open(self.path, "rb") as file:
            return file.read(count)

    def refuse_promise(self, count, *, voxels, max_ratio):
        """Refuse a promise of more bytes than the file has."""
        if count > self.size:
            raise VolumeError(self.path, f"expected {count} bytes, found {self.size}: the file is truncated", WHOLE)

    def voxels(self, offset, dtype, count):
        """Return `count` values from a byte on."""
        with open(self.path, "rb") as file:
            file.seek(offset)
            array = np.fromfile(file, dtype, count)
        if array.size != count:
            raise VolumeError(self.path, f"expected {count} voxels, found {array.size}: the file is truncated", WHOLE)
        return array

    def verify(self):
        """Check the bytes that `voxels` did not read; uncompressed bytes have no checksum."""


class Gzip:
    """A gzip file, decompressed in pieces."""

    packed = True

    def __init__(self, path, size):
        self.path, self.size = path, size

    def head(self, count):
        """Return the first bytes inside, at most `count`."""
        head = b""
        for chunk in self._chunks(count):
            head += chunk
            if len(head) >= count:
                break
        return head[:count]

    def refuse_promise(self, count, *, voxels, max_ratio):
        """Refuse a promise of more bytes than the compressed ones can hold, or should."""
        refuse_ratio(self.path, count, self.size, voxels=voxels, max_ratio=max_ratio)

    def voxels(self, offset, dtype, count):
        """Return `count` values from a byte inside on, and verify the whole stream."""
        buffer = np.empty(count * dtype.itemsize, np.uint8)
        start, stop, position = offset, offset + buffer.size, 0
        for chunk in self._chunks(_CHUNK):
            first, last = max(position, start), min(position + len(chunk), stop)
            if first < last:
                part = np.frombuffer(chunk, np.uint8)[first - position : last - position]
                buffer[first - start : last - start] = part
            position += len(chunk)
            if position > stop + _TAIL_BYTES:
                raise VolumeError(self.path, f"expected {stop} bytes, found more than {position}", WHOLE)
        if position < stop:
            raise VolumeError(self.path, f"expected {stop} bytes, found {position}: the file is truncated", WHOLE)
        return buffer.view(dtype)

    def verify(self):
        """Read the stream to its end, so that its checksum and length are compared."""
        self.voxels(0, np.dtype("u1"), 0)

    def _chunks(self, size):
        try:
            with open(self.path, "rb") as file:
                yield from inflate(file, size)
        except (zlib.error, EOFError) as error:
            raise VolumeError(self.path, f"expected a whole gzip stream, found: {error}", WHOLE) from None


def inflate(file, size):
    """Yield the decompressed gzip data of a file, at most `size` bytes at a time; strict as `gzip -t`.

    The data begin at the file position and end with the file. The decoder compares the checksum and the length of
    every member. Zeros may follow the last one, nothing else.
    """
    rest = file.read(_PIECE)
    while True:
        rest += file.read(4) if len(rest) < 4 else b""
        if any(flags & _UNKNOWN_FLAGS for flags in rest[3:4]):
            raise zlib.error("unknown flags in a gzip header")  # isal does not check them
        decoder = inflater.decompressobj(31)
        while not decoder.eof:
            piece, rest = rest or decoder.unconsumed_tail or file.read(_PIECE), b""
            try:
                chunk = decoder.decompress(piece, size)
            except inflater.error as error:
                raise zlib.error(str(error)) from None
            if chunk:
                yield chunk
            elif not piece and not decoder.eof:
                raise EOFError("it ends too early")
        rest = _after_zeros(decoder.unused_data, file)
        if not rest:
            return


def _after_zeros(rest, file):
    zeros = 0
    while True:
        left = b"" if rest == _PADDING[: len(rest)] else rest.lstrip(b"\0")
        zeros += len(rest) - len(left)
        if zeros > _MOST_PADDING:
            raise EOFError(f"more than {_MOST_PADDING} zeros after its end")
        if left:
            return left
        rest = file.read(len(_PADDING))
        if not rest:
            return b""


def inflate_zlib(file, size):
    """Yield the decompressed zlib stream at the position of the file, at most `size` bytes at a time."""
    decoder, piece = zlib.decompressobj(), b""
    while not decoder.eof:
        piece = decoder.unconsumed_tail or file.read(_PIECE)
        chunk = decoder.decompress(piece, size)
        if chunk:
            yield chunk
        elif not piece and not decoder.eof:
            raise EOFError("it ends too early")
