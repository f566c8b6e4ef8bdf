"""Linear maps along one axis (blur, thick slices, ghosts, splines): a small matrix each, applied to every line."""

import numpy as np
import tensorflow as tf

# A product along the first axis leaves the voxels in their order. If it were not the last one, XLA would turn the
# volume in memory, even where a change does not happen: both outcomes of its condition must lie alike.
LAST_TO_FIRST = (2, 1, 0)
EQUATIONS = ("ij,jyzc->iyzc", "ij,xjzc->xizc", "ij,xyjc->xyic")


def along_axis(image, matrix, axis):
    """Return the image with each of its lines along an axis multiplied by a matrix (new length, length)."""
    return tf.einsum(EQUATIONS[axis], matrix, image)


def smooth_field(controls, shape, *, corner=(0, 0, 0), box=None):
    """Return the cubic B-spline field (*shape, channels) of control values (n, n, n, channels).

    The control points lie evenly, the first and the last one step beyond the volume. With `box`, only the voxels of
    this box at the corner are computed, and the shape may be a tensor.
    """
    field = controls
    for axis in LAST_TO_FIRST:
        if box is None:
            weights = tf.constant(spline_weights(controls.shape[axis], shape[axis]))
        else:
            voxels = tf.cast(corner[axis] + tf.range(box[axis]), tf.float32)
            weights = _spline_weights_at(voxels, controls.shape[axis], tf.cast(shape[axis], tf.float32))
        field = along_axis(field, weights, axis)
    return field


def spline_weights(controls, n):
    """(n, controls): cubic B-spline weights of control points that reach one step beyond the volume on both sides."""
    place = 1 + (np.arange(n) + 0.5) / n * (controls - 3)
    t = np.abs(place[:, None] - np.arange(controls))
    near, far = 2 / 3 - t**2 + t**3 / 2, np.maximum(2 - t, 0) ** 3 / 6
    return np.where(t < 1, near, far).astype(np.float32)


def _spline_weights_at(voxels, controls, n):
    """The rows of `spline_weights` for some voxels, where the length is not known when the graph is built."""
    place = 1 + (voxels + 0.5) / n * (controls - 3)
    t = tf.abs(place[:, None] - tf.range(controls, dtype=tf.float32))
    near, far = 2 / 3 - t**2 + t**3 / 2, tf.maximum(2 - t, 0) ** 3 / 6
    return tf.where(t < 1, near, far)
