"""Probabilities on disk: NIfTI of uint16 with the slope 1/65535, the class axis last, written slab by slab.

A slab is quantized into a file that has no name and ends with the process, mapped into memory, so that memory does not
grow with classes × volume; from there it is copied to its place, compressed on the way.
"""

import contextlib
import math
import os
import shutil
import tempfile

import numpy as np
from isal import igzip

from mcc_keras.files import written_aside
from mcc_keras.formats.geometry import header_like
from mcc_keras.formats.nifti import encode_header

STEPS = 65535  # NIfTI has no float16; a step of uint16 is finer than that of float16 above 1/64
_PIECE = 1 << 20
_LEVEL = 1  # probabilities are smooth at borders and constant elsewhere: a higher one gains little


class ProbabilityVoxels:
    """Probabilities of a scan as uint16, in a file without a name.

    Args:
        shape: (x, y, z, classes).
        folder: Existing folder on the disk to use.

    Example:

    >>> voxels = ProbabilityVoxels((2, 2, 2, 1), tempfile.gettempdir())
    >>> voxels.put((slice(0, 1), slice(None), slice(None)), np.full((1, 2, 2, 1), 0.5, np.float32))
    >>> voxels.array[:, 0, 0, 0].tolist()
    [32768, 0]
    """

    file = None

    def __init__(self, shape, folder):
        shape, dtype = tuple(map(int, shape)), np.dtype("<u2")
        self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115, closed below
        if hasattr(os, "posix_fallocate"):  # a disk that fills up under a mapped file ends the process
            os.posix_fallocate(self.file.fileno(), 0, dtype.itemsize * math.prod(shape))
        self.array = np.memmap(self.file, dtype, mode="w+", shape=shape, order="F")

    def put(self, index, probability):
        """Quantize a part, float32 (…, classes) in [0, 1]."""
        self.array[index] = np.rint(np.clip(probability, 0, 1) * np.float32(STEPS))

    def write(self, path, *, like, description=""):
        """Write the probabilities as `.nii` or `.nii.gz`, and free the file.

        Args:
            path: The file; one that exists is replaced.
            like: `Volume` with the geometry.
            description: ASCII text for the field `descrip`, which has 80 bytes.
        """
        header = header_like(like).as_byteswapped("<")
        header["pixdim"][4], header["descrip"] = 1, description
        head = encode_header(header, self.array.shape, self.array.dtype, slope=1 / STEPS)
        self.array.flush()
        with written_aside(path) as aside, open(aside, "wb") as plain, _stream(plain, path) as stream:
            stream.write(head)
            self.file.seek(0)
            shutil.copyfileobj(self.file, stream, _PIECE)
        self.close()
        return path

    def close(self):
        """Free the file; also where nothing refers to this any more."""
        self.array = None
        if self.file is not None:
            self.file.close()

    __del__ = close


def _stream(plain, path):
    if not path.name.lower().endswith(".gz"):
        return contextlib.nullcontext(plain)
    return igzip.GzipFile(fileobj=plain, mode="wb", compresslevel=_LEVEL, mtime=0, filename="")
