"""`Segmenter`: preprocessing → network → restore → mask as one `tf.function`.

`evaluate`, `segment` and the exported SavedModel all call this graph, so their masks are equal by construction. The
formulas of `preprocessing` stand here a second time, in TensorFlow; `tests/test_segmenter.py` holds the two together.
"""

import numpy as np
import tensorflow as tf

from mcc_keras.errors import UsageError
from mcc_keras.preprocessing import FLAT, SAME_SPACING
from mcc_keras.runs import read_run

THRESHOLD = 0.5


class Segmenter(tf.Module):
    """A network with its preprocessing: a scan in, the mask on the scan's own grid out.

    Args:
        model: Keras model, (batch, *size, channels) to probabilities (batch, *size, classes); one class is a sigmoid.
        preprocessing: `Preprocessing` with a known size.
        flip_axes: Axes of the box (0 is left–right) that are also flipped; the predictions are averaged.
        label_values: What the mask holds for background and for each foreground class, each in [0, 255].

    Call `segment(image, affine)`: image float32 (x, y, z, channels) in stored order, affine float32 (4, 4) to RAS+
    millimetres. It returns a dict: `mask` uint8 (x, y, z), `probability` float32 (x, y, z, classes).
    """

    def __init__(self, model, preprocessing, *, flip_axes=(), label_values=(0, 1)):
        super().__init__(name="segmenter")
        if not all(0 <= value <= 255 for value in label_values):
            raise UsageError(f"Expected label values in [0, 255]. Received: label_values={label_values}.")
        classes = max(2, model.output_shape[-1])
        if len(label_values) != classes:
            raise UsageError(
                f"Expected {classes} label values, background first. Received: label_values={label_values}."
            )
        self.model, self.preprocessing = model, preprocessing
        self.flip_axes, self.label_values = tuple(flip_axes), tuple(label_values)
        channels = model.input_shape[-1]
        self.segment = tf.function(
            self._segment,
            input_signature=(
                tf.TensorSpec((None, None, None, channels), tf.float32, name="image"),
                tf.TensorSpec((4, 4), tf.float32, name="affine"),
            ),
        )

    def _segment(self, image, affine):
        # A SavedModel does not hold its callers to the signature: other ranks would broadcast without a word.
        image = tf.ensure_shape(image, (None, None, None, self.model.input_shape[-1]))
        image = tf.debugging.assert_all_finite(image, "image must be finite")
        affine = tf.debugging.assert_all_finite(tf.ensure_shape(affine, (4, 4)), "affine must be finite")
        axes, flips = _orientation(tf.cast(affine, tf.float64))
        grid = self._grid(tf.shape(image)[:3], tf.cast(affine, tf.float64), axes)
        box = self._to_box(image, axes, flips, grid)
        probability = self._restore(self._predict(box), axes, flips, grid)
        return {"mask": self._mask(probability), "probability": probability}

    def _predict(self, box):
        views = [box] + [tf.reverse(box, [axis]) for axis in self.flip_axes]
        probability = tf.cast(self.model(tf.stack(views), training=False), tf.float32)
        back = [probability[0]] + [tf.reverse(probability[i + 1], [axis]) for i, axis in enumerate(self.flip_axes)]
        return tf.add_n(back) / len(back)

    def _mask(self, probability):
        if probability.shape[-1] == 1:
            classes = tf.cast(probability[..., 0] >= THRESHOLD, tf.int32)
        else:
            classes = tf.argmax(probability, axis=-1, output_type=tf.int32)
        return tf.gather(tf.constant(self.label_values, tf.uint8), classes)

    def _grid(self, shape, affine, axes):
        """For every canonical axis: voxels of the box, voxels of the scan, scan voxels in a box voxel."""
        n_scan = tf.unstack(tf.gather(shape, axes))
        if self.preprocessing.spacing_mm is None:
            scales = [tf.cast(n, tf.float64) / m for n, m in zip(n_scan, self.preprocessing.size, strict=True)]
        else:
            spacing = tf.unstack(tf.gather(tf.norm(affine[:3, :3], axis=0), axes))
            scales = [m / mm for m, mm in zip(self.preprocessing.spacing_mm, spacing, strict=True)]
        return list(zip(self.preprocessing.size, n_scan, scales, strict=True))

    def _to_box(self, image, axes, flips, grid):
        box, inside = tf.transpose(image, tf.concat([axes, [3]], 0)), []
        for axis, (n_box, n_scan, scale) in enumerate(grid):
            matrix, within = _resampling_matrix(n_scan, n_box, scale)
            matrix = tf.where(flips[axis], matrix[:, ::-1], matrix)
            box = _along(matrix, box, axis)
            inside.append(within)
        inside = inside[0][:, None, None] & inside[1][:, None] & inside[2]
        box = tf.ensure_shape(box, (*self.preprocessing.size, image.shape[-1]))
        return tf.stack([self._normalise(channel, inside) for channel in tf.unstack(box, axis=-1)], axis=-1)

    def _normalise(self, box, inside):
        values = tf.cast(tf.boolean_mask(box, inside), tf.float64)
        box = tf.cast(box, tf.float64)
        if self.preprocessing.clip_percentiles is not None:
            low, high = (_percentile(values, q) for q in self.preprocessing.clip_percentiles)
            values, box = (tf.clip_by_value(x, low, high) for x in (values, box))
        if self.preprocessing.normalise != "none":
            zscore = self.preprocessing.normalise == "zscore"
            least, most = tf.reduce_min(values), tf.reduce_max(values)
            shift = tf.reduce_mean(values) if zscore else least
            scale = tf.math.reduce_std(values) if zscore else most - least
            flat = scale <= FLAT * tf.maximum(tf.abs(least), tf.abs(most))
            values, box = (tf.where(flat, tf.zeros_like(x), (x - shift) / scale) for x in (values, box))
        return tf.cast(tf.where(inside, box, tf.reduce_min(values)), tf.float32)

    def _restore(self, box, axes, flips, grid):
        classes = box.shape[-1]
        for axis, (n_box, n_scan, scale) in enumerate(grid):
            matrix = _resampling_matrix(n_box, n_scan, 1 / scale)[0]
            box = _along(tf.where(flips[axis], matrix[::-1], matrix), box, axis)
        probability = tf.transpose(box, tf.concat([tf.argsort(axes), [3]], 0))
        probability = tf.ensure_shape(probability, (None, None, None, classes))
        if classes > 1:  # where the box does not reach there is background
            foreground = probability[..., 1:]
            background = 1 - tf.reduce_sum(foreground, axis=-1, keepdims=True)
            probability = tf.concat([background, foreground], axis=-1)
        return probability


def load_segmenter(run):
    """Return the `Segmenter` of a finished run.

    Args:
        run: Run folder, or a `Run`.
    """
    run = read_run(run)
    return Segmenter(
        run.load_model(),
        run.preprocessing,
        flip_axes=run.settings["flip_axes"],
        label_values=run.settings["label_values"],
    )


def _orientation(affine):
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


def _resampling_matrix(n_from, n_to, scale):
    n_from, n_to = tf.cast(n_from, tf.float64), tf.cast(n_to, tf.float64)
    start, same = (n_from - n_to * scale) / 2, tf.abs(scale - 1) < SAME_SPACING
    half = (n_from - n_to) / 2
    start = tf.where(same, tf.sign(half) * tf.floor(tf.abs(half)), start)
    scale = tf.where(same, tf.ones_like(scale), scale)
    centre = start + (tf.range(n_to) + 0.5) * scale
    inside = (centre > 0) & (centre < n_from)
    voxel = tf.range(n_from)
    low, high = centre[:, None] - scale / 2, centre[:, None] + scale / 2
    covered = tf.maximum(tf.minimum(high, voxel + 1) - tf.maximum(low, voxel), 0)
    nearest = tf.clip_by_value(centre - 0.5, tf.constant(0, tf.float64), n_from - 1)
    linear = tf.maximum(1 - tf.abs(nearest[:, None] - voxel), 0)
    weights = tf.where(scale > 1, covered, linear)
    weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=1, keepdims=True))
    return tf.cast(tf.where(inside[:, None], weights, tf.zeros_like(weights)), tf.float32), inside


def _along(matrix, image, axis):
    moved = tf.tensordot(matrix, image, [[1], [axis]])
    order = [*range(1, axis + 1), 0, *range(axis + 1, 4)]
    return tf.transpose(moved, order)


def _percentile(values, q):
    """Linear between the two nearest ranks, as NumPy does."""
    ordered = tf.sort(values)
    rank = tf.cast(tf.size(values) - 1, tf.float64) * np.float64(q / 100)
    low = tf.floor(rank)
    below, above = (tf.gather(ordered, tf.cast(r, tf.int32)) for r in (low, tf.math.ceil(rank)))
    return below + (above - below) * (rank - low)
