"""Reading a volume at points: images linear or cubic, masks nearest or by the largest linear share of a label.

`padding` says what lies outside, half a voxel and more beyond the outer voxels' centres: `"edge"` repeats these voxels;
a number, or one a channel, is put there.
"""

import itertools

import tensorflow as tf

from mcc_keras.augmentation.spatial import extent_of


def resample(image, points, *, interpolation="linear", padding="edge"):
    """Return the image at the points, shape (*points.shape[:3], channels).

    Args:
        image: float32 (x, y, z, channels).
        points: float32 (…, 3), in voxels.
        interpolation: `"linear"`, or `"cubic"`: Keys' interpolating kernel (a = -1/2), sharper, slower.
        padding: `"edge"`, or the value outside: a number or one a channel.

    References:
        Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29, 1981.
    """
    low, share, flat = _neighbours(image, points)
    taps = (_linear if interpolation == "linear" else _cubic)(share)
    strides, last = _strides(image), [n - 1 for n in image.shape[:3]]
    axes = [
        [(weight[axis], tf.clip_by_value(low[axis] + offset, 0, last[axis]) * strides[axis]) for offset, weight in taps]
        for axis in range(3)
    ]
    result = 0.0
    for (wx, x), (wy, y), (wz, z) in itertools.product(*axes):
        result += (wx * wy * wz)[..., None] * tf.gather(flat, x + y + z)
    return result if _is_edge(padding) else tf.where(inside(points, image)[..., None], result, padding)


def resample_nearest(mask, points, *, padding="edge"):
    """Return the mask at the nearest voxel of the points."""
    last = extent_of(mask) - 1
    x, y, z = tf.unstack(tf.cast(tf.round(tf.clip_by_value(points, 0.0, last)), tf.int32), axis=-1)
    strides = _strides(mask)
    result = tf.gather(tf.reshape(mask, (-1, mask.shape[-1])), x * strides[0] + y * strides[1] + z)
    return _padded(mask, points, result, padding)


def resample_labels(mask, points, *, padding="edge"):
    """Return the label with the largest share at each point, every label read linearly as a volume of its own.

    No list of labels is needed: at most eight of them meet at a point. Of equal shares the first corner's wins.
    """
    low, share, flat = _neighbours(mask, points)
    strides, last = _strides(mask), [n - 1 for n in mask.shape[:3]]
    axes = [
        [(w[axis], tf.minimum(low[axis] + offset, last[axis]) * strides[axis]) for offset, w in _linear(share)]
        for axis in range(3)
    ]
    corners = [
        ((wx * wy * wz)[..., None], tf.gather(flat, x + y + z))
        for (wx, x), (wy, y), (wz, z) in itertools.product(*axes)
    ]
    best, result = -1.0, corners[0][1]
    for _, label in corners:
        total = sum(tf.where(other == label, weight, 0.0) for weight, other in corners)
        result, best = tf.where(total > best, label, result), tf.maximum(total, best)
    return _padded(mask, points, result, padding)


def inside(points, volume):
    """Return which points lie in a voxel of the volume."""
    return tf.reduce_all((points >= -0.5) & (points <= extent_of(volume) - 0.5), axis=-1)


def _padded(mask, points, result, padding):
    if _is_edge(padding):
        return result
    return tf.where(inside(points, mask)[..., None], result, tf.cast(padding, result.dtype))


def _is_edge(padding):
    return isinstance(padding, str) and padding == "edge"


def _neighbours(volume, points):
    points = tf.clip_by_value(points, 0.0, extent_of(volume) - 1)
    low = tf.floor(points)
    flat = tf.reshape(volume, (-1, volume.shape[-1]))
    return tf.unstack(tf.cast(low, tf.int32), axis=-1), tf.unstack(points - low, axis=-1), flat


def _linear(share):
    return ((0, [1 - t for t in share]), (1, share))


def _cubic(share):
    return (
        (-1, [((-0.5 * t + 1) * t - 0.5) * t for t in share]),
        (0, [(1.5 * t - 2.5) * t * t + 1 for t in share]),
        (1, [((-1.5 * t + 2) * t + 0.5) * t for t in share]),
        (2, [(0.5 * t - 0.5) * t * t for t in share]),
    )


def _strides(volume):
    _, y, z, _ = volume.shape
    return y * z, z, 1
