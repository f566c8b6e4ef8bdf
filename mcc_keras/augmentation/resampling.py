"""Resampling at points: images linear or cubic, masks nearest or by the largest linear share of a label.

`padding` says what lies outside, half a voxel and more beyond the outer voxels' centers: `"edge"` repeats these voxels;
a number, or one per channel, is a constant.
"""

import functools
import itertools

import tensorflow as tf


def resample(image, points, *, interpolation="linear", padding="edge"):
    """Return the image at the points, shape (*points.shape[1:], channels).

    Args:
        image: float32 (x, y, z, channels).
        points: float32 (3, …), in voxels.
        interpolation: `"linear"`, or `"cubic"`: Keys' interpolating kernel (a = -1/2), sharper, slower.
        padding: `"edge"`, or the value outside: a number or one per channel.

    References:
        Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29, 1981.
    """
    taps = _taps(image, points, _linear if interpolation == "linear" else _cubic)
    flat, result = _flat(image), 0.0
    for (wx, x), (wy, y), (wz, z) in itertools.product(*taps):
        result += (wx * wy * wz)[..., None] * tf.gather(flat, x + y + z)
    return result if _is_edge(padding) else tf.where(inside(points, image)[..., None], result, padding)


def resample_nearest(mask, points, *, padding="edge"):
    """Return the mask at the nearest voxel of the points."""
    places = [tf.cast(tf.round(place), tf.int32) * stride for place, _, stride in _axes(mask, points)]
    return _padded(mask, points, tf.gather(_flat(mask), sum(places)), padding)


def resample_labels(mask, points, *, padding="edge"):
    """Return the label with the largest share at each point, every label read linearly as a volume of its own.

    No list of labels is needed: at most eight of them meet at a point. Of equal shares the first corner's wins.
    """
    flat = _flat(mask)
    corners = [
        ((wx * wy * wz)[..., None], tf.gather(flat, x + y + z))
        for (wx, x), (wy, y), (wz, z) in itertools.product(*_taps(mask, points, _linear))
    ]
    best, result = -1.0, corners[0][1]
    for _, label in corners:
        total = sum(tf.where(other == label, weight, 0.0) for weight, other in corners)
        result, best = tf.where(total > best, label, result), tf.maximum(total, best)
    return _padded(mask, points, result, padding)


def inside(points, volume):
    """Return which points lie in a voxel of the volume."""
    each = zip(tf.unstack(points), volume.shape[:3], strict=True)
    return functools.reduce(tf.logical_and, [(place >= -0.5) & (place <= n - 0.5) for place, n in each])


def _padded(mask, points, result, padding):
    if _is_edge(padding):
        return result
    return tf.where(inside(points, mask)[..., None], result, tf.cast(padding, result.dtype))


def _is_edge(padding):
    return isinstance(padding, str) and padding == "edge"


def _flat(volume):
    return tf.reshape(volume, (-1, volume.shape[-1]))


def _axes(volume, points):
    """For each axis: where the points lie within the volume, its number of voxels, the distance of two in `_flat`."""
    (x, y, z), places = volume.shape[:3], tf.unstack(points)
    each = zip(places, (x, y, z), (y * z, z, 1), strict=True)
    return [(tf.clip_by_value(place, 0.0, n - 1.0), n, stride) for place, n, stride in each]


def _taps(volume, points, kernel):
    """For each axis: (weight, place in `_flat`) of the voxels that the kernel reads."""
    taps = []
    for place, n, stride in _axes(volume, points):
        # The last voxel is the upper neighbor of the one before it, so that no linear read leaves the volume.
        low = tf.minimum(tf.floor(place), max(n - 2.0, 0.0))
        first, taps_here = tf.cast(low, tf.int32), kernel(place - low)
        within = (0, 1) if n > 1 else (0,)
        start = first * stride
        taps.append(
            [
                (weight, start + k * stride if k in within else tf.clip_by_value(first + k, 0, n - 1) * stride)
                for k, weight in taps_here
            ]
        )
    return taps


def _linear(share):
    return ((0, 1 - share), (1, share))


def _cubic(t):
    return (
        (-1, ((-0.5 * t + 1) * t - 0.5) * t),
        (0, (1.5 * t - 2.5) * t * t + 1),
        (1, ((-1.5 * t + 2) * t + 0.5) * t),
        (2, (0.5 * t - 0.5) * t * t),
    )
