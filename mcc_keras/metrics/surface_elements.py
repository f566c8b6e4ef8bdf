"""Elements of a surface: voxels, or pieces of a triangulated surface with their area.

Both are arrays with the contribution of each place to the surface, 0 away from it.
"""

import functools
import itertools

import numpy as np

from mcc_keras.errors import UsageError


def voxel_elements(mask):
    """Return where a mask has voxels that touch the outside through a face; beyond the array is outside.

    Example:

    >>> voxel_elements(np.array([False, True, True, True, False])).tolist()
    [False, True, False, True, False]
    """
    inner = mask.copy()
    for axis in range(mask.ndim):
        rows, inside = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)
        inside[1:] &= rows[:-1]
        inside[:-1] &= rows[1:]
        inside[0] = inside[-1] = False
    return mask & ~inner


def area_elements(mask, spacing_mm):
    """Return the area in mm² (in the plane: the length in mm) of the surface between neighboring voxels.

    The places are those between voxels, where 2 × 2 × 2 of them meet: one more along each axis than the mask has. What
    lies there is the piece that marching cubes draws through the middle of the edges between inside and outside. Where
    that is ambiguous, the smaller number of voxels is cut off one by one, whether they are inside or outside.

    Args:
        mask: Boolean array of two or three axes; beyond it is outside.
        spacing_mm: Edge lengths of a voxel, one for each axis.

    Raises:
        UsageError: If there is another number of axes.

    Example:

    >>> area_elements(np.ones((1, 1), bool), (3.0, 4.0)).tolist()
    [[2.5, 2.5], [2.5, 2.5]]

    References:
        Lorensen and Cline, Marching Cubes, SIGGRAPH 1987.
    """
    if mask.ndim not in (2, 3):
        raise UsageError(f'weighting="area" needs masks of 2 or 3 axes. Received: mask.shape={mask.shape}')
    padded = np.pad(mask, 1).astype("uint8")
    code = np.zeros([length + 1 for length in mask.shape], "uint8")
    for bit, corner in enumerate(itertools.product((slice(None, -1), slice(1, None)), repeat=mask.ndim)):
        code |= padded[corner] << np.uint8(bit)
    spacing = np.asarray(spacing_mm, "float64")
    return (_lengths(spacing) if mask.ndim == 2 else _areas(spacing))[code]


def _lengths(spacing):
    """Return the length of the contour for each of the 16 ways in which 4 pixels are inside or outside."""
    corner = np.hypot(*spacing) / 2
    lengths = np.zeros(16)
    for code in range(1, 15):
        inside = [bool(code >> bit & 1) for bit in range(4)]
        if sum(inside) != 2:
            lengths[code] = corner
        elif inside[0] == inside[3]:
            lengths[code] = 2 * corner
        else:  # the contour runs along the axis on which both sides are the same
            lengths[code] = spacing[1] if inside[0] == inside[1] else spacing[0]
    return lengths


def _areas(spacing):
    """Return the area for each of the 256 ways in which 8 voxels are inside or outside."""
    areas = np.zeros(256)
    for code, triangles in _triangles().items():
        a, b, c = np.moveaxis(triangles * spacing, 1, 0)
        areas[code] = np.linalg.norm(np.cross(b - a, c - a), axis=-1).sum() / 2
    return areas


@functools.cache
def _triangles():
    """Return the triangles (n, 3, 3) that marching cubes draws between 8 voxels, in units of a voxel, by their code."""
    from skimage.measure import marching_cubes

    triangles = {}
    for code in range(1, 255):
        inside = np.array([code >> bit & 1 for bit in range(8)], "float32").reshape(2, 2, 2)
        few = 1 - inside if inside.sum() > 4 else inside
        corners, faces, _, _ = marching_cubes(few, 0.5, method="lorensen")
        triangles[code] = corners[faces].astype("float64")
    return triangles
