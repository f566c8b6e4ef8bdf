"""The abstract streaming metric: exact confusion counts, pooled or per volume."""

import keras
import numpy as np
from keras import ops

from mcc_keras import targets
from mcc_keras.errors import UsageError
from mcc_keras.metrics.hard_matrix import hard_matrix, largest
from mcc_keras.signatures import FullSignature

POOLS = ("sample", "all")
HALF = 0.5  # a soft target of one channel is foreground from here on
DIGIT = 2**20  # counts are kept as high · DIGIT + low, so that they are exact where integers have 32 bits


class CountingMetric(keras.metrics.Metric):
    """A ratio of confusion counts of every volume seen since the last reset.

    A subclass implements `fractions(matrix)`: numerators and denominators (..., scores) of confusion matrices
    (..., true class, predicted class). A score whose denominator is 0 is undefined; `empty` is its value.

    Args:
        pool: "sample": the mean of the scores of the volumes. "all": one score of all voxels seen.
        threshold: Smallest probability that is foreground, as in the masks that are written; for one channel only.
            With several, the class of the largest probability counts.
        from_logits: Whether `y_pred` are logits, on one channel.
        include_background: Whether class 0 counts, with more than one channel.
        per_class: Whether `result` is a vector with one score per class instead of their mean.
        empty: Value of an undefined score: a number, or "exclude" to leave it out of the mean; see `excluded`.
        ignore_class: Label of the voxels to leave out.
        name: Name of the metric.
        dtype: Type of the result.
    """

    _direction = "up"  # where Keras' callbacks look in mode="auto"

    __signature__ = FullSignature()

    def __init__(
        self,
        *,
        pool="sample",
        threshold=0.5,
        from_logits=False,
        include_background=False,
        per_class=False,
        empty="exclude",
        ignore_class=None,
        name=None,
        dtype=None,
    ):
        super().__init__(name=name, dtype=dtype)
        if pool not in POOLS:
            raise UsageError(f"`pool` must be 'sample' or 'all'. Received: pool={pool!r}")
        if not 0 < threshold < 1:
            raise UsageError(f"`threshold` must be a probability between 0 and 1. Received: threshold={threshold}")
        if empty != "exclude" and not (isinstance(empty, (int, float)) and np.isfinite(empty)):
            raise UsageError(f"`empty` must be 'exclude' or a number. Received: empty={empty!r}")
        self.pool, self.threshold, self.from_logits = pool, float(threshold), bool(from_logits)
        self.include_background, self.per_class = bool(include_background), bool(per_class)
        self.empty, self.ignore_class = empty, targets.checked_ignore_class(ignore_class)
        self.num_classes, self._one_channel = None, False

    def fractions(self, matrix):
        """Return numerators and denominators (..., scores) of confusion matrices (..., true, predicted)."""
        raise NotImplementedError

    def foreground(self, scores):
        """Return the scores (..., K) of the classes that count."""
        return scores if self.include_background and not self._one_channel else scores[..., 1:]

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Count a batch of volumes.

        Args:
            y_true: Target, see `mcc_keras.targets`; a soft target of one channel is foreground from 0.5 on.
            y_pred: Probabilities or logits (batch, ..., C).
            sample_weight: 1 counts a sample or a voxel, 0 leaves it out. Other weights are refused: counts are exact.

        Raises:
            UsageError: Shapes that do not fit; values of `y_true` or `y_pred` that a loss refuses; other weights. In a
                compiled graph, where values are not known, the result is NaN instead for the latter two. A prediction
                of NaN makes the result NaN everywhere.
        """
        matrix = self._count(ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred), sample_weight)
        if self.pool == "all":
            high, low = _digits(matrix)
            return self._carry(ops.sum(high, axis=0), ops.sum(low, axis=0))
        scores, defined = self._scores(ops.cast(matrix, float_type()))
        if self.empty != "exclude":
            seen = ops.sum(matrix, axis=(-2, -1))[:, None] > 0
            scores = ops.where(defined, scores, float(self.empty))
            defined = ops.logical_or(defined, seen)
        self._total.assign_add(ops.sum(ops.where(defined, scores, 0.0), axis=0))
        self._counted.assign_add(ops.sum(ops.cast(defined, integer_type()), axis=0))
        self._excluded.assign_add(ops.sum(ops.cast(ops.logical_not(defined), integer_type()), axis=0))

    def result(self):
        """Return the score, or one for each class; NaN where nothing was counted, or something refused."""
        if self.num_classes is None:
            return ops.convert_to_tensor(float("nan"), dtype=self.dtype)
        if self.pool == "all":
            high, low = (ops.cast(x, float_type()) for x in (self._high, self._low))
            scores, defined = self._scores(high * DIGIT + low)
            if self.empty != "exclude":
                scores = ops.where(defined, scores, float(self.empty))
                defined = ops.ones_like(defined)
        else:
            defined = self._counted > 0
            scores = self._total / ops.cast(ops.maximum(self._counted, 1), float_type())
        defined = ops.logical_and(defined, self._invalid == 0)
        if self.per_class:
            return ops.cast(ops.where(defined, scores, float("nan")), self.dtype)
        among = ops.sum(ops.cast(defined, scores.dtype))
        mean = ops.sum(ops.where(defined, scores, 0.0)) / ops.maximum(among, 1.0)
        return ops.cast(ops.where(among > 0, mean, float("nan")), self.dtype)

    @property
    def excluded(self):
        """The number of volumes left out of the mean because their score was undefined: one for each class."""
        if self.num_classes is None or self.pool == "all":
            return np.zeros((1,), "int64")
        return ops.convert_to_numpy(self._excluded).astype("int64")

    @property
    def counts(self):
        """The confusion matrix of all voxels seen, (true class, predicted class), exact; with `pool="all"` only."""
        if self.num_classes is None or self.pool != "all":
            raise UsageError(f'`counts` are kept with pool="all", after a first update. Received: pool={self.pool!r}')
        high, low = (ops.convert_to_numpy(x).astype("int64") for x in (self._high, self._low))
        return high * DIGIT + low

    def reset_state(self):
        for variable in self.variables:
            variable.assign(ops.zeros(variable.shape, dtype=variable.dtype))

    def get_config(self):
        return {
            **super().get_config(),
            "pool": self.pool,
            "threshold": self.threshold,
            "from_logits": self.from_logits,
            "include_background": self.include_background,
            "per_class": self.per_class,
            "empty": self.empty,
            "ignore_class": self.ignore_class,
        }

    def _build(self, num_classes):
        if self.num_classes is not None:
            if self.num_classes != num_classes:
                raise UsageError(
                    f"`y_pred` must keep its number of classes. Received: {num_classes} classes, before that "
                    f"{self.num_classes}. Build a new metric for another model."
                )
            return
        self.num_classes = num_classes
        self._invalid = self.add_variable((), "zeros", dtype=integer_type(), name="invalid")
        if self.pool == "all":
            shape = (num_classes, num_classes)
            self._high = self.add_variable(shape, "zeros", dtype=integer_type(), name="high")
            self._low = self.add_variable(shape, "zeros", dtype=integer_type(), name="low")
            return
        shape = tuple(self.fractions(ops.zeros((num_classes, num_classes), float_type()))[0].shape)
        self._total = self.add_variable(shape, "zeros", dtype=float_type(), name="total")
        self._counted = self.add_variable(shape, "zeros", dtype=integer_type(), name="counted")
        self._excluded = self.add_variable(shape, "zeros", dtype=integer_type(), name="excluded")

    def _scores(self, matrix):
        above, below = self.fractions(matrix)
        defined = below > 0
        return above / ops.where(defined, below, ops.ones_like(below)), defined

    def _carry(self, high, low):
        low = self._low + low
        self._high.assign_add(high + low // DIGIT)
        self._low.assign(low % DIGIT)

    def _count(self, y_true, y_pred, sample_weight):
        """Return the confusion matrix of each volume, (batch, K, K), exact integers."""
        targets.check_voxels(y_pred.shape, pool=self.pool, pooled="all")
        targets.target_kind(
            y_true.shape, y_pred.shape
        )  # refused before a first batch decides how many classes there are
        self._one_channel = y_pred.shape[-1] == 1
        classes = max(y_pred.shape[-1], 2)
        self._build(classes)
        weight = None if sample_weight is None else self._weight(ops.convert_to_tensor(sample_weight), y_pred)
        if "float" not in keras.backend.standardize_dtype(y_pred.dtype):
            y_pred = ops.cast(y_pred, "float32")
        check_range = self._one_channel and not self.from_logits
        ready = targets.pair(y_true, y_pred, weight, ignore_class=self.ignore_class, check_range=check_range)
        # NaN compares as False and would count as background.
        self._refuse_unless(ops.logical_and(ready.valid, ops.logical_not(ops.any(ops.isnan(y_pred)))))
        voxels = ops.shape(y_pred)[:-1]
        counted = None if ready.weight is None else ops.broadcast_to(ready.weight[..., 0] > 0, voxels)
        true, predicted = self._classes_of(ready)
        return hard_matrix(true, predicted, classes, counted=counted, dtype=integer_type())

    def _classes_of(self, ready):
        """Return the true and the predicted class of each voxel, (batch, ...)."""
        if not self._one_channel:
            true = largest(ready.dense) if ready.labels is None else ready.labels
            return true, largest(ready.y_pred)
        limit = np.log(self.threshold / (1 - self.threshold)) if self.from_logits else self.threshold
        return ready.dense[..., 0] >= HALF, ready.y_pred[..., 0] >= limit

    def _refuse_unless(self, valid):
        """Make the result NaN from now on, unless a condition holds."""
        self._invalid.assign_add(1 - ops.cast(valid, integer_type()))

    def _weight(self, weight, y_pred):
        """Return weights of 0 and 1 as (batch, ..., 1) or (batch, 1, ..., 1)."""
        whole = ops.all(ops.logical_or(weight == 0, weight == 1))
        if targets.known(whole) is False:
            raise UsageError(
                "`sample_weight` of a metric that counts must be 0 or 1. Received: values from "
                f"{float(ops.min(weight)):g} to {float(ops.max(weight)):g}. In `compile`, list it in `metrics`, which "
                "see no weights, rather than in `weighted_metrics`."
            )
        self._refuse_unless(whole)
        weight = ops.cast(weight, "float32")
        if targets.weight_kind(weight.shape, y_pred.shape) == "voxel":
            return weight if len(weight.shape) == len(y_pred.shape) else weight[..., None]
        return ops.reshape(weight, (-1, *(1,) * (len(y_pred.shape) - 1)))


def _digits(matrix):
    return matrix // DIGIT, matrix % DIGIT


def cells_of(matrix):
    """Return TP, FP, FN and TN of each class, (..., K), of matrices (..., K, K); sums of cells, so exact."""
    others = 1.0 - ops.eye(matrix.shape[-1], dtype=matrix.dtype)
    tp = ops.sum(matrix * (1.0 - others), axis=-1)
    fp, fn = ops.sum(matrix * others, axis=-2), ops.sum(matrix * others, axis=-1)
    return tp, fp, fn, ops.sum(ops.matmul(others, matrix) * others, axis=-1)


def integer_type():
    """Return the widest integer type of the backend; 32 bits on JAX, whose default they are.

    TensorFlow keeps variables of 32-bit integers in the memory of the processor, out of reach of XLA on a GPU.
    """
    return "int32" if keras.backend.backend() == "jax" else "int64"


def float_type():
    """Return the type that scores are computed in."""
    return "float32" if keras.backend.backend() == "jax" else "float64"
