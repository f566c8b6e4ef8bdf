"""Intensities of one channel as a TensorFlow graph: the formulas of `preprocessing.intensity`.

Voxels are read in chunks, so that no temporary is as large as the scan. Percentiles are found by counting bits in two
passes instead of sorting; sums are in float64. No shape depends on the values of the voxels.
"""

import numpy as np
import tensorflow as tf

from mcc_keras.preprocessing.intensity import FLAT

CHUNK = 1 << 22  # voxels: 32 MB in float64
_HALF = 1 << 16  # values of half of the 32 bits of a voxel


def normalized(box, counts, preprocessing, channel):
    """Return a channel of the box (x, y, z) clipped and normalized; voxels outside `counts` become the lowest value.

    Args:
        box: float32 (x, y, z).
        counts: bool (x, y, z), the voxels from which percentiles, mean and range are computed.
        preprocessing: `Preprocessing` with nothing left to fit.
        channel: Index of the channel.
    """
    voxels = _Voxels(tf.reshape(box, [-1]), tf.reshape(counts, [-1]))
    low, high, shift, scale = _scaling(voxels, preprocessing, channel)
    nothing = (scale == 0) | (voxels.number == 0)
    scale = tf.cast(tf.where(nothing, tf.ones_like(scale), scale), tf.float32)
    # float32 with the accuracy of float64: the shift is subtracted in two steps, and the limits are shifted as well.
    coarse = tf.cast(shift, tf.float32)
    fine = tf.cast(shift - tf.cast(coarse, tf.float64), tf.float32)
    low, high = tf.cast(low - shift, tf.float32), tf.cast(high - shift, tf.float32)

    def rescaled(x):
        return tf.clip_by_value(x - coarse - fine, low, high) / scale

    darkest = tf.where(nothing, 0.0, rescaled(voxels.least))
    return tf.where(counts & ~nothing, rescaled(box), darkest)


class _Voxels:
    """Voxels (n,) and which of them count, with sums over all that do."""

    def __init__(self, values, counts):
        self.values, self.counts = values, counts

        def add(total, values, counts):
            number, least, most = total
            return (
                number + tf.math.count_nonzero(counts, dtype=tf.int32),
                tf.minimum(least, tf.reduce_min(tf.where(counts, values, np.inf))),
                tf.maximum(most, tf.reduce_max(tf.where(counts, values, -np.inf))),
            )

        self.number, self.least, self.most = self.sum(add, (0, np.float32(np.inf), np.float32(-np.inf)))

    def sum(self, add, start):
        """Return a tuple of totals after `add(total, values, counts)` of every chunk."""
        total, length = tuple(map(tf.constant, start)), self.values.shape[0]
        if length is not None and length <= CHUNK:
            return add(total, self.values, self.counts)
        length = tf.size(self.values)

        def add_next(place, *total):
            ends = slice(place, place + CHUNK)
            return (place + CHUNK, *add(total, self.values[ends], self.counts[ends]))

        # One iteration at a time, since parallel ones would each hold a chunk.
        return tf.while_loop(lambda place, *_: place < length, add_next, (0, *total), parallel_iterations=1)[1:]

    def moments(self, low, high):
        """Return mean and standard deviation of the clipped voxels."""
        origin = tf.clip_by_value(tf.cast(self.least, tf.float64), low, high)

        def add(total, values, counts):
            apart = tf.clip_by_value(tf.cast(values, tf.float64), low, high) - origin
            apart = tf.where(counts, apart, tf.zeros_like(apart))
            return total[0] + tf.reduce_sum(apart), total[1] + tf.reduce_sum(apart * apart)

        first, second = self.sum(add, (np.float64(0), np.float64(0)))
        number = tf.cast(self.number, tf.float64)
        mean = first / number
        return origin + mean, tf.sqrt(tf.maximum(second / number - mean * mean, 0))

    def percentiles(self, percentiles):
        """Return two percentiles: linear between the two nearest ranks, as NumPy does."""
        exact = tf.cast(tf.maximum(self.number - 1, 0), tf.float64) * np.float64(percentiles) / 100
        whole = tf.floor(exact)
        below, above = tf.unstack(tf.cast(self._ranked(tf.stack([whole, tf.math.ceil(exact)])), tf.float64))
        return tf.unstack(below + (above - below) * (exact - whole))

    def _ranked(self, ranks):
        """Return the voxels (2, 2) of some ranks: their upper bits are found by counting, then the lower ones.

        On the CPU, since TensorFlow has no deterministic kernel that counts on a GPU.
        """
        with tf.device("/CPU:0"):
            ranks = tf.reshape(tf.cast(ranks, tf.int32), [4])
            (upper,) = self.sum(_count(lambda upper, _: upper, _HALF), (np.zeros(_HALF, np.int32),))
            part, ranks = _find(tf.tile(upper[None], [4, 1]), ranks)
            # Where the counts of a part of the upper bits begin; voxels of all other parts are counted by none.
            slot = 4 - tf.reduce_max([4, 3, 2, 1] * tf.cast(tf.range(_HALF + 1)[:, None] == part, tf.int32), axis=1)
            begin = slot * _HALF
            add = _count(lambda upper, lower: tf.gather(begin, upper) + lower, 4 * _HALF)
            (lower,) = self.sum(add, (np.zeros(4 * _HALF, np.int32),))
            bits, _ = _find(tf.gather(tf.reshape(lower, [4, _HALF]), tf.gather(slot, part)), ranks)
            return tf.reshape(tf.bitcast(_ordered((part - _HALF // 2) * _HALF + bits), tf.float32), [2, 2])


def _ordered(bits):
    """Return integers that are in the order of the float32 numbers of these bits, or the bits again."""
    return tf.bitwise.bitwise_xor(bits, tf.bitwise.bitwise_and(tf.bitwise.right_shift(bits, 31), 0x7FFFFFFF))


def _count(key, size):
    """Return a function that adds how often each key below `size` occurs."""

    def add(total, values, counts):
        bits = _ordered(tf.bitcast(values, tf.int32))
        upper = tf.where(counts, tf.bitwise.right_shift(bits, 16) + _HALF // 2, _HALF)
        keys = key(upper, tf.bitwise.bitwise_and(bits, _HALF - 1))
        found = tf.raw_ops.DenseBincount(input=keys, size=size, weights=tf.constant([], tf.int32), binary_output=False)
        return (total[0] + found,)

    return add


def _find(counts, ranks):
    """Return in which of the counts (4, n) the rank (4,) of each row lies, and its rank among these."""
    behind = tf.cumsum(counts, axis=1)
    place = tf.raw_ops.UpperBound(sorted_inputs=behind, values=ranks[:, None])[:, 0]
    place = tf.minimum(place, counts.shape[1] - 1)  # no voxel counts
    return place, ranks - tf.gather(behind - counts, place, batch_dims=1)


def _scaling(voxels, preprocessing, channel):
    """Return low, high, shift and scale; the scale is 0 for constant voxels."""
    infinity, zero, one = (tf.constant(number, tf.float64) for number in (np.inf, 0, 1))
    if preprocessing.statistics != "volume":
        low, high, shift, scale = preprocessing.statistics[channel]
        ends = (-np.inf if low is None else low, np.inf if high is None else high)
        return tuple(tf.constant(number, tf.float64) for number in (*ends, shift, scale))
    low, high = -infinity, infinity
    if preprocessing.window is not None:
        low, high = (tf.constant(end, tf.float64) for end in preprocessing.window)
    elif preprocessing.clip_percentiles is not None:
        low, high = voxels.percentiles(preprocessing.clip_percentiles)
    if preprocessing.normalize == "none":
        return low, high, zero, one
    if preprocessing.normalize == "minmax" and preprocessing.window is not None:
        return low, high, low, high - low
    least, most = (tf.clip_by_value(tf.cast(end, tf.float64), low, high) for end in (voxels.least, voxels.most))
    shift, scale = voxels.moments(low, high) if preprocessing.normalize == "zscore" else (least, most - least)
    return low, high, shift, tf.where(scale <= FLAT * tf.maximum(tf.abs(least), tf.abs(most)), zero, scale)
