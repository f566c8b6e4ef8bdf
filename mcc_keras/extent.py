"""Where in an array something is."""

import numpy as np


def bounding_box(where):
    """Return for every axis the first voxel that is true and the one behind the last, or `None` if there is none.

    Example:

    >>> bounding_box(np.array([[False, True, True], [False, False, False]]))
    ((0, 1), (1, 3))
    """
    found, part = [], where
    for axis in range(where.ndim):
        others = tuple(other for other in range(where.ndim) if other != axis)
        hits = np.flatnonzero(part.any(axis=others))
        if not hits.size:
            return None
        found.append((int(hits[0]), int(hits[-1]) + 1))
        part = part[(slice(None),) * axis + (slice(*found[-1]),)]
    return tuple(found)
