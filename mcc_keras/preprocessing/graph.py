"""`Preprocessing` as a TensorFlow graph: the formulas of `preprocessing` a second time, for scans of any size.

`tests/test_preprocessing_graph.py` holds the two together: normalised voxels agree to 1e-5.
"""

import numpy as np
import tensorflow as tf

from mcc_keras.preprocessing.grid import EDGE, SAME_SPACING, WHOLE
from mcc_keras.preprocessing.intensity import BACKGROUND_SHARE, FLAT


class GraphGrid:
    """The way from one scan's grid to the box and back, in tensors; see `preprocessing.Grid`.

    Args:
        image: float32 (x, y, z, channels), stored order.
        affine: float64 (4, 4), voxel indices to RAS+ millimetres.
        preprocessing: `Preprocessing` with nothing left to fit.
    """

    def __init__(self, image, affine, preprocessing):
        self.shape, self.size = tf.shape(image)[:3], preprocessing.size
        self.axes, self.flips = orientation(affine)
        spacing = tf.norm(affine[:3, :3], axis=0)
        self.low, self.high = _crop(image, spacing, preprocessing)
        counts = tf.unstack(tf.gather(self.high - self.low, self.axes))
        if preprocessing.spacing_mm is None:
            scales = [tf.cast(n, tf.float64) / m for n, m in zip(counts, self.size, strict=True)]
        else:
            spacing = tf.unstack(tf.gather(spacing, self.axes))
            scales = [m / mm for m, mm in zip(preprocessing.spacing_mm, spacing, strict=True)]
        self.steps = list(zip(counts, self.size, scales, strict=True))
        resampled = [resampling_matrix(*step) for step in self.steps]
        self._matrices = [tf.where(f, m[:, ::-1], m) for (m, _), f in zip(resampled, self._each_flip(), strict=True)]
        x, y, z = (inside for _, inside in resampled)
        self.inside = x[:, None, None] & y[:, None] & z

    def to_box(self, image):
        """Return an image (x, y, z, channels) on the box."""
        part = tf.slice(image, tf.concat([self.low, [0]], 0), tf.concat([self.high - self.low, [-1]], 0))
        box = _resample(tf.transpose(part, tf.concat([self.axes, [3]], 0)), self._matrices)
        return tf.ensure_shape(box, (*self.size, image.shape[-1]))

    def from_box(self, box):
        """Return what the box (*size, channels) holds on the scan's grid; 0 where it does not reach."""
        matrices = [resampling_matrix(m, n, 1 / scale)[0] for n, m, scale in self.steps]
        matrices = [tf.where(f, m[::-1], m) for m, f in zip(matrices, self._each_flip(), strict=True)]
        part = tf.transpose(_resample(box, matrices), tf.concat([tf.argsort(self.axes), [3]], 0))
        around = tf.pad(tf.stack([self.low, self.shape - self.high], axis=1), [[0, 1], [0, 0]])
        return tf.ensure_shape(tf.pad(part, around), (None, None, None, box.shape[-1]))

    def _each_flip(self):
        return tf.unstack(self.flips)


def normalised_box(image, grid, preprocessing):
    """Return the box (*size, channels) that the network sees.

    Args:
        image: float32 (x, y, z, channels), stored order.
        grid: Its `GraphGrid`.
        preprocessing: `Preprocessing` with nothing left to fit.
    """
    box, counts = grid.to_box(image), [grid.inside] * image.shape[-1]
    if preprocessing.ignore_background:
        share = grid.to_box(tf.cast(image != _background(image, preprocessing), tf.float32))
        counts = tf.unstack((share >= BACKGROUND_SHARE) & grid.inside[..., None], axis=-1)
    channels = enumerate(zip(tf.unstack(box, axis=-1), counts, strict=True))
    return tf.stack([_normalised(voxels, where, preprocessing, channel) for channel, (voxels, where) in channels], -1)


def orientation(affine):
    """Return which stored axis runs along each RAS+ axis, int32 (3,), and whether it runs backwards, bool (3,)."""
    columns = affine[:3, :3]
    _, u, v = tf.linalg.svd(columns / tf.norm(columns, axis=0))
    rotation = tf.matmul(u, v, transpose_b=True)
    score, axes, flips = tf.abs(rotation), tf.zeros(3, tf.int32), tf.zeros(3, tf.bool)
    for _ in range(3):
        best = tf.argmax(tf.reshape(score, [-1]), output_type=tf.int32)
        row, column = tf.range(3) == best // 3, tf.range(3) == best % 3
        axes = tf.where(row, best % 3, axes)
        flips = tf.where(row, rotation[best // 3, best % 3] < 0, flips)
        score = tf.where(row[:, None] | column, tf.constant(-1.0, tf.float64), score)
    return axes, flips


def resampling_matrix(n_from, n_to, scale):
    """Return the matrix (n_to, n_from) float32 of one axis, and which target voxels lie inside the source."""
    n_from, n_to, scale = (tf.cast(x, tf.float64) for x in (n_from, n_to, scale))
    start, same = (n_from - n_to * scale) / 2, tf.abs(scale - 1) < SAME_SPACING
    start = tf.where((n_from < scale) & (n_to % 2 == 0), start - scale / 2, start)
    start = tf.where((n_to * scale < 1) & (n_from % 2 == 0), start + 0.5, start)
    half = (n_from - n_to) / 2
    start = tf.where(same, tf.sign(half) * tf.floor(tf.abs(half)), start)
    scale = tf.where(same, tf.ones_like(scale), scale)
    centre = start + (tf.range(n_to) + 0.5) * scale
    inside = (centre > -EDGE) & (centre < n_from + EDGE)
    voxel = tf.range(n_from)
    low, high = centre[:, None] - scale / 2, centre[:, None] + scale / 2
    covered = tf.maximum(tf.minimum(high, voxel + 1) - tf.maximum(low, voxel), 0)
    nearest = tf.clip_by_value(centre - 0.5, tf.constant(0, tf.float64), n_from - 1)
    linear = tf.maximum(1 - tf.abs(nearest[:, None] - voxel), 0)
    weights = tf.where(scale > 1, covered, linear)
    weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=1, keepdims=True))
    return tf.cast(tf.where(inside[:, None], weights, tf.zeros_like(weights)), tf.float32), inside


def _background(image, preprocessing):
    if preprocessing.background_value is not None:
        return tf.fill([image.shape[-1]], tf.constant(preprocessing.background_value, tf.float32))
    corners = image
    for axis in range(3):
        corners = tf.gather(corners, tf.stack([0, tf.shape(image)[axis] - 1]), axis=axis)
    return tf.sort(tf.reshape(corners, (8, image.shape[-1])), axis=0)[3]


def _crop(image, spacing, preprocessing):
    """The first voxel of every stored axis that counts, and the one behind the last."""
    shape = tf.shape(image)[:3]
    if preprocessing.crop_margin_mm is None:
        return tf.zeros(3, tf.int32), shape
    where = tf.reduce_any(image != _background(image, preprocessing), axis=-1)
    ends = []
    for axis in range(3):
        hits = tf.reduce_any(where, axis=[other for other in range(3) if other != axis])
        ends.append([tf.argmax(hits, output_type=tf.int32), shape[axis] - tf.argmax(hits[::-1], output_type=tf.int32)])
    low, high = (tf.stack(each) for each in zip(*ends, strict=True))
    margin = tf.cast(tf.math.ceil(preprocessing.crop_margin_mm / spacing - WHOLE), tf.int32)
    low, high = tf.maximum(low - margin, 0), tf.minimum(high + margin, shape)
    found = tf.reduce_any(where)
    return tf.where(found, low, tf.zeros_like(low)), tf.where(found, high, shape)


def _normalised(box, counts, preprocessing, channel):
    values = tf.boolean_mask(box, counts)
    low, high, shift, scale = _scaling(values, preprocessing, channel)
    nothing = (scale == 0) | (tf.size(values) == 0)

    def rescaled(x):
        x = tf.clip_by_value(tf.cast(x, tf.float64), low, high)
        return tf.where(nothing, tf.zeros_like(x), (x - shift) / tf.where(nothing, tf.ones_like(scale), scale))

    darkest = tf.where(nothing, tf.constant(0.0, tf.float64), rescaled(tf.reduce_min(values)))
    return tf.cast(tf.where(counts, rescaled(box), darkest), tf.float32)


def _scaling(values, preprocessing, channel):
    """What to clip to, what becomes 0, what becomes 1; the last is 0 for voxels that are constant."""
    infinity, zero = tf.constant(np.inf, tf.float64), tf.constant(0.0, tf.float64)
    if preprocessing.statistics != "volume":
        low, high, shift, scale = preprocessing.statistics[channel]
        ends = (-np.inf if low is None else low, np.inf if high is None else high)
        return tuple(tf.constant(number, tf.float64) for number in (*ends, shift, scale))
    low, high = -infinity, infinity
    if preprocessing.window is not None:
        low, high = (tf.constant(end, tf.float64) for end in preprocessing.window)
    elif preprocessing.clip_percentiles is not None:
        low, high = _percentiles(values, preprocessing.clip_percentiles)
    if preprocessing.normalise == "none":
        return low, high, zero, tf.ones_like(zero)
    if preprocessing.normalise == "minmax" and preprocessing.window is not None:
        return low, high, low, high - low
    values = tf.clip_by_value(tf.cast(values, tf.float64), low, high)
    least, most = tf.reduce_min(values), tf.reduce_max(values)
    zscore = preprocessing.normalise == "zscore"
    shift = tf.reduce_mean(values) if zscore else least
    scale = tf.math.reduce_std(values) if zscore else most - least
    return low, high, shift, tf.where(scale <= FLAT * tf.maximum(tf.abs(least), tf.abs(most)), zero, scale)


def _percentiles(values, percentiles):
    """Linear between the two nearest ranks, as NumPy does."""
    # The last is repeated behind, so that nothing at all has percentiles, too; they are not used then.
    ordered = tf.cast(tf.concat([tf.sort(values), [0.0]], 0), tf.float64)
    found = []
    for percentile in percentiles:
        rank = tf.cast(tf.maximum(tf.size(values) - 1, 0), tf.float64) * np.float64(percentile) / 100
        below, above = (tf.gather(ordered, tf.cast(r, tf.int32)) for r in (tf.floor(rank), tf.math.ceil(rank)))
        found.append(below + (above - below) * (rank - tf.floor(rank)))
    return found


def _resample(image, matrices):
    for axis, matrix in enumerate(matrices):
        moved = tf.tensordot(matrix, image, [[1], [axis]])
        image = tf.transpose(moved, [*range(1, axis + 1), 0, *range(axis + 1, 4)])
    return image
