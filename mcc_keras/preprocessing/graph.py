"""`Preprocessing` as a TensorFlow graph: the formulas of `preprocessing` for scans of any size.

The operations are few and large, all three axes in one batch, since each one adds to the start-up time of a process.
`tests/preprocessing/test_graph.py` compares both implementations: normalized voxels agree to 1e-5.
"""

import itertools

import numpy as np
import tensorflow as tf

from mcc_keras.preprocessing.graph_intensity import normalized
from mcc_keras.preprocessing.grid import EDGE, FIRST_PICK, PICK_DIGITS, SAME_SPACING, WHOLE
from mcc_keras.preprocessing.intensity import BACKGROUND_SHARE

_TURNS = np.array(list(itertools.permutations(range(3))), np.int32)


class GraphGrid:
    """Mapping between one scan's grid and the box, in tensors; see `preprocessing.Grid`.

    Args:
        image: float32 (x, y, z, channels), in stored order.
        affine: float64 (4, 4), voxel indices to RAS+ millimetres.
        preprocessing: `Preprocessing` with nothing left to fit.
    """

    def __init__(self, image, affine, preprocessing):
        self.shape, self.native = tf.shape(image)[:3], preprocessing.is_native
        self.axes, self.flips = orientation(affine)
        self._backwards = tf.concat([[False], self.flips], 0)
        spacing = tf.norm(affine[:3, :3], axis=0)
        self.low, self.high = _crop(image, spacing, preprocessing)
        self.counts = tf.gather(self.high - self.low, self.axes)
        counts = tf.cast(self.counts, tf.float64)
        self.size = self.counts if self.native else tf.constant(preprocessing.size)
        if preprocessing.spacing_mm is None:
            self.scale = counts / tf.cast(self.size, tf.float64)
        else:
            self.scale = np.float64(preprocessing.spacing_mm) / tf.gather(spacing, self.axes)
            if self.native:
                self.size = tf.maximum(tf.cast(tf.math.ceil(counts / self.scale - WHOLE), tf.int32), 1)
        self.sides = (None,) * 3 if self.native else preprocessing.size
        self._to_box = _Axes(self.counts, self.size, self.scale)
        x, y, z = (row[:n] for row, n in zip(*map(tf.unstack, (self._to_box.inside, self.size)), strict=True))
        self.inside = tf.ensure_shape(x[:, None, None] & y[:, None] & z, self.sides)

    def to_box(self, image):
        """Return an image (x, y, z, channels) on the box, channels first: (channels, *size)."""
        part = tf.slice(image, tf.concat([self.low, [0]], 0), tf.concat([self.high - self.low, [-1]], 0))
        part = tf.transpose(part, tf.concat([[3], self.axes], 0))
        box = self._to_box.resample(tf.raw_ops.Reverse(tensor=part, dims=self._backwards))
        return tf.ensure_shape(box, (image.shape[-1], *self.sides))

    def way_back(self):
        """Return the matrices (scan voxels, box voxels) of the canonical axes, and which of them only move voxels.

        They hold all voxels of the scan; those outside the crop or the box have rows of 0.
        """
        axes = _Axes(self.size, self.counts, 1 / self.scale)
        low, high = tf.gather(self.low, self.axes), tf.gather(self.shape - self.high, self.axes)
        around = tf.stack([tf.where(self.flips, high, low), tf.where(self.flips, low, high)], axis=1)
        rows = zip(axes.matrices(), tf.unstack(around), strict=True)
        return [tf.pad(matrix, tf.stack([ends, tf.zeros_like(ends)])) for matrix, ends in rows], axes.same

    def to_stored(self, canonical):
        """Return an array (x, y, z) along the canonical axes in the scan's stored order; further axes stay behind."""
        rest = list(range(3, canonical.shape.rank))
        dims = tf.concat([self.flips, tf.zeros(len(rest), tf.bool)], 0)
        turned = tf.raw_ops.Reverse(tensor=canonical, dims=dims)
        return tf.transpose(turned, tf.concat([tf.math.invert_permutation(self.axes), tf.constant(rest, tf.int32)], 0))


def normalized_box(image, grid, preprocessing):
    """Return the box (*size, channels) that the network sees.

    Args:
        image: float32 (x, y, z, channels), in stored order.
        grid: Its `GraphGrid`.
        preprocessing: `Preprocessing` with nothing left to fit.
    """
    box, counts = grid.to_box(image), [grid.inside] * image.shape[-1]
    if preprocessing.ignore_background:
        share = grid.to_box(tf.cast(image != _background(image, preprocessing), tf.float32))
        counts = tf.unstack((share >= BACKGROUND_SHARE) & grid.inside)
    channels = enumerate(zip(tf.unstack(box), counts, strict=True))
    return tf.stack([normalized(voxels, where, preprocessing, channel) for channel, (voxels, where) in channels], -1)


def orientation(affine):
    """Return which stored axis runs along each RAS+ axis, int32 (3,), and whether it runs backwards, bool (3,)."""
    columns = affine[:3, :3]
    _, u, v = tf.linalg.svd(columns / tf.norm(columns, axis=0))
    rotation = tf.matmul(u, v, transpose_b=True)
    places = np.stack([np.tile(np.arange(3), (6, 1)), _TURNS], axis=-1)
    found = tf.gather_nd(rotation, places.astype(np.int32))
    score = tf.math.top_k(tf.round(tf.abs(found) * 10.0**PICK_DIGITS), 2).values
    best = tf.argmax(tf.linalg.matvec(score, tf.constant(FIRST_PICK, tf.float64)), output_type=tf.int32)
    return tf.gather(_TURNS, best), tf.gather(found, best) < 0


class _Axes:
    """How three axes are resampled: `grid.resampling_matrix` for all of them at once.

    Args:
        n_from: int32 (3,), voxels of the source axes.
        n_to: int32 (3,), voxels of the target axes.
        scale: float64 (3,), source voxels per target voxel.
    """

    def __init__(self, n_from, n_to, scale):
        self.n_from, self.n_to = n_from, n_to
        source, target = tf.cast(n_from, tf.float64), tf.cast(n_to, tf.float64)
        self.same = tf.abs(scale - 1) < SAME_SPACING
        start = (source - target * scale) / 2
        start -= scale / 2 * tf.cast((source < scale) & (n_to % 2 == 0), tf.float64)
        start += 0.5 * tf.cast((target * scale < 1) & (n_from % 2 == 0), tf.float64)
        half = (source - target) / 2
        start = tf.where(self.same, tf.sign(half) * tf.floor(tf.abs(half)), start)
        self.scale, self.source = tf.where(self.same, tf.ones_like(scale), scale)[:, None], source[:, None]
        steps = tf.cast(tf.range(tf.reduce_max(n_to)), tf.float64) + 0.5
        self.center = start[:, None] + steps * self.scale
        self.inside = (self.center > -EDGE) & (self.center < self.source + EDGE)

    def resample(self, image):
        """Return (channels, x, y, z) on the target axes; voxels are moved if no axis changes its spacing."""
        return tf.cond(tf.reduce_all(self.same), lambda: self._moved(image), lambda: self._multiplied(image))

    def _moved(self, image):
        kept = tf.minimum(self.n_from, self.n_to)
        first, before = tf.maximum(self.n_from - self.n_to, 0) // 2, tf.maximum(self.n_to - self.n_from, 0) // 2
        part = tf.slice(image, tf.concat([[0], first], 0), tf.concat([[-1], kept], 0))
        return tf.pad(part, tf.pad(tf.stack([before, self.n_to - kept - before], axis=1), [[1, 0], [0, 0]]))

    def _multiplied(self, image):
        # Without a transposition, which would copy the whole image for each axis.
        x, y, z = (matrix[None] for matrix in self.matrices())
        n_x, n_y, n_z = tf.unstack(self.n_from)
        m_x, m_y, m_z = tf.unstack(self.n_to)
        image = tf.matmul(x, tf.reshape(image, [-1, n_x, n_y * n_z]))
        image = tf.matmul(y, tf.reshape(image, [-1, n_y, n_z]))
        image = tf.matmul(tf.reshape(image, [-1, n_z]), z[0], transpose_b=True)
        return tf.reshape(image, [-1, m_x, m_y, m_z])

    def matrices(self):
        """Return the matrix (target voxels, source voxels) of each axis."""
        voxel = tf.cast(tf.range(tf.reduce_max(self.n_from)), tf.float64)
        center, source, scale = self.center[..., None], self.source[..., None], self.scale[..., None]
        high = tf.minimum(center + scale / 2, source)  # positions outside the source have no weight
        covered = tf.maximum(tf.minimum(high, voxel + 1) - tf.maximum(center - scale / 2, voxel), 0)
        nearest = tf.clip_by_value(center - 0.5, tf.constant(0, tf.float64), source - 1)
        linear = tf.maximum(1 - tf.abs(nearest - voxel), 0)
        weights = tf.where(scale > 1, covered, linear)
        weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=2, keepdims=True))
        weights = tf.cast(weights * tf.cast(self.inside[..., None], tf.float64), tf.float32)
        sizes = tf.unstack(tf.stack([tf.ones_like(self.n_to), self.n_to, self.n_from], axis=1))
        return [tf.squeeze(tf.slice(weights, (axis, 0, 0), size), 0) for axis, size in enumerate(sizes)]


def background_of(image):
    """Return the background of each channel: the fourth smallest of the eight corners."""
    corners = tf.stack([image[x, y, z] for x in (0, -1) for y in (0, -1) for z in (0, -1)])
    return tf.sort(corners, axis=0)[3]


def _background(image, preprocessing):
    if preprocessing.background_value is not None:
        return tf.fill([image.shape[-1]], tf.constant(preprocessing.background_value, tf.float32))
    return background_of(image)


def _crop(image, spacing, preprocessing):
    """Start and end of the crop along every stored axis; the end is exclusive."""
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
