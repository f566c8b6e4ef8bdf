"""`Slabs`: the masks and probabilities of a scan in parts, for those who write them to disk."""

import numpy as np
import tensorflow as tf


class Slabs:
    """Iterate over the slabs of a scan from Python; the operations are those of the graph.

    Args:
        graph: `ScanGraph`.
        signature: `tf.TensorSpec`s of image and affine.

    Call it with the image and the affine. It yields `(index, mask, probability)`: index is three slices of the scan's
    stored axes, mask uint8 or uint16 (x, y, z) and probability float32 (x, y, z, classes) the voxels there.
    """

    def __init__(self, graph, signature):
        self.graph, self.channels = graph, signature[0].shape[-1]
        self._prepare = tf.function(self._prepared, autograph=False, input_signature=signature)
        self._slab = tf.function(self._next, autograph=False, reduce_retracing=True)

    def __call__(self, image, affine):
        scans, states, axes, flips, rows = self._prepare(image, affine)
        axes, flips, rows = axes.numpy(), flips.numpy(), int(rows)
        number = int(scans[0].ends.shape[1])
        for first in range(0, number, rows):
            states, mask, probability = self._slab(scans, states, tf.constant(first), tf.constant(rows))
            count = mask.shape[0]
            index = [slice(None)] * 3
            index[axes[0]] = slice(number - first - count, number - first) if flips[0] else slice(first, first + count)
            turned = [np.flip(part.numpy(), np.flatnonzero(flips)) for part in (mask, probability)]
            yield tuple(index), turned[0].transpose(np.argsort(axes)), turned[1].transpose(*np.argsort(axes), 3)

    def _prepared(self, image, affine):
        scans, grid = self.graph.prepare(*checked(image, affine, self.channels))
        rows, _ = self.graph.slab_rows(scans)
        return scans, self.graph.start(scans), grid.axes, grid.flips, rows

    def _next(self, scans, states, first, rows):
        return self.graph.slab(scans, states, first, rows)


def checked(image, affine, channels):
    """Return image (x, y, z, channels) and affine as float64, of these shapes and finite.

    A SavedModel does not hold its callers to the signature: other ranks would broadcast without a word.
    """
    image = tf.ensure_shape(image, (None, None, None, channels))
    image = tf.debugging.assert_all_finite(image, "image must be finite")
    affine = tf.debugging.assert_all_finite(tf.ensure_shape(affine, (4, 4)), "affine must be finite")
    return image, tf.cast(affine, tf.float64)
