"""The abstract streaming metric: exact confusion counts of volumes, pooled or scored one by one."""

import keras
import numpy as np
from keras import ops

from mcc_keras import targets
from mcc_keras.errors import UsageError

POOLS = ("sample", "all")
DIGIT = 2**20  # counts are kept as high · DIGIT + low, so that they are exact where integers have 32 bits


class CountingMetric(keras.metrics.Metric):
    """A ratio of confusion counts of every volume seen since the last reset.

    A subclass implements `fractions(matrix)`: numerators and denominators (..., scores) of confusion matrices
    (..., true class, predicted class). A score whose denominator is 0 is undefined, and `empty` says what it counts as.

    Args:
        pool: "sample": the mean over volumes of the score of each. "all": one score of all voxels that were seen.
        threshold: What a probability must exceed to be foreground; with one channel only, else the largest wins.
        from_logits: Whether `y_pred` are logits. Only the threshold depends on it.
        include_background: Whether class 0 counts, with more than one channel.
        per_class: Whether `result` is a vector with one score for each class instead of their mean.
        empty: What an undefined score counts as: a number, or "exclude" to leave it out of the mean; see `excluded`.
        ignore_label: Voxels with this label are left out.
        name: Name of the metric.
        dtype: Type of the result.
    """

    def __init__(
        self,
        *,
        pool="sample",
        threshold=0.5,
        from_logits=False,
        include_background=False,
        per_class=False,
        empty="exclude",
        ignore_label=None,
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
        self.empty, self.ignore_label = empty, ignore_label
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
            y_true: Target, see `mcc_keras.targets`; a soft target of one channel is foreground above 0.5.
            y_pred: Probabilities or logits (batch, ..., C).
            sample_weight: 0 leaves a sample, or a voxel, out; 1 counts it. Exact counts know no other weights.

        Raises:
            UsageError: Shapes that do not fit, labels out of range, other weights. In a compiled graph, where values
                are not known, the result is NaN instead for the latter two.
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
        self._counted.assign_add(ops.sum(ops.cast(defined, "int32"), axis=0))
        self._excluded.assign_add(ops.sum(ops.cast(ops.logical_not(defined), "int32"), axis=0))

    def result(self):
        """Return the score, or one for each class; NaN where nothing was counted, or labels or weights were refused."""
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
            "ignore_label": self.ignore_label,
        }

    def _build(self, num_classes):
        if self.num_classes is not None:
            if self.num_classes != num_classes:
                raise UsageError(
                    f"`y_pred` must keep its number of classes. Received: {num_classes} classes, before that "
                    f"{self.num_classes}. Call reset_state() of a new metric for another model."
                )
            return
        self.num_classes = num_classes
        self._invalid = self.add_variable((), "zeros", dtype="int32", name="invalid")
        if self.pool == "all":
            shape = (num_classes, num_classes)
            self._high = self.add_variable(shape, "zeros", dtype=integer_type(), name="high")
            self._low = self.add_variable(shape, "zeros", dtype=integer_type(), name="low")
            return
        shape = tuple(self.fractions(ops.zeros((num_classes, num_classes), float_type()))[0].shape)
        self._total = self.add_variable(shape, "zeros", dtype=float_type(), name="total")
        self._counted = self.add_variable(shape, "zeros", dtype="int32", name="counted")
        self._excluded = self.add_variable(shape, "zeros", dtype="int32", name="excluded")

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
        channels = y_pred.shape[-1]
        kind = targets.target_kind(y_true.shape, y_pred.shape)
        self._one_channel = channels == 1
        classes = max(channels, 2)
        self._build(classes)
        counted = None
        if self.ignore_label is not None and (kind == "labels" or channels == 1):
            counted = y_true != ops.cast(self.ignore_label, y_true.dtype)
            counted = counted if len(counted.shape) < len(y_pred.shape) else counted[..., 0]
        invalid = None
        if channels == 1:
            invalid = ops.logical_or(ops.less(y_true, 0), ops.greater(y_true, 1))[..., 0]
            limit = np.log(self.threshold / (1 - self.threshold)) if self.from_logits else self.threshold
            predicted, true = ops.greater(y_pred[..., 0], limit), ops.greater(y_true[..., 0], 0.5)
        else:
            predicted = ops.argmax(y_pred, axis=-1)
            if kind == "dense":
                true = ops.argmax(y_true, axis=-1)
            else:
                true = y_true if len(y_true.shape) < len(y_pred.shape) else y_true[..., 0]
                invalid = ops.logical_or(ops.less(true, 0), ops.greater_equal(true, classes))
        true, predicted = ops.cast(true, "int32"), ops.cast(predicted, "int32")
        bins = classes * classes  # after them one for voxels that are left out, and one for labels out of range
        cell = true * classes + predicted
        if invalid is not None:
            cell = ops.where(invalid, bins + 1, cell)
        if sample_weight is not None:
            weighted = self._weighted(ops.convert_to_tensor(sample_weight), y_pred)
            counted = weighted if counted is None else ops.logical_and(counted, weighted)
        if counted is not None:
            cell = ops.where(counted, cell, bins)
        counts = _counts(ops.reshape(cell, (ops.shape(cell)[0], -1)), bins + 2)
        if invalid is not None:
            self._refuse(ops.sum(counts[:, bins + 1]), y_true, classes)
        return ops.reshape(ops.cast(counts[:, :bins], integer_type()), (-1, classes, classes))

    def _refuse(self, invalid, y_true, classes):
        """Raise if labels are out of range; in a compiled graph, remember it, so that the result is NaN."""
        if targets.known(invalid > 0):
            raise UsageError(
                f"`y_true` must hold labels from 0 to {classes - 1}. "
                f"Received: labels from {float(ops.min(y_true)):g} to {float(ops.max(y_true)):g}. "
                "Predict a channel for each class, or set `ignore_label`."
            )
        self._invalid.assign_add(ops.cast(invalid > 0, "int32"))

    def _weighted(self, weight, y_pred):
        whole = ops.all(ops.logical_or(weight == 0, weight == 1))
        if targets.known(whole) is False:
            raise UsageError(
                "`sample_weight` of a metric that counts must be 0 or 1. Received: values from "
                f"{float(ops.min(weight)):g} to {float(ops.max(weight)):g}. In `compile`, list it in `metrics`, which "
                "see no weights, rather than in `weighted_metrics`."
            )
        self._invalid.assign_add(ops.cast(ops.logical_not(whole), "int32"))
        kept = weight != 0
        if targets.weight_kind(weight.shape, y_pred.shape) == "voxel":
            return kept if len(kept.shape) < len(y_pred.shape) else kept[..., 0]
        return ops.reshape(kept, (-1, *(1,) * (len(y_pred.shape) - 2)))


def _counts(cells, bins):
    """Return how often each of 0 ... bins - 1 is in each row of cells (batch, voxels)."""
    if keras.backend.backend() != "jax":
        return ops.bincount(cells, minlength=bins)
    # JAX compiles no `bincount` whose length is not told, and Keras tells it none.
    samples = cells.shape[0]
    cells = ops.reshape(cells + bins * ops.arange(samples, dtype="int32")[:, None], (-1,))
    return ops.reshape(ops.segment_sum(ops.ones_like(cells), cells, num_segments=samples * bins), (samples, bins))


def _digits(matrix):
    return matrix // DIGIT, matrix % DIGIT


def cells_of(matrix):
    """Return TP, FP, FN and TN of each class, (..., K), of matrices (..., K, K); sums of cells, so exact."""
    others = 1.0 - ops.eye(matrix.shape[-1], dtype=matrix.dtype)
    tp = ops.sum(matrix * (1.0 - others), axis=-1)
    fp, fn = ops.sum(matrix * others, axis=-2), ops.sum(matrix * others, axis=-1)
    return tp, fp, fn, ops.sum(ops.matmul(others, matrix) * others, axis=-1)


def integer_type():
    """Return the widest integer type of the backend: JAX has 64 bits only where it was told to."""
    return "int32" if keras.backend.backend() == "jax" else "int64"


def float_type():
    """Return the type that scores are computed in."""
    return "float32" if keras.backend.backend() == "jax" else "float64"
