"""Where the voxels of the result are read: flips, affine maps and elastic deformation of sampling points."""

import numpy as np
import tensorflow as tf

from mcc_keras.augmentation.draws import normal, split, uniform
from mcc_keras.augmentation.linear import smooth_field

CONTROL_POINTS = 5  # of an elastic deformation, along each axis
ANISOTROPIC = 3.0  # from this ratio of voxel sizes on, nothing turns from one axis into the other


def identity_points(shape):
    """Return the points that sample every voxel where it is: (3, x, y, z), in voxels."""
    axes = [tf.range(n, dtype=tf.float32) for n in shape]
    return tf.stack(tf.meshgrid(*axes, indexing="ij"))


def flip(points, flips):
    """Return points mirrored along the axes where `flips` (3,) is true."""
    each = zip(tf.unstack(points), points.shape[1:], tf.unstack(flips), strict=True)
    return tf.stack([tf.where(flipped, n - 1.0 - place, place) for place, n, flipped in each])


def random_flip(seed, points, axes):
    """Flip each of `axes` with probability one half."""
    return flip(points, draw_flips(seed, axes))


def draw_flips(seed, axes):
    """Return three truth values: each of `axes` is flipped with probability one half, the others never."""
    return tf.constant([axis in axes for axis in range(3)]) & (uniform(seed, (3,)) < 0.5)


def translate(points, shift):
    """Return points moved by shift (3,), in voxels."""
    return tf.stack([place + step for place, step in zip(tf.unstack(points), tf.unstack(shift), strict=True)])


def affine(points, matrix, shift):
    """Return points moved about the volume's centre: matrix (3, 3) and shift (3,), in voxels."""
    centre = [(n - 1) / 2 for n in points.shape[1:]]
    offset = [place - middle for place, middle in zip(tf.unstack(points), centre, strict=True)]
    # Not a matrix product: sums are compiled into the loop that reads the volume, and no point is ever stored.
    return tf.stack(
        [sum(matrix[row, axis] * offset[axis] for axis in range(3)) + (centre[row] + shift[row]) for row in range(3)]
    )


def random_affine(
    seed,
    points,
    spacing_mm,
    *,
    rotation_degrees=0.0,
    scaling=0.0,
    scaling_per_axis=True,
    shear_degrees=0.0,
    translation=0.0,
    translation_mm=0.0,
):
    """Turn, scale, shear and shift in millimetres, about the centre; each draw is uniform within ± its number.

    Where the voxel sizes of two axes differ by a factor of 3 or more, nothing turns or shears from one into the other:
    a volume of thick slices moves within its slices only.

    Args:
        seed: Integer (2,).
        points: (3, x, y, z), in voxels.
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
    most = translation * size_of(points) + translation_mm / spacing_mm
    return affine(points, matrix, uniform(shift, (3,), -1.0, 1.0) * most)


def elastic(points, shifts):
    """Return points moved by a cubic B-spline whose control points move by shifts (3, n, n, n), in voxels."""
    fields = [smooth_field(shift[..., None], points.shape[1:])[..., 0] for shift in tf.unstack(shifts)]
    return tf.stack([place + field for place, field in zip(tf.unstack(points), fields, strict=True)])


def random_elastic(seed, points, deviation):
    """Move the control points by normal shifts whose standard deviation is a share of the field of view."""
    most = tf.reshape(deviation * size_of(points), (3, 1, 1, 1))
    return elastic(points, normal(seed, (3, *(CONTROL_POINTS,) * 3)) * most)


def size_of(points):
    """Return the size in voxels of what the points sample: (3,) float32."""
    return tf.constant(points.shape[1:].as_list(), tf.float32)


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


def _alike(spacing_mm):
    """(3, 3): 1 where the voxel sizes of two axes differ by less than `ANISOTROPIC`, else 0."""
    ratio = spacing_mm[:, None] / spacing_mm
    return tf.cast((ratio < ANISOTROPIC) & (1 / ratio < ANISOTROPIC), tf.float32)
