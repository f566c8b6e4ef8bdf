"""NIfTI files: header, voxels (in the same file or beside it), and writing.

nibabel parses the header; sizes are checked before memory is allocated for them.
"""

import gzip
import math
import warnings

import lazy_loader as lazy
import numpy as np

from mcc_keras.errors import VolumeError
from mcc_keras.formats.streams import WHOLE, inside, open_stream, refuse_huge

nib = lazy.load("nibabel")

_HEADER_BYTES = {348: "Nifti1Header", 540: "Nifti2Header"}
# Offset of the magic and its value in a single file; a pair has "i" instead of "+".
_MAGIC = {"Nifti1Header": (344, b"n+1\0"), "Nifti2Header": (4, b"n+2\0\r\n\x1a\n")}
# Codes of the NIfTI standard: integers of 8 to 64 bits, float32 and float64. Complex and color voxels are refused.
_DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}


def read_nifti(path, *, max_voxels, max_ratio):
    """Return the voxels (any rank, stored dtype, unscaled) and the header of a `.nii`, `.nii.gz` or `.hdr`/`.img`."""
    head_path, voxel_path = _parts(path)
    single = head_path == voxel_path
    partner = voxel_path if path == head_path else head_path
    if partner != path and not inside(partner, path.parent):
        raise VolumeError(
            partner, "expected a file beside its other half, found one that leads elsewhere", "Put it there."
        )
    stream = open_stream(voxel_path)
    head_stream = stream if single else open_stream(head_path)
    header = parse_header(head_stream.head(540), head_path, single=single)
    shape, dtype = stored_shape(header, path), stored_dtype(header, path)
    voxels = math.prod(shape)
    refuse_huge(path, shape, max_voxels)
    offset = _offset(header, path, single=single)
    stream.refuse_promise(offset + voxels * dtype.itemsize, voxels=voxels, max_ratio=max_ratio)
    if not single:
        head_stream.verify()
    array = stream.voxels(offset, dtype, voxels).reshape(shape, order="F")
    _warn_of_name(stream)
    return array.astype(dtype.newbyteorder("="), copy=False), header


def parse_header(head, path, *, single):
    """Return the nibabel header of the first bytes of a file."""
    endianness, kind = _kind(head, path)
    size = next(size for size, name in _HEADER_BYTES.items() if name == kind)
    start, expected = _MAGIC[kind]
    pair = expected.replace(b"+", b"i")
    found = bytes(head[start : start + len(expected)])
    # Some writers put the magic of a pair in a single file. Its vox_offset must then lie behind the header.
    if found != pair and not (single and found == expected):
        problem = f"expected the NIfTI magic {expected if single else pair!r}, found {found!r}"
        raise VolumeError(path, problem, "Save the scan as NIfTI, NRRD or MetaImage.")
    header = getattr(nib, kind)(bytes(head[:size]), endianness=endianness, check=False)
    # The handedness of the qform: 0 means 1 in the standard, and so does any value that is not negative in nifti1_io.
    header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1
    return header


def stored_shape(header, path):
    """Return the shape in a header, as Python integers."""
    rank = int(header["dim"][0])
    if not 1 <= rank <= 7:
        raise VolumeError(path, f"expected 1 to 7 dimensions, found {rank}", WHOLE)
    return tuple(int(size) for size in header["dim"][1 : rank + 1])


def stored_dtype(header, path):
    """Return the dtype in a header, in the file's byte order."""
    code, bits = int(header["datatype"]), int(header["bitpix"])
    if code not in _DTYPES:
        problem = f"expected integer or real voxels, found data type {code}"
        raise VolumeError(path, problem, "Save the scan with one number per voxel.")
    dtype = np.dtype(_DTYPES[code]).newbyteorder(header.endianness)
    if bits not in (0, dtype.itemsize * 8):  # 0: some writers leave it to the data type
        raise VolumeError(path, f"expected {dtype.itemsize * 8} bits per voxel for {dtype}, found {bits}", WHOLE)
    return dtype


def scaling(header, path):
    """Return (slope, intercept) of a header, or None where the voxels are stored as they are.

    By the standard a slope of 0 means no scaling. Some writers leave NaN for the same.
    """
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or math.isnan(slope) or (slope, intercept) == (1, 0):
        return None
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise VolumeError(path, f"expected finite scaling, found scl_slope={slope} and scl_inter={intercept}", WHOLE)
    return slope, intercept


def encode_nifti(array, header, *, level):
    """Return the bytes of a single NIfTI file; compressed, without a date, where `level` is not 0."""
    head = encode_header(header, array.shape, array.dtype)
    data = head + array.astype(array.dtype.newbyteorder(header.endianness), copy=False).tobytes(order="F")
    return gzip.compress(data, compresslevel=level, mtime=0) if level else data


def encode_header(header, shape, dtype, *, slope=1):
    """Return the bytes before the voxels of a single NIfTI file, in the byte order of the header.

    Args:
        header: nibabel's header with the geometry.
        shape: Of the voxels.
        dtype: Of the voxels as stored.
        slope: What a stored value is multiplied with.
    """
    header = header.copy()
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    header.set_slope_inter(slope, 0)
    header["vox_offset"] = 352 if int(header["sizeof_hdr"]) == 348 else 544
    return header.binaryblock + bytes(4)


def _parts(path):
    name = path.name.lower()
    for ours, other in ((".hdr", ".img"), (".img", ".hdr")):
        for zipped in ("", ".gz"):
            if name.endswith(ours + zipped):
                partner = path.with_name(path.name[: -len(ours + zipped)] + other + zipped)
                return (path, partner) if ours == ".hdr" else (partner, path)
    return path, path


def _warn_of_name(stream):
    named = stream.path.name.lower().endswith(".gz")
    if named != stream.packed:
        kinds = ("an uncompressed file", "a gzip file")
        text = f"{stream.path}: expected {kinds[named]} by its name, found {kinds[stream.packed]}; it is read as such."
        warnings.warn(text + " Rename it, since other software goes by the name.", stacklevel=2)


def _kind(head, path):
    if len(head) >= 4:
        for endianness, order in (("<", "little"), (">", "big")):
            size = int.from_bytes(head[:4], order)
            if size in _HEADER_BYTES and len(head) >= size:
                return endianness, _HEADER_BYTES[size]
    raise VolumeError(path, f"expected a NIfTI header of 348 or 540 bytes, found {_sample(head)}", WHOLE)


def _sample(head):
    return f"{len(head)} bytes that begin with {bytes(head[:4])!r}"


def _offset(header, path, *, single):
    offset, least = float(header["vox_offset"]), int(header["sizeof_hdr"]) + 4 if single else 0
    if not (math.isfinite(offset) and offset >= least and offset == int(offset)):
        raise VolumeError(path, f"expected voxels from byte {least} on, found vox_offset={offset}", WHOLE)
    return int(offset)
