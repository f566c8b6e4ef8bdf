"""Voxels that are numbers, and labels that are whole."""

import numpy as np

from mcc_keras.errors import UsageError, VolumeError

NONFINITE = 'Repair the file, or read them as 0 with nonfinite="zero".'
# TensorFlow's kernels flush smaller float32 numbers to 0. Flushed on reading, they are 0 for NumPy as well.
_SMALLEST = np.finfo(np.float32).tiny


def checked_values(array, path, nonfinite):
    """Return voxels without NaN, infinities and numbers below the smallest normal float32, which count as 0."""
    if array.dtype.kind != "f":
        return array
    wrong, first = 0, None
    for index in range(array.shape[2]):  # slice by slice, so that no whole volume of booleans is made
        part = array[:, :, index]
        size = np.abs(part)
        tiny, infinite = (size < _SMALLEST) & (size > 0), ~(size < np.inf)
        if tiny.any():
            part[tiny] = 0
        if infinite.any():
            x, y, *channel = np.argwhere(infinite)[0].tolist()
            first = first or (x, y, index, *channel)
            wrong += int(np.count_nonzero(infinite))
            part[infinite] = 0
    if wrong and nonfinite == "error":
        problem = f"expected finite voxels, found {wrong} NaN or infinite, the first at {first}"
        raise VolumeError(path, problem, NONFINITE)
    return array


def largest_label(mask):
    """Return the largest label of a mask.

    Raises:
        UsageError: A mask without voxels, or values that are no whole numbers from 0 to 65535.

    Example:

    >>> largest_label(np.array([[0.0, 3.0]]))
    3
    """
    if not mask.size:
        raise UsageError(f"A mask must have voxels. Received: mask.shape={mask.shape}")
    smallest, largest = mask.min(), mask.max()
    whole = mask.dtype.kind in "bui" or bool((mask == np.rint(mask)).all())
    if not (whole and smallest >= 0 and largest <= 65535):
        raise UsageError(
            "A mask must hold whole numbers from 0 to 65535. "
            f"Received: mask.dtype={mask.dtype}, values from {smallest} to {largest}"
        )
    return int(largest)
