"""The voxels within a distance of a mask, several times as fast as by a distance transform."""

import numpy as np

from mcc_keras.extent import bounding_box

_BLOCK = 1 << 16  # voxels that fit the cache
_ROUNDING = 1 + 1e-6  # a voxel at the distance itself is within it


def box_around(mask, spacing_mm, distance_mm):
    """Return the slices of the smallest box with all voxels within a distance of a mask; `None` for an empty mask.

    Example:

    >>> mask = np.zeros((9, 9, 9), bool)
    >>> mask[4, 4, 4] = True
    >>> box_around(mask, (1.0, 2.0, 5.0), 3.0)
    (slice(1, 8, None), slice(3, 6, None), slice(4, 5, None))
    """
    ends = bounding_box(mask)
    if ends is None:
        return None
    reach = [int(distance_mm / step * _ROUNDING) for step in spacing_mm]
    sizes = zip(ends, reach, mask.shape, strict=True)
    return tuple(slice(max(0, first - far), min(size, last + far)) for (first, last), far, size in sizes)


def find_nearby(mask, spacing_mm, distance_mm):
    """Return which voxels have a voxel of the mask within a distance, from center to center.

    Args:
        mask: Boolean array (x, y, z).
        spacing_mm: Edge lengths of a voxel, one for each axis.
        distance_mm: The distance, inclusive.

    Returns:
        Boolean array of the same shape.

    Example:

    >>> mask = np.zeros((7, 1, 1), bool)
    >>> mask[2] = True
    >>> find_nearby(mask, (2.0, 1.0, 1.0), 4.0)[:, 0, 0].tolist()
    [True, True, True, True, True, False, False]
    """
    reach = [int(distance_mm / step * _ROUNDING) for step in spacing_mm]
    longest = int(np.argmax(reach))
    squares = np.moveaxis(_squares_along(np.moveaxis(mask, longest, 0), spacing_mm[longest]), 0, longest)
    for axis in range(mask.ndim):
        if axis != longest:
            turned = np.moveaxis(squares, (longest, axis), (0, 1))
            squares = np.moveaxis(_lowest_sums(turned, spacing_mm[axis], reach[axis]), (0, 1), (longest, axis))
    return squares <= np.float32(distance_mm**2 * _ROUNDING)


def _squares_along(mask, spacing_mm):
    """Return the squared distance of each voxel to the nearest one of the mask in its line along the first axis."""
    index = np.arange(len(mask), dtype=np.float32).reshape(-1, *[1] * (mask.ndim - 1))
    before = np.maximum.accumulate(np.where(mask, index, np.float32(-np.inf)), axis=0)
    after = np.minimum.accumulate(np.where(mask, index, np.float32(np.inf))[::-1], axis=0)[::-1]
    nearest = np.minimum(index - before, after - index)
    return np.square(nearest * np.float32(spacing_mm))


def _lowest_sums(squares, spacing_mm, reach):
    """Return the lowest sum of a value and its squared distance along the second axis, up to `reach` voxels away."""
    found = np.empty(squares.shape, np.float32)
    rows = max(1, _BLOCK // max(1, squares[0].size))
    for first in range(0, len(squares), rows):
        given = np.ascontiguousarray(np.moveaxis(squares[first : first + rows], 1, 0))
        lowest, moved = given.copy(), np.empty_like(given)
        for step in range(1, min(reach, len(given) - 1) + 1):
            np.add(given, np.float32((step * spacing_mm) ** 2), out=moved)
            np.minimum(lowest[step:], moved[:-step], out=lowest[step:])
            np.minimum(lowest[:-step], moved[step:], out=lowest[:-step])
        found[first : first + rows] = np.moveaxis(lowest, 0, 1)
    return found
