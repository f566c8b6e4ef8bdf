"""A synthetic scan as a DICOM series, one file per slice; the same scan gives the same bytes.

The files are written here, byte by byte: GDCM would add the time of writing and change the locale of the process.
"""

import struct

import numpy as np

_ROOT = "1.2.826.0.1.3680043.10.511.3"  # free for UIDs that are made up
_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"


def write_slices(array, folder, *, affine, number):
    """Write `(x, y, z)` int16 voxels as the files 0001.dcm, 0002.dcm, … of one MR series.

    Args:
        array: Voxels; the slices lie along the last axis.
        folder: Folder to create.
        affine: `(4, 4)` from voxels to RAS+ millimetres, with a positive determinant.
        number: Whole number from which the UIDs of patient, study and series are made.
    """
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]
    spacing_mm = np.linalg.norm(lps[:, :3], axis=0)
    axes = lps[:, :3] / spacing_mm
    folder.mkdir(parents=True)
    for index in range(array.shape[2]):
        instance = f"{_ROOT}.{number}.1.1.{index + 1}"
        elements = [
            (0x0008, 0x0016, "UI", _MR_IMAGE),
            (0x0008, 0x0018, "UI", instance),
            (0x0008, 0x0020, "DA", "20000101"),
            (0x0008, 0x0060, "CS", "MR"),
            (0x0010, 0x0010, "PN", f"SYNTHETIC^{number}"),
            (0x0010, 0x0020, "LO", f"{number}"),
            (0x0018, 0x0050, "DS", _numbers(spacing_mm[2:])),
            (0x0018, 0x0088, "DS", _numbers(spacing_mm[2:])),
            (0x0020, 0x000D, "UI", f"{_ROOT}.{number}.1"),
            (0x0020, 0x000E, "UI", f"{_ROOT}.{number}.1.1"),
            (0x0020, 0x0013, "IS", f"{index + 1}"),
            (0x0020, 0x0032, "DS", _numbers(lps @ [0, 0, index, 1])),
            (0x0020, 0x0037, "DS", _numbers(axes[:, :2].T.ravel())),
            (0x0020, 0x0052, "UI", f"{_ROOT}.{number}.2"),
            *_pixels(array[:, :, index], spacing_mm),
        ]
        (folder / f"{index + 1:04d}.dcm").write_bytes(_head(instance) + _encode(elements))


def _numbers(values):
    return "\\".join(f"{value:.10g}" for value in values)


def _pixels(plane, spacing_mm):
    """Rows run along x, from row to row along y; DICOM names the distance of the rows first."""
    counts = {0x0010: plane.shape[1], 0x0011: plane.shape[0], 0x0100: 16, 0x0101: 16, 0x0102: 15, 0x0103: 1}
    elements = [(0x0028, tag, "US", struct.pack("<H", count)) for tag, count in counts.items()]
    elements += [(0x0028, 0x0002, "US", struct.pack("<H", 1)), (0x0028, 0x0004, "CS", "MONOCHROME2")]
    elements += [(0x0028, 0x0030, "DS", _numbers(spacing_mm[1::-1]))]
    return [*sorted(elements), (0x7FE0, 0x0010, "OW", np.ascontiguousarray(plane.T, "<i2").tobytes())]


def _head(instance):
    elements = [
        (0x0002, 0x0001, "OB", b"\0\1"),
        (0x0002, 0x0002, "UI", _MR_IMAGE),
        (0x0002, 0x0003, "UI", instance),
        (0x0002, 0x0010, "UI", _EXPLICIT_LITTLE_ENDIAN),
        (0x0002, 0x0012, "UI", _ROOT),
    ]
    body = _encode(elements)
    return bytes(128) + b"DICM" + _encode([(0x0002, 0x0000, "UL", struct.pack("<I", len(body)))]) + body


def _encode(elements):
    encoded = b""
    for group, tag, kind, value in elements:
        value = value.encode("ascii") if isinstance(value, str) else value
        value += (b"\0" if kind == "UI" else b" ") * (len(value) % 2)
        long = kind in ("OB", "OW")
        length = struct.pack("<HI", 0, len(value)) if long else struct.pack("<H", len(value))
        encoded += struct.pack("<HH", group, tag) + kind.encode() + length + value
    return encoded
