"""NRRD: `.nrrd`, its voxels behind the header or in a file beside it.

One field per line, `name: value`, up to an empty line. `key:=value` pairs and `#` comments are skipped.
"""

import gzip
import os
import re

import numpy as np

from mcc_keras.errors import GeometryError, VolumeError
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

_DTYPES = {"i1": ("signed char", "int8", "int8_t"), "u1": ("uchar", "unsigned char", "uint8", "uint8_t")}
_DTYPES |= {"i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t")}
_DTYPES |= {"u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t")}
_DTYPES |= {"i4": ("int", "signed int", "int32", "int32_t"), "u4": ("uint", "unsigned int", "uint32", "uint32_t")}
_DTYPES |= {"i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int")}
_DTYPES["i8"] += ("int64", "int64_t")
_DTYPES |= {"u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t")}
_DTYPES |= {"f4": ("float",), "f8": ("double",)}
_DTYPE_OF = {word: dtype for dtype, words in _DTYPES.items() for word in words}
_PACKING = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "txt": "text", "text": "text", "ascii": "text"}
# Signs that lead from the space of the file to right, anterior, superior. An unnamed space counts as LPS, as in ITK.
_TO_RAS = {"right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1), "left-anterior-superior": (-1, 1, 1)}
_TO_RAS |= {"las": (-1, 1, 1), "left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1)}
_IN_SPACE = ("domain", "space")
_ONE_IMAGE = "Save one image without time, with at most one axis of channels."


def read_nrrd(path, **limits):
    """Return the voxels `(x, y, …)`, channels last, and the affine to RAS+ millimetres of a `.nrrd` file."""
    fields, end = read_header(path, lambda head, whole: _fields(head, path, whole=whole))
    stored = _stored(fields, end, path)
    spatial = _spatial_axes(fields, len(stored.shape), path)
    affine = _affine(fields, spatial, path)
    array = read_voxels(stored, path, **limits)
    others = [axis for axis in range(array.ndim) if axis not in spatial]
    return array.transpose([*spatial, *others]), affine


def encode_nrrd(array, affine):
    """Return the bytes of an unsigned label map `(x, y, z)` as a compressed NRRD file."""
    lps = LPS_TO_RAS @ affine
    lines = [
        "NRRD0004",
        f"type: {array.dtype.name}",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: " + " ".join(str(size) for size in array.shape),
        "space directions: " + " ".join(_vector(column) for column in lps[:3, :3].T),
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(lps[:3, 3])}",
        "\n",
    ]
    return "\n".join(lines).encode() + gzip.compress(array.tobytes(order="F"), 6, mtime=0)


def _vector(numbers):
    return "(" + ",".join(repr(float(number)) for number in numbers) + ")"


def _fields(head, path, *, whole):
    if not re.match(rb"NRRD000[1-5]\s*\n", head):
        raise VolumeError(path, f"expected an NRRD header, found {head[:8]!r}", WHOLE)
    fields, end = {}, 0
    for line in head.splitlines(keepends=True):
        end += len(line)
        if not line.strip():
            return (fields, end) if whole or end < len(head) else None
        name, mark, value = os.fsdecode(line).partition(":")
        if mark and not line.startswith(b"#") and not value.startswith("="):
            add_field(fields, name.strip().lower(), value.strip(), path=path)
    if not whole:
        return None
    if "data file" in fields or "datafile" in fields:
        return fields, end
    raise VolumeError(path, "expected an empty line at the end of the header, found none", WHOLE)


def _stored(fields, end, path):
    shape = whole_numbers(fields.get("sizes", ""), "sizes", path)
    rank = whole_numbers(fields.get("dimension", ""), "dimension", path)
    if rank != (len(shape),):
        raise VolumeError(path, f"expected as many sizes as dimension: {rank[0]}, found {len(shape)}", WHOLE)
    dtype = np.dtype(_DTYPE_OF.get(fields.get("type", "").lower(), "V"))
    if dtype.kind == "V":
        raise VolumeError(path, f"expected integer or real voxels, found type {fields.get('type')!r}", WHOLE)
    packing = _PACKING.get(fields.get("encoding", "").lower())
    if packing is None:
        raise VolumeError(
            path, f"expected encoding raw, gzip or text, found {fields.get('encoding')!r}", "Save it with gzip."
        )
    endian = fields.get("endian", "little" if dtype.itemsize == 1 or packing == "text" else "").lower()
    if endian not in ("little", "big"):
        raise VolumeError(path, f"expected endian little or big, found {endian!r}", WHOLE)
    data, offset = _data(fields, end, path, packing=packing)
    return Stored(shape, dtype.newbyteorder(">" if endian == "big" else "<"), packing, data, offset)


def _data(fields, end, path, *, packing):
    name = fields.get("data file", fields.get("datafile"))
    data, start = (path, end) if name is None else (data_file(name, path), 0)
    lines, skipped = (
        whole_numbers(fields.get(long, fields.get(long.replace(" ", ""), "0")), long, path)[0]
        for long in ("line skip", "byte skip")
    )
    if lines or skipped < -1 or (skipped and packing != "raw"):
        raise VolumeError(path, f"expected nothing to skip, found line skip {lines}, byte skip {skipped}", WHOLE)
    return data, -1 if skipped == -1 else start + skipped


def _spatial_axes(fields, rank, path):
    """Return the axes that are spatial; one other may hold channels."""
    if "space directions" in fields:
        axes = [axis for axis, vector in enumerate(_vectors(fields, rank, path)) if vector is not None]
    else:
        kinds = fields.get("kinds", "").lower().split()
        axes = [axis for axis, kind in enumerate(kinds) if kind in _IN_SPACE] if len(kinds) == rank else range(rank)
    axes = list(axes) or list(range(rank))
    if rank - len(axes) > 1:
        raise VolumeError(path, f"expected at most one axis of channels, found {rank - len(axes)}", _ONE_IMAGE)
    return axes


def _vectors(fields, rank, path):
    words = re.findall(r"none|\([^()]*\)", fields["space directions"])
    if len(words) != rank:
        raise VolumeError(path, f"expected {rank} space directions, found {len(words)}", WHOLE)
    return [None if word == "none" else _parse(word, "space directions", path) for word in words]


def _parse(word, name, path):
    return real_numbers(word.strip().strip("()").replace(",", " "), name, count=3, path=path)


def _affine(fields, spatial, path):
    rank = len(whole_numbers(fields["sizes"], "sizes", path))
    origin = _parse(fields["space origin"], "space origin", path) if "space origin" in fields else np.zeros(3)
    if "space directions" in fields:
        if len(spatial) > 3:
            raise GeometryError(path, f"expected three axes in space, found {len(spatial)}", _ONE_IMAGE)
        found = _vectors(fields, rank, path)
        vectors, steps = np.array([*(found[axis] for axis in spatial), *np.eye(3)[len(spatial) :]]), np.ones(3)
        mm = _units(fields, "space units", path)
    else:
        axes, vectors = spatial[:3], np.eye(min(len(spatial), 3))
        steps, first = _axes_alone(fields, rank, path)
        steps, mm = steps[axes], _units(fields, "units", path, axes=axes, rank=rank)
        origin[: len(axes)] += first[axes]
    affine = affine_of_axes(
        vectors, origin, steps=steps, to_ras=_TO_RAS.get(fields.get("space", "").lower(), (-1, -1, 1))
    )
    affine[:3] *= mm[:, None]
    return affine


def _axes_alone(fields, rank, path):
    """Return the step and the first voxel's center along each axis that has no direction.

    `axis mins` and `axis maxs` are edges of voxels, or centers where `centers` says node.
    """
    sizes = np.array(whole_numbers(fields["sizes"], "sizes", path), float)
    words = fields.get("centers", fields.get("centerings", "")).lower().split()
    node = np.array([word == "node" for word in words] if len(words) == rank else [False] * rank)
    low, high, steps = (
        real_numbers(fields[name], name, count=rank, path=path) if name in fields else None
        for name in ("axis mins", "axis maxs", "spacings")
    )
    if steps is None and low is not None and high is not None:
        steps = (high - low) / np.maximum(sizes - node, 1)
    if steps is None:
        return np.ones(rank), np.zeros(rank)
    first = np.zeros(rank) if low is None else np.where(np.isfinite(low), low + np.where(node, 0, steps / 2), 0)
    return steps, first


def _units(fields, name, path, *, axes=(0, 1, 2), rank=3):
    words = re.findall(r'"([^"]*)"', fields.get(name, "")) or fields.get(name, "").split() or [""] * rank
    if len(words) != rank:
        raise VolumeError(path, f"expected {rank} units in {name}, found {len(words)}", WHOLE)
    found = [mm_per_unit(words[axis], path) for axis in axes]
    return np.array(found + [1.0] * (3 - len(found)))
