"""Windows over a box: where they lie, how they are blended, and the few rows of probabilities that are held at a time.

A box is seen in layers of windows. Each layer lies across the first axis; its windows are added to the rows of one
buffer, whose rows are used again as soon as no later window touches them, so that memory does not grow with classes
times volume. Weights are products of one weight for each axis, and so is their sum over all windows: no map of counts
is needed.

`tf.raw_ops.InplaceAdd` changes its first operand. That is safe here: the buffer belongs to one call, is never a
constant or a variable, and each operation on it waits for the one before.
"""

import math

import numpy as np
import tensorflow as tf

DEVIATIONS = 8  # a window's side holds so many standard deviations of the Gaussian


class Whole:
    """The box as one window: the network sees all of it.

    Args:
        box: float32 (x, y, z, channels).
        predict: Function of the box that returns float32 (x, y, z, classes).
        classes: Channels of the network's answer.
    """

    def __init__(self, box, predict, classes):
        self.box, self.predict, self.classes = box, predict, classes

    def start(self, most_rows):
        """Return the state of a new call, from which any row can be taken."""
        del most_rows
        return (self.predict(self.box),)

    def advance(self, state, until):
        """Return the state in which the rows below `until` are whole."""
        del until
        return state

    def rows(self, state, low, high):
        """Return the probabilities (rows, y, z, classes) of the rows from `low` to `high`."""
        return state[0][low:high]


class Windows:
    """The box in overlapping windows.

    Args:
        box: float32 (x, y, z, channels), at least as large as the window.
        window: `Window`.
        predict: Function of a window (*size, channels) that returns float32 (*size, classes).
        classes: Channels of the network's answer.
    """

    def __init__(self, box, window, predict, classes):
        self.box, self.size, self.predict, self.classes = box, window.size, predict, classes
        self.sides = tf.unstack(tf.shape(box)[:3])
        self.starts = [window_starts(*pair, window.overlap) for pair in zip(self.sides, self.size, strict=True)]
        axes = zip(self.starts, self.sides, self.size, strict=True)
        self.weights = [_weights(*axis, window.blend) for axis in axes]
        self.ends = tf.concat([self.starts[0], self.sides[:1]], 0)  # rows that are whole after so many layers

    def start(self, most_rows):
        """Return the state of a new call, for callers that take at most `most_rows` rows at a time."""
        ring = tf.minimum(self.sides[0], self.size[0] + most_rows)
        shape = tf.stack([ring * self.sides[1], self.sides[2] * self.classes])
        return tf.constant(0), tf.raw_ops.Empty(shape=shape, dtype=tf.float32, init=True)

    def advance(self, state, until):
        """Return the state in which the rows below `until` are whole: further layers are computed."""

        def lacks(layer, _):
            return self.ends[layer] < until

        return tf.while_loop(lacks, self._add_layer, state, parallel_iterations=1)

    def rows(self, state, low, high):
        """Return the probabilities (rows, y, z, classes) of the rows from `low` to `high`, which must be whole."""
        _, y, z = self.sides
        buffer = tf.reshape(state[1], [-1, y, z, self.classes])
        return tf.gather(buffer, tf.range(low, high) % tf.shape(buffer)[0])

    def _add_layer(self, layer, buffer):
        _, y, z = self.sides
        first = self.starts[0][layer]
        seen = tf.where(layer > 0, self.starts[0][layer - 1], 0) + self.size[0]
        ring = tf.shape(buffer)[0] // y

        def clear(row, buffer):
            places, nothing = row % ring * y + tf.range(y), tf.zeros([y, z * self.classes])
            return row + 1, tf.raw_ops.InplaceUpdate(x=buffer, i=places, v=nothing)

        clearing = (seen, buffer)
        _, buffer = tf.while_loop(lambda row, _: row < first + self.size[0], clear, clearing, parallel_iterations=1)
        rows = (first + tf.range(self.size[0])) % ring * y
        along_z = tf.size(self.starts[2])

        def add(number, buffer):
            across, along = number // along_z, number % along_z
            corner = (first, self.starts[1][across], self.starts[2][along])
            found = self._window(corner, [w[k] for w, k in zip(self.weights, (layer, across, along), strict=True)])
            places = tf.reshape(rows[:, None] + corner[1] + tf.range(self.size[1]), [-1])
            return number + 1, tf.raw_ops.InplaceAdd(x=buffer, i=places, v=found)

        number = tf.size(self.starts[1]) * along_z
        _, buffer = tf.while_loop(lambda k, _: k < number, add, (tf.constant(0), buffer), parallel_iterations=1)
        return layer + 1, buffer

    def _window(self, corner, weights):
        """Return the weighted probabilities of one window as rows (x · y, z · classes) of the buffer."""
        part = tf.slice(self.box, tf.stack([*corner, 0]), [*self.size, -1])
        along_x, along_y, along_z = weights
        found = self.predict(tf.ensure_shape(part, (*self.size, self.box.shape[-1])))
        found *= (along_x[:, None] * along_y)[:, :, None, None] * along_z[:, None]
        behind = self.sides[2] - corner[2] - self.size[2]
        padded = tf.pad(found, [[0, 0], [0, 0], [corner[2], behind], [0, 0]])
        return tf.reshape(padded, [self.size[0] * self.size[1], -1])


def window_starts(side, size, overlap):
    """Return where the windows of one axis begin, int32 (n,): evenly from one end of the box to the other.

    Args:
        side: Voxels of the box, at least `size`.
        size: Voxels of the window.
        overlap: Least share of a window that the next one covers again.

    Example:

    >>> window_starts(20, 8, 0.5).numpy()
    array([ 0,  4,  8, 12], dtype=int32)
    """
    step = max(1, int(size * (1 - overlap)))
    steps = -(-(side - size) // step)
    return tf.range(steps + 1) * (side - size) // tf.maximum(steps, 1)


def count_windows(shape, window):
    """Return the number of windows over a box of some shape (x, y, z).

    Example:

    >>> from mcc_keras.runs.window import Window
    >>> count_windows((100, 64, 20), Window(size=(64, 64, 32)))
    3
    """
    pairs = zip(shape, window.size, strict=True)
    return math.prod(int(tf.size(window_starts(max(n, m), m, window.overlap))) for n, m in pairs)


def blend_weights(size, blend):
    """Return the weight of each voxel of a window along one axis, float32 (size,), above 0.

    Args:
        size: Voxels of the window.
        blend: `"gaussian"` or `"constant"`.

    Example:

    >>> blend_weights(4, "gaussian").round(3)
    array([0.011, 0.607, 0.607, 0.011], dtype=float32)
    """
    if blend == "constant":
        return np.ones(size, np.float32)
    places = (np.arange(size) + 0.5 - size / 2) / (size / DEVIATIONS)
    return np.exp(-0.5 * places**2).astype(np.float32)


def pad_to_window(box, window):
    """Return the box, padded on both sides to at least the window with the lowest value of each channel; the widths.

    Args:
        box: float32 (x, y, z, channels).
        window: `Window`.
    """
    channels, lacking = box.shape[-1], tf.maximum(tf.constant(window.size) - tf.shape(box)[:3], 0)
    widths = tf.stack([lacking // 2, lacking - lacking // 2], axis=1)

    def padded():
        around = tf.pad(widths, [[0, 1], [0, 0]])
        inside = tf.pad(tf.ones_like(box, tf.bool), around)
        return tf.where(inside, tf.pad(box, around), tf.reduce_min(box, axis=(0, 1, 2)))

    box = tf.cond(tf.reduce_any(lacking > 0), padded, lambda: box)
    return tf.ensure_shape(box, (None, None, None, channels)), widths


def _weights(starts, side, size, blend):
    """Return the weight of each window's voxels along one axis, (windows, size): in sum 1 for each voxel of the box."""
    own = tf.constant(blend_weights(size, blend))
    places = tf.range(side) - starts[:, None]
    inside = (places >= 0) & (places < size)
    total = tf.reduce_sum(tf.where(inside, tf.gather(own, tf.clip_by_value(places, 0, size - 1)), 0), axis=0)
    return own / tf.gather(total, starts[:, None] + tf.range(size))
