"""A prepared case segmented window by window: what a network that was trained on patches says of a whole box.

Windows lie evenly, at least `overlap` over each other, the first and the last at the ends of the box; a box that is
smaller is padded as a patch is. Probabilities are averaged with weights that are a product over the axes, so that their
sum is one as well and no count is kept for each voxel.
"""

import itertools
import math

import keras
import numpy as np
import tensorflow as tf

from mcc_keras.pipeline.centers import pad


class WindowedNetwork:
    """A network as a function of a whole image.

    Args:
        model: Keras model that takes images of the window's size.
        window: `Window`.
        batch_size: Windows that the network sees at a time.
    """

    def __init__(self, model, window, *, batch_size):
        self.window, self.batch_size = window, batch_size
        self.weights = [axis_weights(n, window.blend) for n in window.size]
        shape = (None, *window.size, model.input_shape[-1])

        @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)])
        def probabilities(images):
            return keras.ops.cast(model(images, training=False), "float32")

        self._probabilities = probabilities

    def __call__(self, image):
        """Return the probabilities float32 (x, y, z, classes) of an image float32 (x, y, z, channels), both NumPy."""
        size = self.window.size
        padded = pad(tf.constant(image), size).numpy()
        begins = [window_starts(n, m, self.window.overlap) for n, m in zip(padded.shape, size, strict=False)]
        weight = (self.weights[0][:, None, None] * self.weights[1][:, None] * self.weights[2])[..., None]
        places = iter([_slices(begin, size) for begin in itertools.product(*begins)])
        total = None
        while batch := list(itertools.islice(places, self.batch_size)):
            found = self._probabilities(np.stack([padded[place] for place in batch])).numpy()
            total = np.zeros((*padded.shape[:3], found.shape[-1]), np.float32) if total is None else total
            for place, each in zip(batch, found, strict=True):
                total[place] += each * weight
        for axis, (starts, each) in enumerate(zip(begins, self.weights, strict=True)):
            total /= summed_weights(starts, each).reshape([-1 if a == axis else 1 for a in range(4)])
        first = [(n - m) // 2 for n, m in zip(padded.shape, image.shape[:3], strict=False)]
        return total[_slices(first, image.shape[:3])]


def count_windows(shape, window):
    """Return the number of windows over a box of some shape (x, y, z).

    Example:

    >>> from mcc_keras.runs.window import Window
    >>> count_windows((100, 64, 20), Window(size=(64, 64, 32)))
    3
    """
    return math.prod(len(window_starts(max(n, m), m, window.overlap)) for n, m in zip(shape, window.size, strict=True))


def window_starts(length, size, overlap):
    """Return the first voxels of the windows along an axis, the first and the last at its ends.

    Args:
        length: Voxels of the axis, at least `size`.
        size: Voxels of a window.
        overlap: Least share of a window that the next one covers again.

    Example:

    >>> window_starts(100, 64, 0.5)
    [0, 18, 36]
    """
    step = max(1, math.floor(size * (1 - overlap)))
    count = math.ceil((length - size) / step) + 1
    return [number * (length - size) // max(1, count - 1) for number in range(count)]


def axis_weights(size, blend):
    """Return the weights of the voxels of a window along an axis, float32 (size,).

    Example:

    >>> axis_weights(4, "gaussian").round(2).tolist()
    [0.01, 0.61, 0.61, 0.01]
    """
    if blend == "constant":
        return np.ones(size, np.float32)
    away = np.arange(size) + 0.5 - size / 2
    return np.exp(-0.5 * np.square(away / (size / 8))).astype(np.float32)


def summed_weights(starts, weights):
    """Return the sum of the weights of all windows at each voxel of an axis, float32."""
    total = np.zeros(starts[-1] + len(weights), np.float32)
    for start in starts:
        total[start : start + len(weights)] += weights
    return total


def _slices(first, size):
    return tuple(slice(start, start + n) for start, n in zip(first, size, strict=True))
