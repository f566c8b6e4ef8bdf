"""Interpretation and validation of `y_true` and `y_pred`, for losses and metrics.

C = `y_pred.shape[-1]` decides what `y_true` is:

| `y_true` | C = 1 | C > 1 |
|---|---|---|
| rank of `y_pred`, last axis C | the target itself, hard or soft | one-hot or soft target |
| rank of `y_pred`, last axis 1 | – | integer labels |
| shape of `y_pred` without its last axis | refused: add the channel axis | integer labels |

Classes exclude each other: the channels of a one-hot or soft target sum to 1 in every voxel that has a weight. Losses
that compare each channel by itself, and all of them, take regions that overlap.
"""

import math
import numbers
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from mcc_keras.errors import UsageError

RESIDUE = 1e-3  # how far interpolation and half precision may leave [0, 1], or a sum of 1


class Pair(NamedTuple):
    """Target and prediction of one batch, checked.

    `dense` (batch, ..., C), or None where integer `labels` (batch, ...) were given; `y_pred` probabilities or logits
    (batch, ..., C); `weight` (batch, ..., 1) or None; `valid`, a scalar that is False where values are refused.
    """

    dense: object
    labels: object
    y_pred: object
    weight: object
    valid: object

    @property
    def y_true(self):
        """The target as (batch, ..., C), one-hot where labels were given."""
        if self.dense is not None:
            return self.dense
        return ops.one_hot(self.labels, self.y_pred.shape[-1], dtype=self.y_pred.dtype)


def pair(y_true, y_pred, weight=None, *, ignore_class=None, check_range=False, exclusive=True):
    """Return the `Pair` of a target and a prediction.

    Args:
        y_true: Target, see the table above.
        y_pred: Prediction (batch, ..., C), float.
        weight: Weight of each voxel, (batch, ..., 1) or (batch, ...), or None.
        ignore_class: Voxels with this label get weight 0.
        check_range: Whether `y_pred` must lie in [0, 1].
        exclusive: Whether the channels of a one-hot or soft target must sum to 1.

    Raises:
        UsageError: Shapes that do not fit; labels outside 0 ... C - 1, targets outside [0, 1] or of classes that
            overlap, or predictions outside [0, 1] where values are known (in a compiled graph the loss is NaN).
    """
    kind = target_kind(y_true.shape, y_pred.shape)
    agree = _agree(y_true, y_pred)
    if weight is not None and len(weight.shape) < len(y_pred.shape):
        weight = weight[..., None]
    y_true, weight = _without_ignored(y_true, y_pred, weight, kind=kind, ignore_class=ignore_class)
    if kind == "labels":
        labels = y_true[..., 0] if len(y_true.shape) == len(y_pred.shape) else y_true
        sound = _labels_fit(labels, y_pred.shape[-1])
        # Labels that do not fit would be looked up beyond the end; their loss is NaN whatever stands here.
        labels = ops.cast(labels, "int32") * ops.cast(sound, "int32")
        ready = Pair(None, labels, y_pred, weight, sound)
    else:
        dense = ops.cast(y_true, y_pred.dtype)
        ready = Pair(dense, None, y_pred, weight, _is_distribution(dense, weight, exclusive=exclusive))
    valid = ready.valid if agree is True else ops.logical_and(ready.valid, agree)
    if check_range:
        valid = ops.logical_and(valid, ops.logical_not(_leaves_range(y_pred)))
    if known(valid) is False:
        raise _prediction_error(y_pred) if known(ready.valid) else _target_error(y_true, y_pred, kind=kind)
    return ready._replace(valid=valid)


def _without_ignored(y_true, y_pred, weight, *, kind, ignore_class):
    """Set ignored voxels to 0 and their weight as well."""
    if ignore_class is None:
        return y_true, weight
    if kind == "dense" and y_pred.shape[-1] > 1:
        raise UsageError(
            f"`ignore_class` needs integer labels. Received: ignore_class={ignore_class}, "
            f"y_true.shape={tuple(y_true.shape)}. Give labels (batch, ..., 1), or a `sample_weight` per voxel."
        )
    if not _can_hold(y_true.dtype, ignore_class):
        return y_true, weight
    counted = ops.not_equal(y_true, ops.cast(ignore_class, y_true.dtype))
    y_true = ops.where(counted, y_true, ops.zeros_like(y_true))
    counted = ops.cast(counted, y_pred.dtype)
    counted = counted if len(counted.shape) == len(y_pred.shape) else counted[..., None]
    return y_true, counted if weight is None else weight * counted


def _can_hold(dtype, label):
    """Return whether an array of this type can hold the label: 255 does not fit in bool, nor -1 in uint8."""
    dtype = keras.backend.standardize_dtype(dtype)
    if "float" in dtype:
        return True
    least, most = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return least <= label <= most


def checked_ignore_class(ignore_class):
    """Return `ignore_class` as an int, or None.

    Raises:
        UsageError: If it is neither.
    """
    if ignore_class is None:
        return None
    if not isinstance(ignore_class, numbers.Integral) or isinstance(ignore_class, bool):
        raise UsageError(f"`ignore_class` must be an integer label or None. Received: ignore_class={ignore_class!r}")
    return int(ignore_class)


def _labels_fit(labels, classes):
    """Return whether labels are whole numbers of 0 ... classes - 1."""
    if "64" in keras.backend.standardize_dtype(labels.dtype):
        labels = ops.cast(labels, "float32")  # a GPU has no minimum of 64-bit integers
    elif keras.backend.standardize_dtype(labels.dtype) in ("bool", "uint32"):
        labels = ops.cast(labels, "int32")
    fit = ops.logical_and(ops.min(labels) >= 0, ops.max(labels) < classes)
    if "float" in keras.backend.standardize_dtype(labels.dtype):
        fit = ops.logical_and(fit, ops.all(ops.floor(labels) == labels))
    return fit


def _is_distribution(dense, weight, *, exclusive):
    """Return whether a target lies in [0, 1] and its channels, if exclusive, sum to 1 where voxels have a weight."""
    sound = ops.min(dense) >= -RESIDUE
    classes = dense.shape[-1]
    if classes == 1 or not exclusive:
        return ops.logical_and(sound, ops.max(dense) <= 1 + RESIDUE)
    sums = _class_sums(dense)
    if weight is not None:
        weight = ops.broadcast_to(weight, (*ops.shape(dense)[:-1], 1))
        sums = ops.where(ops.reshape(weight, ops.shape(sums)) > 0, sums, 1.0)
    exclusive = ops.logical_and(ops.min(sums) >= 1 - RESIDUE, ops.max(sums) <= 1 + RESIDUE)
    return ops.logical_and(sound, exclusive)


def _class_sums(dense):
    """Return the sum over classes of each voxel, (-1, voxels of a row).

    As a product of rows of up to 8 voxels with a matrix of 0 and 1: on a CPU a third of the time of a sum over an axis
    that short.
    """
    classes = dense.shape[-1]
    row = math.gcd(8, math.prod(length for length in dense.shape[:-1] if length))
    ones = np.kron(np.eye(row), np.ones((classes, 1)))
    return ops.matmul(ops.reshape(dense, (-1, row * classes)), ops.convert_to_tensor(ones, dtype=dense.dtype))


def _leaves_range(y_pred):
    """Return whether a prediction leaves [0, 1]; NaN does not, and makes the loss NaN by itself."""
    return ops.logical_or(ops.min(y_pred) < -RESIDUE, ops.max(y_pred) > 1 + RESIDUE)


def _target_error(y_true, y_pred, *, kind):
    """Return the error about the values of a target."""
    span = f"from {float(ops.min(ops.cast(y_true, 'float32'))):g} to {float(ops.max(ops.cast(y_true, 'float32'))):g}"
    if kind == "labels":
        return UsageError(
            f"`y_true` must hold whole labels from 0 to {y_pred.shape[-1] - 1}, one for each channel of `y_pred`. "
            f"Received: labels {span}, y_pred.shape={tuple(y_pred.shape)}. "
            "Predict a channel for each class, or set `ignore_class`."
        )
    values = ops.cast(y_true, "float32")
    if float(ops.min(values)) >= -RESIDUE and float(ops.max(values)) <= 1 + RESIDUE:
        sums = ops.sum(values, axis=-1)
        return UsageError(
            "The channels of `y_true` must sum to 1 in every voxel: classes exclude each other. "
            f"Received: sums from {float(ops.min(sums)):g} to {float(ops.max(sums)):g}, "
            f"y_true.shape={tuple(y_true.shape)}. Add a channel for the background, make regions exclusive, and set "
            "the `sample_weight` of voxels to leave out to 0."
        )
    return UsageError(
        f"`y_true` must lie in [0, 1]. Received: values {span}. Map the foreground to 1, or set `ignore_class`."
    )


def _prediction_error(y_pred):
    """Return the error about predictions that are no probabilities."""
    return UsageError(
        "`y_pred` must lie in [0, 1]. "
        f"Received: values from {float(ops.min(y_pred)):g} to {float(ops.max(y_pred)):g}. "
        "Set from_logits=True, or give the network an activation."
    )


def target_kind(true_shape, pred_shape):
    """Return "dense" or "labels" by the table above.

    None, an unknown length, fits any length, but for channels: they decide what a target is and must be known.

    Example:

    >>> target_kind((2, 8, 8, 8, 1), (2, 8, 8, 8, 4))
    'labels'

    Raises:
        UsageError: If the shapes do not fit, with both in the text.
    """
    true_shape, pred_shape = _as_tuple(true_shape), _as_tuple(pred_shape)
    received = f"Received: y_true.shape={true_shape}, y_pred.shape={pred_shape}."
    classes = pred_shape[-1] if pred_shape and len(pred_shape) > 1 else None
    if classes is None:
        raise UsageError(f"`y_pred` must be (batch, ..., channels) with a known number of channels. {received}")
    if true_shape is None or (len(true_shape) == len(pred_shape) and true_shape[-1] is None):
        raise UsageError(
            "`y_true` must have a known number of channels, which distinguishes labels from one-hot targets. "
            f"{received} Set its shape in the data set, as with tf.ensure_shape(mask, {(*pred_shape[1:-1], 1)})."
        )
    if fits(true_shape, pred_shape):
        return "dense"
    if classes > 1 and (fits(true_shape, (*pred_shape[:-1], 1)) or fits(true_shape, pred_shape[:-1])):
        return "labels"
    way_out = "Add the channel axis to a mask with `mask[..., None]`." if len(true_shape) == len(pred_shape) - 1 else ""
    expected = "`(batch, ..., 1)`" if classes == 1 else f"`(batch, ..., {classes})`, or labels `(batch, ..., 1)`"
    raise UsageError(f"`y_true` must have the shape of `y_pred`, {expected}. {received} {way_out}".rstrip())


def _as_tuple(shape):
    """Return a shape as a tuple, or None where even the rank is unknown."""
    try:
        return tuple(shape)
    except ValueError:
        return None


def fits(shape, other):
    """Return whether two shapes can be the same; None stands for any length."""
    return len(shape) == len(other) and all(None in (a, b) or a == b for a, b in zip(shape, other, strict=True))


def _agree(y_true, y_pred):
    """Return True where all axes but the channels are known to agree, else a scalar that a graph computes.

    Two axes of which one is unknown can differ, and an axis of length 1 would be repeated without a word.
    """
    unknown = [
        axis for axis, lengths in enumerate(zip(y_true.shape, y_pred.shape[:-1], strict=False)) if None in lengths
    ]
    agree, true_shape, pred_shape = True, ops.shape(y_true), ops.shape(y_pred)
    for axis in unknown:
        agree = ops.logical_and(agree, ops.equal(true_shape[axis], pred_shape[axis]))
    return agree


def check_voxels(pred_shape, *, pool, pooled):
    """Refuse to score single samples that have no axis of voxels.

    Args:
        pred_shape: Shape of the prediction.
        pool: How voxels are pooled.
        pooled: The value of `pool` that pools samples.

    Raises:
        UsageError: If the prediction is (batch, channels) and each sample is scored by itself.
    """
    if len(pred_shape) == 2 and pool != pooled:
        raise UsageError(
            "`y_pred` must have an axis of voxels, (batch, ..., channels): each sample is scored by itself. "
            f"Received: y_pred.shape={tuple(pred_shape)}, pool={pool!r}. Set pool={pooled!r} to score all together."
        )


def weight_kind(weight_shape, pred_shape):
    """Return "sample" for (batch,), (batch, 1), ... or a scalar, and "voxel" for (batch, ..., 1) or (batch, ...).

    Raises:
        UsageError: If it is neither.
    """
    if all(length == 1 for length in weight_shape[1:]):
        if not weight_shape or None in (weight_shape[0], pred_shape[0]) or weight_shape[0] in (1, pred_shape[0]):
            return "sample"
    elif fits(weight_shape, pred_shape[:-1]) or fits(weight_shape, (*pred_shape[:-1], 1)):
        return "voxel"
    raise UsageError(
        "`sample_weight` must be (batch,), one for each sample, or (batch, ..., 1), one for each voxel. "
        f"Received: sample_weight.shape={tuple(weight_shape)}, y_pred.shape={tuple(pred_shape)}."
    )


def known(condition):
    """Return the truth of a scalar tensor, or None inside a compiled graph, where it is not known yet."""
    try:
        return bool(condition)
    except TypeError:
        return None
