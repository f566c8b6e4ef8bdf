"""MetaImage and NRRD files: read by SimpleITK, but only after what their headers promise was found in the data.

Both headers are lines of text. The native readers follow a data file to wherever it is, take memory for any size, and
accept a compressed stream whose checksum is wrong; so the names, the sizes and the stream are looked at first.
"""

import math
import os
import zlib

import lazy_loader as lazy

from mcc_keras import nifti
from mcc_keras.errors import VolumeError

sitk = lazy.load("SimpleITK")

_HEADER_BYTES = 1 << 16
_WHOLE = "Copy or download the file again."
_META_BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}
_NRRD_BYTES = {"char": 1, "int8": 1, "uint8": 1, "short": 2, "int16": 2, "uint16": 2, "ushort": 2, "int": 4, "int32": 4}
_NRRD_BYTES |= {"uint32": 4, "uint": 4, "float": 4, "longlong": 8, "int64": 8, "uint64": 8, "ulonglong": 8, "double": 8}
_CHUNK = 1 << 20


def read_itk(path, *, max_voxels, max_ratio):
    """Return the SimpleITK image of a `.mha`, `.mhd` or `.nrrd` file whose data are whole."""
    if not path.is_file():
        raise VolumeError(path, "expected a file, found none", "Check the path.")
    _refuse_damage(path, max_voxels, max_ratio)
    reader = sitk.ImageFileReader()
    reader.SetFileName(os.fspath(path))
    try:
        reader.ReadImageInformation()
        nifti.refuse_huge(path, (*reader.GetSize(), reader.GetNumberOfComponents()), max_voxels)
        return reader.Execute()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise VolumeError(path, f"expected a whole volume, found: {reason}", _WHOLE) from None


def _refuse_damage(path, max_voxels, max_ratio):
    try:
        with open(path, "rb") as file:
            head = file.read(_HEADER_BYTES)
        if path.suffix.lower() == ".nrrd":
            shape, voxel, packing, data, offset = _nrrd(head, path)
        else:
            shape, voxel, packing, data, offset = _metaimage(head, path)
        nifti.refuse_huge(path, shape, max_voxels)
        expected = math.prod(shape) * voxel
        if packing == "raw" and data.stat().st_size - max(offset, 0) < expected:
            raise VolumeError(data, f"expected {expected} bytes of voxels, found fewer: the file is cut", _WHOLE)
        if packing in ("gzip", "zlib"):
            _refuse_damaged_stream(data, offset, expected, packing, max_ratio)
    except OSError as error:
        raise VolumeError(path, f"expected a readable file, found: {error.strerror}", _WHOLE) from None


def _metaimage(head, path):
    fields, offset = {}, 0
    for line in head.splitlines(keepends=True):
        offset += len(line)
        name, mark, value = line.decode("latin-1").partition("=")
        if mark:
            fields[name.strip()] = value.strip()
        if name.strip() == "ElementDataFile":
            break
    if "ElementDataFile" not in fields:
        raise VolumeError(path, "expected a MetaImage header that names ElementDataFile, found none", _WHOLE)
    shape = _numbers(fields.get("DimSize", ""), "DimSize", path)
    kind = fields.get("ElementType", "").removeprefix("MET_").removeprefix("U").removesuffix("_ARRAY")
    if kind not in _META_BYTES:
        raise VolumeError(path, f"expected integer or real voxels, found {fields.get('ElementType')!r}", _WHOLE)
    channels = _numbers(fields.get("ElementNumberOfChannels", "1"), "ElementNumberOfChannels", path)
    packing = "zlib" if fields.get("CompressedData", "").lower() in ("true", "1", "t", "y") else "raw"
    if fields.get("BinaryData", "true").lower() in ("false", "0", "f", "n"):
        packing = "text"
    data, offset = _data_file(fields["ElementDataFile"], "LOCAL", offset, path)
    # A HeaderSize of -1 means that the voxels are the last bytes of the file, so any offset would do.
    skipped = _numbers(fields.get("HeaderSize", "0"), "HeaderSize", path)[0]
    return shape + channels, _META_BYTES[kind], packing, data, offset + max(skipped, 0)


def _nrrd(head, path):
    if not head.startswith(b"NRRD"):
        raise VolumeError(path, f"expected an NRRD header, found {head[:8]!r}", _WHOLE)
    fields, offset = {}, 0
    for line in head.splitlines(keepends=True):
        offset += len(line)
        if not line.strip():
            break
        name, mark, value = line.decode("latin-1").partition(":")
        if mark and not line.startswith(b"#"):
            fields[name.strip().lower()] = value.strip()
    shape = _numbers(fields.get("sizes", ""), "sizes", path)
    kind = fields.get("type", "").removeprefix("signed ").removeprefix("unsigned ").removesuffix("_t")
    kind = {"short int": "short", "long long": "longlong", "long long int": "longlong", "uchar": "char"}.get(kind, kind)
    if kind not in _NRRD_BYTES:
        raise VolumeError(path, f"expected integer or real voxels, found type {fields.get('type')!r}", _WHOLE)
    encoding = fields.get("encoding", "").lower()
    packing = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}.get(encoding, encoding)
    data, offset = _data_file(fields.get("data file", fields.get("datafile", "LOCAL")), "LOCAL", offset, path)
    skipped = _numbers(fields.get("byte skip", fields.get("byteskip", "0")), "byte skip", path)[0]
    return shape, _NRRD_BYTES[kind], packing, data, offset + (max(skipped, 0) if packing == "raw" else 0)


def _numbers(text, name, path):
    try:
        return tuple(int(number) for number in text.split())[:16] or (0,)
    except ValueError:
        raise VolumeError(path, f"expected whole numbers in {name}, found {text[:60]!r}", _WHOLE) from None


def _data_file(name, here, offset, path):
    """The file with the voxels and where they begin in it; it must lie beside or below the header."""
    if name.upper() == here:
        return path, offset
    root, data = os.path.realpath(path.parent), path.parent / name
    if name.upper().startswith("LIST") or "%" in name or not name.isprintable():
        raise VolumeError(path, f"expected one data file, found {name!r}", "Save the volume in one file.")
    if "://" in name or os.path.commonpath([root, os.path.realpath(data)]) != root:
        raise VolumeError(path, f"expected a data file beside the header, found {name!r}", "Put it there.")
    if not data.is_file():
        raise VolumeError(path, f"expected the data file {name!r} beside it, found none", _WHOLE)
    return data, 0


def _refuse_damaged_stream(data, offset, expected, packing, max_ratio):
    stream = data.read_bytes()[offset:]
    nifti.refuse_ratio(data, expected, len(stream), max_ratio)
    length = 0
    try:
        chunks = nifti.inflate(stream, _CHUNK) if packing == "gzip" else _unzlib(stream)
        for chunk in chunks:
            length += len(chunk)
            if length > expected + _CHUNK:
                break
    except (zlib.error, EOFError) as error:
        raise VolumeError(data, f"expected a whole compressed stream, found: {error}", _WHOLE) from None
    if length != expected:
        raise VolumeError(data, f"expected {expected} bytes of voxels, found {length}", _WHOLE)


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
