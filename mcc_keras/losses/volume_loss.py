"""The abstract loss of volumes: common arguments, weights, pooling, and one value per sample."""

from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from mcc_keras import targets
from mcc_keras.errors import UsageError
from mcc_keras.signatures import FullSignature

POOLS = ("sample", "batch")


class _Mean(keras.losses.Loss):
    """Keras' own reduction, applied to given values."""

    def call(self, y_true, y_pred):
        return y_pred


class VolumeLoss(keras.losses.Loss):
    """A loss of (batch, ..., channels) with one value per sample.

    A subclass implements `values(pair)`: the loss of each sample (batch,), or of all samples together (1,).

    A weight for each voxel goes inside the sums of the loss: 0 leaves the voxel out as if it were cut away. A weight
    for each sample multiplies its value; with `pool="batch"` there is one value, so it goes inside the sums as well.
    """

    __signature__ = FullSignature()

    def __init__(
        self,
        *,
        from_logits=False,
        pool="sample",
        class_weights=None,
        include_background=False,
        ignore_class=None,
        reduction="sum_over_batch_size",
        name=None,
        dtype=None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        if pool not in POOLS:
            raise UsageError(f"`pool` must be 'sample' or 'batch'. Received: pool={pool!r}")
        self.from_logits, self.pool = bool(from_logits), pool
        self.class_weights = None if class_weights is None else checked_weights(class_weights)
        self.include_background = bool(include_background)
        self.ignore_class = targets.checked_ignore_class(ignore_class)
        self._mean = _Mean(reduction=reduction, dtype=dtype, name=self.name)

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Return the reduced loss.

        Args:
            y_true: Target, see `mcc_keras.targets`.
            y_pred: Probabilities, or logits with `from_logits=True`, (batch, ..., C).
            sample_weight: (batch,) or (batch, 1), of each sample; (batch, ..., 1) or (batch, ...), of each voxel.
        """
        with keras.name_scope(self.name):
            mask = getattr(y_pred, "_keras_mask", None)
            y_pred = ops.convert_to_tensor(y_pred)
            weight = _weight(sample_weight, mask, len(y_pred.shape))
            kind = None if weight is None else targets.weight_kind(weight.shape, y_pred.shape)
            inside = None
            if kind == "voxel" or (kind and self.pool == "batch"):
                inside, weight = weight, None
            values = self.call(y_true, y_pred, inside)
            if weight is not None and len(weight.shape) > 1:
                weight = ops.reshape(weight, (-1,))
            return self._mean(values, values, weight)

    def call(self, y_true, y_pred, sample_weight=None):
        """Return one value per sample, (batch,); `sample_weight` here is of each voxel (or of each sample, pooled)."""
        y_pred = ops.convert_to_tensor(y_pred)
        if keras.backend.standardize_dtype(y_pred.dtype) != "float64":
            y_pred = ops.cast(y_pred, "float32")
        if sample_weight is not None:
            sample_weight = _like_voxels(ops.cast(sample_weight, y_pred.dtype), y_pred)
        targets.check_voxels(y_pred.shape, pool=self.pool, pooled="batch")
        arguments = {
            "ignore_class": self.ignore_class,
            "check_range": not self.from_logits,
            "exclusive": self.from_logits or not (self.one_against_rest and self.include_background),
        }
        ready = targets.pair(ops.convert_to_tensor(y_true), y_pred, sample_weight, **arguments)
        values = self.values(ready)
        if self.pool == "batch":
            values = ops.broadcast_to(values, (ops.shape(y_pred)[0],))
        return ops.where(ready.valid, values, float("nan"))

    @property
    def one_against_rest(self):
        """Whether each channel is compared by itself, so that with all of them regions may overlap."""
        return False

    def values(self, pair):
        """Return the loss of each sample, (batch,), or of all together, (1,)."""
        raise NotImplementedError

    def probabilities(self, y_pred):
        """Return `y_pred`, through sigmoid (one channel) or softmax where it holds logits."""
        if not self.from_logits:
            return y_pred
        return ops.sigmoid(y_pred) if y_pred.shape[-1] == 1 else _softmax(y_pred)

    def mean_over_classes(self, values):
        """Return the (weighted) mean (batch,) of values (batch, C): the one channel, or all classes asked for."""
        classes = values.shape[-1]
        weights = self.weights_of(classes)
        first = 0 if classes == 1 or self.include_background else 1
        if weights is None:
            return ops.mean(values[:, first:], axis=-1)
        weights = weights[first:]
        return ops.sum(values[:, first:] * ops.cast(weights / weights.sum(), values.dtype), axis=-1)

    def weights_of(self, classes):
        """Return `class_weights` as an array (classes,), or None."""
        if self.class_weights is None:
            return None
        if len(self.class_weights) != classes:
            raise UsageError(
                f"`class_weights` must be {classes} numbers, one for each class, background first. "
                f"Received: class_weights={self.class_weights}"
            )
        return np.array(self.class_weights, "float64")

    def get_config(self):
        return {
            **super().get_config(),
            "dtype": self.dtype,
            "from_logits": self.from_logits,
            "pool": self.pool,
            "class_weights": self.class_weights,
            "include_background": self.include_background,
            "ignore_class": self.ignore_class,
        }


def _softmax(logits):
    """Return the softmax over the last axis; with few classes TensorFlow's own takes twice as long on a CPU."""

    def forward(x):
        p = ops.exp(x - ops.max(x, axis=-1, keepdims=True))
        p = p / ops.sum(p, axis=-1, keepdims=True)

        def gradient(*args, upstream=None):
            u = args[0] if upstream is None else upstream
            return p * (u - ops.sum(p * u, axis=-1, keepdims=True))

        return p, gradient

    return ops.custom_gradient(forward)(logits)


def checked_weights(class_weights):
    """Return the weights as a list, background first, of a sequence or of a mapping from each class to its weight."""
    weights = class_weights
    if isinstance(class_weights, Mapping):
        if set(class_weights) != set(range(len(class_weights))):
            raise UsageError(
                "`class_weights` must give a weight to each class, from 0, the background, without a gap. "
                f"Received: class_weights={class_weights}"
            )
        weights = [class_weights[number] for number in range(len(class_weights))]
    try:
        weights = [float(weight) for weight in weights]
    except (TypeError, ValueError):
        weights = []
    if not all(0 <= weight < float("inf") for weight in weights) or not sum(weights) > 0:
        raise UsageError(
            "`class_weights` must be numbers of 0 or more, finite and not all 0. "
            f"Received: class_weights={class_weights!r}"
        )
    return weights


def checked_smooth(smooth):
    """Return `smooth` as a float.

    Raises:
        UsageError: If it is negative or not finite.
    """
    if not 0 <= smooth < float("inf"):
        raise UsageError(f"`smooth` must be 0 or more: a number of voxels. Received: smooth={smooth}")
    return float(smooth)


def _weight(sample_weight, mask, rank):
    """Return the product of a weight and Keras' mask, or None."""
    if sample_weight is not None:
        sample_weight = ops.convert_to_tensor(sample_weight)
    if mask is None:
        return sample_weight
    mask = ops.cast(mask, "float32")
    if sample_weight is None:
        return mask
    mask, sample_weight = (
        ops.reshape(x, (*ops.shape(x), *(1,) * (rank - len(x.shape)))) for x in (mask, sample_weight)
    )
    return mask * ops.cast(sample_weight, "float32")


def _like_voxels(weight, y_pred):
    """Give every voxel of (batch, ..., 1) a weight, also where there is one for each sample."""
    if targets.weight_kind(weight.shape, y_pred.shape) == "voxel":
        return weight
    weight = ops.reshape(weight, (-1, *(1,) * (len(y_pred.shape) - 1)))
    return ops.broadcast_to(weight, (*ops.shape(y_pred)[:-1], 1))
