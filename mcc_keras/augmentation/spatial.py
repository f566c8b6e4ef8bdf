"""Sampling points of the result: flips, affine maps and elastic deformation.

The `shape` of the volume that is changed, (x, y, z), is a tuple or, where volumes of many shapes share one graph, an
integer tensor.
"""

import numpy as np
import tensorflow as tf

from mcc_keras.augmentation.changes import ANISOTROPIC
from mcc_keras.augmentation.draws import normal, split, uniform
from mcc_keras.augmentation.linear import smooth_field

CONTROL_POINTS = 5  # of an elastic deformation, along each axis


def identity_points(shape, corner=(0.0, 0.0, 0.0)):
    """Return the coordinates of every voxel of the box at a corner: (3, x, y, z), in voxels."""
    axes = [tf.range(n, dtype=tf.float32) + first for n, first in zip(shape, _each(corner), strict=True)]
    return tf.stack(tf.meshgrid(*axes, indexing="ij"))


def flip(points, flips, *, shape=None):
    """Return points mirrored along the axes where `flips` (3,) is true."""
    each = zip(tf.unstack(points), _shape(points, shape), _each(flips), strict=True)
    return tf.stack([tf.where(flipped, n - 1.0 - place, place) for place, n, flipped in each])


def random_flip(seed, points, axes):
    """Flip each of `axes` with probability one half."""
    return flip(points, draw_flips(seed, axes))


def draw_flips(seed, axes):
    """Return three booleans: each of `axes` is flipped with probability one half, the others never."""
    return tf.constant([axis in axes for axis in range(3)]) & (uniform(seed, (3,)) < 0.5)


def affine(points, matrix, shift, *, shape=None):
    """Return points moved about the volume's center: matrix (3, 3) and shift (3,), in voxels."""
    center = [(n - 1) / 2 for n in _shape(points, shape)]
    offset = [place - middle for place, middle in zip(tf.unstack(points), center, strict=True)]
    # Not a matrix product: sums are compiled into the loop that reads the volume, and no point is ever stored.
    return tf.stack(
        [sum(matrix[row, axis] * offset[axis] for axis in range(3)) + (center[row] + shift[row]) for row in range(3)]
    )


def random_affine(seed, points, spacing_mm, **most):
    """Rotate, scale, shear and shift about the center, as `draw_affine` draws it."""
    return affine(points, *draw_affine(seed, points.shape[1:], spacing_mm, **most))


def draw_affine(
    seed,
    shape,
    spacing_mm,
    *,
    rotation_degrees=0.0,
    scaling=0.0,
    scaling_per_axis=True,
    shear_degrees=0.0,
    translation=0.0,
    translation_mm=0.0,
):
    """Return matrix (3, 3) and shift (3,), in voxels, of a map in millimetres; draws are uniform in ± their maximum.

    Where the voxel sizes of two axes differ by a factor of 3 or more, nothing turns or shears from one into the other:
    a volume of thick slices moves within its slices only.

    Args:
        seed: Integer (2,).
        shape: (x, y, z) of the volume.
        spacing_mm: (3,), voxel sizes.
        rotation_degrees: Largest angle about each axis.
        scaling: Largest relative change of size, s: a factor between 1 / (1 + s) and 1 + s, uniform in its logarithm.
        scaling_per_axis: Three factors instead of one.
        shear_degrees: Largest angle by which one axis leans towards another.
        translation: Largest shift along each axis, as a share of the field of view.
        translation_mm: Largest shift along each axis in millimetres, added to `translation`.
    """
    turn, size, shift, lean = split(seed, 4)
    kept = tf.constant(1.0 - np.eye(3, dtype=np.float32)) * _alike(spacing_mm)
    about = tf.stack([kept[1, 2], kept[0, 2], kept[0, 1]])
    angles = uniform(turn, (3,), -1.0, 1.0) * about * (rotation_degrees * (np.pi / 180))
    zoom = tf.exp(uniform(size, (3 if scaling_per_axis else 1,), -1.0, 1.0) * tf.math.log1p(1.0 * scaling))
    shear = tf.eye(3) + kept * tf.tan(uniform(lean, (3, 3), -1.0, 1.0) * (shear_degrees * (np.pi / 180)))
    matrix = rotation(angles) @ shear * zoom * spacing_mm / spacing_mm[:, None]
    most = translation * tf.cast(shape, tf.float32) + translation_mm / spacing_mm
    return matrix, uniform(shift, (3,), -1.0, 1.0) * most


def elastic(points, shifts, *, shape=None, corner=(0, 0, 0)):
    """Return points moved by a cubic B-spline whose control points move by shifts (3, n, n, n), in voxels.

    The points are the voxels of the box at the corner, integer (3,), in a volume of this shape; by default all of it.
    """
    box, moved = points.shape[1:], []
    for place, shift in zip(tf.unstack(points), tf.unstack(shifts), strict=True):
        moved.append(place + smooth_field(shift[..., None], _shape(points, shape), corner=corner, box=box)[..., 0])
    return tf.stack(moved)


def random_elastic(seed, points, deviation):
    """Move the control points by normal shifts whose standard deviation is a share of the field of view."""
    return elastic(points, draw_elastic(seed, points.shape[1:], deviation))


def draw_elastic(seed, shape, deviation):
    """Return the shifts (3, n, n, n) of the control points of an elastic deformation."""
    scale = deviation * tf.cast(shape, tf.float32)
    return normal(seed, (3, *(CONTROL_POINTS,) * 3)) * tf.reshape(scale, (3, 1, 1, 1))


def rotation(angles):
    """Return the rotation (3, 3) about x, then y, then z, by angles (3,) in radians."""
    (cx, cy, cz), (sx, sy, sz) = tf.unstack(tf.cos(angles)), tf.unstack(tf.sin(angles))
    return tf.stack(
        [
            tf.stack([cy * cz, sx * sy * cz - cx * sz, cx * sy * cz + sx * sz]),
            tf.stack([cy * sz, sx * sy * sz + cx * cz, cx * sy * sz - sx * cz]),
            tf.stack([-sy, sx * cy, cx * cy]),
        ]
    )


def _shape(points, shape):
    shape = points.shape[1:] if shape is None else shape
    return tf.unstack(tf.cast(shape, tf.float32)) if tf.is_tensor(shape) else shape


def _each(values):
    return values if isinstance(values, tuple | list) else tf.unstack(values)


def inverse(matrix):
    """Return the inverse (3, 3), by cross products, which XLA compiles into a few lines."""
    a, b, c = tf.unstack(matrix)
    columns = tf.stack([tf.linalg.cross(b, c), tf.linalg.cross(c, a), tf.linalg.cross(a, b)], axis=1)
    return columns / tf.reduce_sum(a * columns[:, 0])


def _alike(spacing_mm):
    """(3, 3): 1 where the voxel sizes of two axes differ by less than `ANISOTROPIC`, else 0."""
    ratio = spacing_mm[:, None] / spacing_mm
    return tf.cast((ratio < ANISOTROPIC) & (1 / ratio < ANISOTROPIC), tf.float32)
