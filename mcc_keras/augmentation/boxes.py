"""Boxes of a volume: their position about a point, and cropping."""

import tensorflow as tf


def corner_about(center, size, shape):
    """Return the first voxel, integer (3,), of the box whose center is the point, moved into the volume.

    Args:
        center: (3,), in voxels. A voxel's coordinates make it the middle voxel; for an even size, the upper of the two.
        size: (x, y, z) of the box.
        shape: (x, y, z) of the volume, at least as large; integers or a tensor.

    Example:

    >>> corner_about(tf.constant([4.0, 4.0, 0.0]), (3, 4, 4), (9, 9, 9)).numpy().tolist()
    [3, 2, 0]
    """
    first = tf.floor(center - center_of((0, 0, 0), size) + 1e-3)  # tolerance for the rounding of a rotated point
    return tf.clip_by_value(tf.cast(first, tf.int32), 0, tf.cast(shape, tf.int32) - tf.constant(size))


def center_of(corner, size):
    """Return the center (3,) of the box at a corner, in voxels."""
    return tf.cast(corner, tf.float32) + tf.constant([(n - 1) / 2 for n in size], tf.float32)


def cut(volume, corner, size):
    """Return the box of `size` at a corner from a volume (x, y, z, channels), in a compiled graph."""
    # Not `tf.slice`, which XLA compiles again for every other corner.
    for axis, n in enumerate(size):
        volume = tf.gather(volume, corner[axis] + tf.range(n), axis=axis)
    return volume


def read_box(volume, corner, size):
    """Return the box of `size` at a corner, with zeros beyond the far ends of the volume; not for a compiled graph.

    A volume of just this size comes back as it is: its only box begins at 0.

    Example:

    >>> read_box(tf.reshape(tf.range(4), (4, 1, 1, 1)), (2, 0, 0), (3, 1, 1))[:, 0, 0, 0].numpy().tolist()
    [2, 3, 0]
    """
    if tuple(volume.shape[:3]) == tuple(size):
        return volume
    corner = tf.cast(corner, tf.int32)
    there = tf.minimum(tf.shape(volume)[:3] - corner, size)
    part = tf.slice(volume, tf.concat([corner, [0]], 0), tf.concat([there, [-1]], 0))
    part = tf.pad(part, tf.pad(tf.stack([tf.zeros_like(there), size - there], axis=1), [[0, 1], [0, 0]]))
    return tf.ensure_shape(part, (*size, volume.shape[-1]))
