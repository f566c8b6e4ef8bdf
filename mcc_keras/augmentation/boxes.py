"""Boxes of a volume: their position about a point, and cropping."""

import tensorflow as tf


def corner_about(center, size, shape):
    """Return the first voxel, integer (3,), of the box whose center is the point, moved into the volume.

    Args:
        center: (3,), in voxels. A voxel's coordinates make it the middle voxel; for an even size, the upper of the two.
        size: (x, y, z) of the box.
        shape: (x, y, z) of the volume, at least as large.

    Example:

    >>> corner_about(tf.constant([4.0, 4.0, 0.0]), (3, 4, 4), (9, 9, 9)).numpy().tolist()
    [3, 2, 0]
    """
    first = tf.floor(center - center_of((0, 0, 0), size) + 1e-3)  # tolerance for the rounding of a rotated point
    most = tf.constant([n - m for n, m in zip(shape, size, strict=True)])
    return tf.clip_by_value(tf.cast(first, tf.int32), 0, most)


def center_of(corner, size):
    """Return the center (3,) of the box at a corner, in voxels."""
    return tf.cast(corner, tf.float32) + tf.constant([(n - 1) / 2 for n in size], tf.float32)


def cut(volume, corner, size):
    """Return the box of `size` at a corner from a volume (x, y, z, channels)."""
    # Not `tf.slice`, which XLA compiles again for every other corner.
    for axis, n in enumerate(size):
        volume = tf.gather(volume, corner[axis] + tf.range(n), axis=axis)
    return volume
