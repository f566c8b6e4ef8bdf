"""Resampling at points: images linear or cubic, masks nearest or by the largest linear share of a label.

`padding` says what lies outside, half a voxel and more beyond the outer voxels' centers: `"edge"` repeats these voxels;
a number, or one per channel, is a constant. `ends`, (first, last), are the outer voxels of a volume of which only a box
is given, float32 (3,) each, in voxels of the box; by default the box is the volume.
"""

import functools
import itertools

import tensorflow as tf


def resample(image, points, *, interpolation="linear", padding="edge", ends=None):
    """Return the image at the points, shape (*points.shape[1:], channels).

    Args:
        image: float32 (x, y, z, channels).
        points: float32 (3, …), in voxels. What lies beyond a box is read at its border.
        interpolation: `"linear"`, or `"cubic"`: Keys' interpolating kernel (a = -1/2), sharper, slower.
        padding: `"edge"`, or the value outside: a number or one per channel.

    References:
        Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29, 1981.
    """
    taps = _taps(image, points, _linear if interpolation == "linear" else _cubic, ends)
    flat, result = _flat(image), 0.0
    for (wx, x), (wy, y), (wz, z) in itertools.product(*taps):
        result += (wx * wy * wz)[..., None] * tf.gather(flat, x + y + z)
    return result if _is_edge(padding) else tf.where(inside(points, image, ends)[..., None], result, padding)


def resample_nearest(mask, points, *, padding="edge", ends=None):
    """Return the mask at the nearest voxel of the points."""
    places = [tf.cast(tf.round(place), tf.int32) * stride for place, _, _, stride in _axes(mask, points, ends)]
    return _padded(mask, points, tf.gather(_flat(mask), sum(places)), padding, ends)


def resample_labels(mask, points, *, padding="edge", ends=None):
    """Return the label with the largest share at each point, every label read linearly as a volume of its own.

    No list of labels is needed: at most eight of them meet at a point. Of equal shares the first corner's wins.
    """
    flat = _flat(mask)
    corners = [
        ((wx * wy * wz)[..., None], tf.gather(flat, x + y + z))
        for (wx, x), (wy, y), (wz, z) in itertools.product(*_taps(mask, points, _linear, ends))
    ]
    best, result = -1.0, corners[0][1]
    for _, label in corners:
        total = sum(tf.where(other == label, weight, 0.0) for weight, other in corners)
        result, best = tf.where(total > best, label, result), tf.maximum(total, best)
    return _padded(mask, points, result, padding, ends)


def inside(points, volume, ends=None):
    """Return which points lie in a voxel of the volume."""
    each = zip(tf.unstack(points), *_ends(volume, ends), strict=True)
    return functools.reduce(tf.logical_and, [(p >= first - 0.5) & (p <= last + 0.5) for p, first, last in each])


def _ends(volume, ends):
    return ([0] * 3, [n - 1 for n in volume.shape[:3]]) if ends is None else map(tf.unstack, ends)


def _padded(mask, points, result, padding, ends):
    if _is_edge(padding):
        return result
    return tf.where(inside(points, mask, ends)[..., None], result, tf.cast(padding, result.dtype))


def _is_edge(padding):
    return isinstance(padding, str) and padding == "edge"


def _flat(volume):
    return tf.reshape(volume, (-1, volume.shape[-1]))


def _axes(volume, points, ends):
    """For each axis: where the points lie within the volume, its first and last voxel, the distance of two in `_flat`.

    A box is read where the volume and it are.
    """
    (x, y, z), places = volume.shape[:3], tf.unstack(points)
    if ends is None:
        firsts, lasts = [0.0] * 3, [n - 1.0 for n in (x, y, z)]
    else:
        firsts = tf.unstack(tf.maximum(ends[0], 0.0))
        lasts = tf.unstack(tf.minimum(ends[1], tf.constant([x - 1.0, y - 1.0, z - 1.0])))
    each = zip(places, firsts, lasts, (y * z, z, 1), strict=True)
    return [(tf.clip_by_value(place, first, last), first, last, stride) for place, first, last, stride in each]


def _taps(volume, points, kernel, ends):
    """For each axis: (weight, place in `_flat`) of the voxels that the kernel reads."""
    taps = []
    for place, least, most, stride in _axes(volume, points, ends):
        # The last voxel is the upper neighbor of the one before it, so that no linear read leaves the volume.
        known = isinstance(most, float)
        low = tf.minimum(tf.floor(place), max(most - 1, least) if known else tf.maximum(most - 1, least))
        first, taps_here = tf.cast(low, tf.int32), kernel(place - low)
        within = (0, 1) if known and most > 0 else (0,)
        start, least, most = first * stride, tf.cast(least, tf.int32), tf.cast(most, tf.int32)
        taps.append(
            [
                (weight, start + k * stride if k in within else tf.clip_by_value(first + k, least, most) * stride)
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
