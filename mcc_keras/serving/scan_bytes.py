"""The files of a scan as a server reads them: as they are, or converted to one NIfTI file."""

import math
import os
from pathlib import Path

import nibabel as nib
import numpy as np

from mcc_keras.errors import VolumeError
from mcc_keras.formats.nifti import encode_nifti, parse_header, stored_dtype, stored_shape
from mcc_keras.formats.streams import open_stream

LARGEST_MESSAGE = (1 << 31) - (1 << 20)  # bytes: a protocol buffer ends at 2 GiB, names and affine included
LARGEST_INFLATED = 1 << 30  # bytes of a gzip file that a served graph takes
_LOCALLY = "Segment it on this machine, with segment."


def scan_bytes(images, volume, *, as_stored):
    """Return a list with the bytes of each file of a scan.

    Args:
        images: Path, or paths of the channels, as they were given.
        volume: The scan as `read_scan` reads it.
        as_stored: Whether the files are sent as they are; otherwise the scan is sent as one file of float32 with its
            affine as the sform.

    Raises:
        VolumeError: It is larger than a message.
    """
    if as_stored:
        files = [path.read_bytes() for path in paths_of(images)]
    else:
        refuse_large(volume)
        files = [as_nifti(volume)]
    if sum(map(len, files)) > LARGEST_MESSAGE:
        raise VolumeError(volume.path, f"expected less than 2 GiB to send, found {sum(map(len, files))}", _LOCALLY)
    return files


def paths_of(images):
    """Return the paths of a scan as they were given, as a list.

    >>> paths_of("scan.nii")
    [PosixPath('scan.nii')]
    """
    return [Path(path) for path in ((images,) if isinstance(images, str | Path) else images)]


def served_as_stored(images):
    """Whether a served graph reads all files of a scan; false for other formats than NIfTI, and for folders."""
    return all(map(is_served_nifti, paths_of(images)))


def is_served_nifti(path):
    """Whether a file is one that a served graph reads as well: a single NIfTI file, plain or one gzip stream.

    Example:

    >>> is_served_nifti("scan.nrrd")
    False
    """
    path = Path(path)
    if not path.name.lower().endswith((".nii", ".nii.gz")) or not path.is_file():
        return False
    stream = open_stream(path)
    if not stream.packed:
        return True
    header = parse_header(stream.head(540), path, single=True)
    size = math.prod(stored_shape(header, path)) * stored_dtype(header, path).itemsize
    promised = int(header["vox_offset"]) + size
    with open(path, "rb") as file:
        file.seek(-4, os.SEEK_END)
        return int.from_bytes(file.read(4), "little") == promised <= LARGEST_INFLATED


def refuse_large(volume):
    """Refuse a scan whose voxels as float32 are larger than a message, before memory is taken for them."""
    if 4 * volume.array.size > LARGEST_MESSAGE:
        problem = f"expected less than 2 GiB of float32 voxels to send, found shape {volume.array.shape}"
        raise VolumeError(volume.path, problem, _LOCALLY)


def as_nifti(volume):
    """Return the bytes of a compressed NIfTI file that a served graph reads: float32, its affine as the sform.

    Args:
        volume: `Volume` with array (x, y, z, channels).
    """
    header = nib.Nifti2Header() if max(volume.array.shape) > 32767 else nib.Nifti1Header()
    array = np.asarray(volume.array, np.float32)
    header.set_data_shape(array.shape)
    header.set_zooms((*volume.spacing_mm, 1.0)[: array.ndim])
    header.set_xyzt_units("mm")
    header.set_sform(volume.affine, code=1)
    return encode_nifti(array, header, level=1)
