"""What a loss or a metric is given, made ready: what `y_true` means, which voxels count, and what is refused.

C = `y_pred.shape[-1]` decides what `y_true` is:

| `y_true` | C = 1 | C > 1 |
|---|---|---|
| rank of `y_pred`, last axis C | the target itself, hard or soft | one-hot or soft target |
| rank of `y_pred`, last axis 1 | – | integer labels |
| shape of `y_pred` without its last axis | refused: add the channel axis | integer labels |
"""

from typing import NamedTuple

import keras
from keras import ops

from mcc_keras.errors import UsageError

RESIDUE = 1e-3  # what interpolation and half precision may leave outside of [0, 1]


class Pair(NamedTuple):
    """Target and prediction of one batch, checked.

    `dense` (batch, ..., C), or None where integer `labels` (batch, ...) were given; `y_pred` probabilities or logits
    (batch, ..., C); `weight` (batch, ..., 1) or None; `valid`, a scalar that is False where a target is out of range.
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


def pair(y_true, y_pred, weight=None, *, ignore_label=None):
    """Return the `Pair` of a target and a prediction.

    Args:
        y_true: Target, see the table above.
        y_pred: Prediction (batch, ..., C), float.
        weight: Weight of each voxel, (batch, ..., 1) or (batch, ...), or None.
        ignore_label: Voxels with this label get weight 0.

    Raises:
        UsageError: Shapes that do not fit; labels outside 0 ... C - 1 or targets outside [0, 1] where values are known
            (in a compiled graph they are not: there the loss is NaN).
    """
    kind = target_kind(y_true.shape, y_pred.shape)
    if weight is not None and len(weight.shape) < len(y_pred.shape):
        weight = weight[..., None]
    if kind == "dense":
        return _dense_pair(y_true, y_pred, weight, ignore_label)
    labels = y_true[..., 0] if len(y_true.shape) == len(y_pred.shape) else y_true
    if ignore_label is not None:
        counted = labels != ops.cast(ignore_label, labels.dtype)
        labels = ops.where(counted, labels, ops.zeros_like(labels))
        weight = _combine(weight, counted, y_pred.dtype)
    whole, labels = labels, ops.cast(labels, "int32")
    valid = ops.logical_and(ops.min(labels) >= 0, ops.max(labels) < y_pred.shape[-1])
    if "float" in keras.backend.standardize_dtype(whole.dtype):
        valid = ops.logical_and(valid, ops.all(ops.cast(labels, whole.dtype) == whole))
    if known(valid) is False:
        raise UsageError(
            f"`y_true` must hold whole labels from 0 to {y_pred.shape[-1] - 1}, one for each channel of `y_pred`. "
            f"Received: labels from {float(ops.min(whole)):g} to {float(ops.max(whole)):g}, "
            f"y_pred.shape={tuple(y_pred.shape)}. Predict a channel for each class, or set `ignore_label`."
        )
    return Pair(None, ops.clip(labels, 0, y_pred.shape[-1] - 1), y_pred, weight, valid)


def _dense_pair(y_true, y_pred, weight, ignore_label):
    if ignore_label is not None:
        if y_pred.shape[-1] > 1:
            raise UsageError(
                f"`ignore_label` needs integer labels. Received: ignore_label={ignore_label}, "
                f"y_true.shape={tuple(y_true.shape)}. Give labels (batch, ..., 1), or a voxel-wise `sample_weight`."
            )
        counted = y_true != ops.cast(ignore_label, y_true.dtype)
        y_true = ops.where(counted, y_true, ops.zeros_like(y_true))
        weight = _combine(weight, counted[..., 0], y_pred.dtype)
    y_true = ops.cast(y_true, y_pred.dtype)
    valid = ops.logical_and(ops.min(y_true) >= -RESIDUE, ops.max(y_true) <= 1 + RESIDUE)
    if known(valid) is False:
        raise UsageError(
            "`y_true` must lie in [0, 1]. "
            f"Received: values from {float(ops.min(y_true)):g} to {float(ops.max(y_true)):g}. "
            "Map the foreground to 1, or set `ignore_label`."
        )
    return Pair(y_true, None, y_pred, weight, valid)


def _combine(weight, counted, dtype):
    counted = ops.cast(counted, dtype)[..., None]
    return counted if weight is None else weight * counted


def target_kind(true_shape, pred_shape):
    """Return "dense" or "labels" by the table above; None in a shape stands for any length.

    Example:

    >>> target_kind((2, 8, 8, 8, 1), (2, 8, 8, 8, 4))
    'labels'

    Raises:
        UsageError: If the shapes do not fit, with both in the text.
    """
    classes = pred_shape[-1] if len(pred_shape) > 1 else None
    received = f"Received: y_true.shape={tuple(true_shape)}, y_pred.shape={tuple(pred_shape)}."
    if classes is None:
        raise UsageError(f"`y_pred` must be (batch, ..., channels) with a known number of channels. {received}")
    if fits(true_shape, pred_shape):
        return "dense"
    if classes > 1 and (fits(true_shape, (*pred_shape[:-1], 1)) or fits(true_shape, pred_shape[:-1])):
        return "labels"
    way_out = "Add the channel axis to a mask with `mask[..., None]`." if len(true_shape) == len(pred_shape) - 1 else ""
    expected = "`(batch, ..., 1)`" if classes == 1 else f"`(batch, ..., {classes})`, or labels `(batch, ..., 1)`"
    raise UsageError(f"`y_true` must have the shape of `y_pred`, {expected}. {received} {way_out}".rstrip())


def fits(shape, other):
    """Return whether two shapes can be the same; None stands for any length."""
    return len(shape) == len(other) and all(None in (a, b) or a == b for a, b in zip(shape, other, strict=True))


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
