"""MetaImage: `.mha`, or `.mhd` with its voxels in a file beside it.

One field per line, `Name = value` or `Name: value`, up to `ElementDataFile`. Unknown fields are ignored, as in ITK.
"""

import os
import re
import zlib

import numpy as np

from mcc_keras.errors import VolumeError
from mcc_keras.formats.text_header import (
    LPS_TO_RAS,
    WHOLE,
    Stored,
    add_field,
    affine_of_axes,
    data_file,
    mm_per_unit,
    read_header,
    read_voxels,
    real_numbers,
    whole_numbers,
)

_DTYPES = {"CHAR": "i1", "UCHAR": "u1", "SHORT": "i2", "USHORT": "u2", "INT": "i4", "UINT": "u4", "LONG": "i4"}
_DTYPES |= {"ULONG": "u4", "LONG_LONG": "i8", "ULONG_LONG": "u8", "FLOAT": "f4", "DOUBLE": "f8"}
_YES = ("true", "1", "t", "y", "yes")
_WORDS = {"uint8": "MET_UCHAR", "uint16": "MET_USHORT"}


def read_metaimage(path, **limits):
    """Return the voxels `(x, y, …)`, channels last, and the affine to RAS+ millimetres of a `.mha` or `.mhd` file."""
    fields, end = read_header(path, lambda head, whole: _fields(head, path, whole=whole))
    stored, channels = _stored(fields, end, path)
    affine = _affine(fields, len(stored.shape), path)
    if channels > 1:
        stored = Stored((channels, *stored.shape), stored.dtype, stored.packing, stored.data, stored.offset)
    array = read_voxels(stored, path, **limits)
    return np.moveaxis(array, 0, -1) if channels > 1 else array, affine


def encode_metaimage(array, affine, *, data_name="LOCAL"):
    """Return the header and the compressed voxels of an unsigned label map `(x, y, z)`, as two `bytes`."""
    lps = LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    voxels = zlib.compress(array.tobytes(order="F"), 6)
    lines = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(len(voxels)),
        "TransformMatrix": " ".join(repr(float(number)) for number in (lps[:3, :3] / spacing).T.ravel()),
        "Offset": " ".join(repr(float(number)) for number in lps[:3, 3]),
        "ElementSpacing": " ".join(repr(float(step)) for step in spacing),
        "DimSize": " ".join(str(size) for size in array.shape),
        "ElementType": _WORDS[array.dtype.name],
        "ElementDataFile": data_name,
    }
    return os.fsencode("".join(f"{name} = {value}\n" for name, value in lines.items())), voxels


def _fields(head, path, *, whole):
    fields, end = {}, 0
    for line in head.splitlines(keepends=True):
        end += len(line)
        # File names are bytes on disk; the other fields are ASCII.
        name, mark, value = re.match(r"([^=:]*)([=:]?)(.*)", os.fsdecode(line), re.DOTALL).groups()
        if mark:
            add_field(fields, name.strip(), value.strip(), path=path)
        if "ElementDataFile" in fields:
            return (fields, end) if whole or end < len(head) else None
    if whole:
        raise VolumeError(path, "expected a MetaImage header that names ElementDataFile, found none", WHOLE)
    return None


def _stored(fields, end, path):
    shape = whole_numbers(fields.get("DimSize", ""), "DimSize", path)
    rank = whole_numbers(fields.get("NDims", str(len(shape))), "NDims", path)
    if rank != (len(shape),):
        raise VolumeError(path, f"expected as many sizes as NDims = {rank[0]}, found {len(shape)}", WHOLE)
    kind = fields.get("ElementType", "").removeprefix("MET_").removesuffix("_ARRAY")
    if kind not in _DTYPES:
        raise VolumeError(path, f"expected integer or real voxels, found {fields.get('ElementType')!r}", WHOLE)
    big = any(_is(fields, name) for name in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"))
    packing = "zlib" if _is(fields, "CompressedData") else "raw"
    packing = packing if _is(fields, "BinaryData", default="true") else "text"
    channels = whole_numbers(fields.get("ElementNumberOfChannels", "1"), "ElementNumberOfChannels", path)[0]
    if channels < 1:
        raise VolumeError(path, f"expected at least one channel, found {channels}", WHOLE)
    data, offset = _data(fields, end, path)
    return Stored(shape, np.dtype(_DTYPES[kind]).newbyteorder(">" if big else "<"), packing, data, offset), channels


def _data(fields, end, path):
    """Return the file of the voxels and where they begin: HeaderSize counts from its start, -1 means its last bytes."""
    name = fields["ElementDataFile"]
    data, start = (path, end) if name.upper() == "LOCAL" else (data_file(name, path), 0)
    skipped = whole_numbers(fields.get("HeaderSize", "0"), "HeaderSize", path)[0]
    return data, -1 if skipped == -1 else max(skipped, start)


def _is(fields, name, default="false"):
    return fields.get(name, default).lower() in _YES


def _affine(fields, rank, path):
    matrix = _first(fields, ("TransformMatrix", "Rotation", "Orientation"))
    offset = _first(fields, ("Offset", "Position", "Origin"))
    axes = real_numbers(matrix[1], matrix[0], count=rank**2, path=path).reshape(rank, rank) if matrix else np.eye(rank)
    origin = real_numbers(offset[1], offset[0], count=rank, path=path) if offset else np.zeros(rank)
    spacing = _first(fields, ("ElementSpacing", "ElementSize"))
    steps = real_numbers(spacing[1], spacing[0], count=rank, path=path) if spacing else np.ones(rank)
    affine = affine_of_axes(axes[:3, :3], origin[:3], steps=steps[:3])
    affine[:3] *= mm_per_unit(fields.get("DistanceUnits", ""), path)
    return affine


def _first(fields, names):
    return next(((name, fields[name]) for name in names if name in fields), None)
