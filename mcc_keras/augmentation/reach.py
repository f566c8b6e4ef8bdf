"""How far around a patch an `Augmentation` reads, so that a box of one size is enough for every draw.

The box depends on the patch, the policy and the shapes and voxel sizes of the cases, never on a draw.
"""

import math

import numpy as np

from mcc_keras.augmentation.changes import ANISOTROPIC

DEVIATIONS = 5.0  # of an elastic deformation, whose draws have no limit
# Of a cubic B-spline with normal control values of deviation 1, at most: the deviation of the difference of two of its
# values, and that of its slope in control values per distance of control points.
_DIFFERENCE, _SLOPE = 0.5, 0.45
_SPANS = 2  # distances of control points in a volume
_TAPS = {"linear": 1, "cubic": 2}


def reading_box(policy, patch_size, cases):
    """Return the sides, in voxels, of a box about the middle of what a changed patch shows that holds all of it.

    Rotation, scaling, shear and shifts stay within the box for every draw; an elastic deformation does so up to
    five standard deviations.

    Args:
        policy: `Augmentation`, or `None` for no change.
        patch_size: (x, y, z) of the patch.
        cases: Pairs of shape (x, y, z) and voxel size in millimetres, one for each volume that patches are cut from.

    Example:

    >>> from mcc_keras.augmentation import Augmentation
    >>> reading_box(Augmentation(elastic=0, rotation_degrees=0), (64, 64, 32), [((512, 512, 90), (1, 1, 3))])
    (77, 77, 41)
    """
    if policy is None or not policy.moves:
        return tuple(patch_size)
    boxes = [_box_of(policy, np.array(patch_size), np.array(shape), np.array(mm, float)) for shape, mm in set(cases)]
    return tuple(int(n) for n in np.max(boxes, axis=0))


def _box_of(policy, patch_size, shape, spacing_mm):
    shape = np.maximum(shape, patch_size)  # a smaller volume is padded
    half = patch_size / 2 + _bend(policy, patch_size, shape)
    reach = np.minimum(_by_matrix(policy, half, spacing_mm), _by_length(policy, half, spacing_mm))
    margin = _TAPS[policy.interpolation] + 1  # one for the rounding of the box's corner
    return np.minimum(2 * np.ceil(np.maximum(reach, patch_size / 2) + margin).astype(int) + 1, shape)


def _bend(policy, patch_size, shape):
    """Voxels by which an elastic deformation moves the border of a patch and its middle apart, along each axis."""
    if not policy.chance("elastic"):
        return np.zeros(3)
    spans = _SPANS * (patch_size / 2) / shape
    return DEVIATIONS * policy.elastic * shape * min(_DIFFERENCE, _SLOPE * np.linalg.norm(spans))


def _by_matrix(policy, half, spacing_mm):
    """Half of the sides after the largest rotation, shear and scaling, by the largest entries of their matrices."""
    ratio = spacing_mm[:, None] / spacing_mm
    kept = ((ratio < ANISOTROPIC) & (1 / ratio < ANISOTROPIC)) * (1 - np.eye(3))
    most = math.sin(math.radians(min(_most(policy, "rotation_degrees"), 90.0)))
    x, y, z = most * kept[1, 2], most * kept[0, 2], most * kept[0, 1]
    turn = np.array([[1, x * y + z, y + x * z], [z, 1, x + y * z], [y, x, 1]]).clip(max=1)
    matrix = turn @ (np.eye(3) + kept * _lean(policy)) * _zoom(policy) * spacing_mm / spacing_mm[:, None]
    return matrix @ half


def _by_length(policy, half, spacing_mm):
    """Half of the sides by the farthest corner, whose distance no rotation changes."""
    return np.linalg.norm(half * spacing_mm) * (1 + 2 * _lean(policy)) * _zoom(policy) / spacing_mm


def _lean(policy):
    return math.tan(math.radians(_most(policy, "shear_degrees")))


def _zoom(policy):
    return 1 + _most(policy, "scaling")


def _most(policy, name):
    return getattr(policy, name) if policy.chance(name) else 0.0
