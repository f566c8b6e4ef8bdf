"""Matthews' correlation coefficient as a streaming metric, of two or more classes."""

import keras
from keras import ops

from mcc_keras import confusion
from mcc_keras.errors import UsageError
from mcc_keras.metrics.counting import CountingMetric, cells_of

MULTICLASS = ("rk", "per_class")


@keras.saving.register_keras_serializable(package="mcc_keras")
class MatthewsCorrelationCoefficient(CountingMetric):
    """Matthews' correlation coefficient of hard masks, from exact counts.

        MCC = (TP TN - FP FN) / √((TP + FP)(TP + FN)(TN + FP)(TN + FN))

    With more than two classes Gorodkin's R_K, or one coefficient of each class against the rest. Where truth
    or prediction holds one class only it is 0/0, which counts as 0 by default, as in scikit-learn; see `empty`.

    Args:
        num_classes: As in tensorflow-addons; optional, and checked against the predictions if given.
        pool: "all" (the default, as in tensorflow-addons) or "sample".
        multiclass: "rk" or "per_class"; without effect with one channel.
        threshold, from_logits, include_background, per_class, empty, ignore_class, name, dtype: As in
            `mcc_keras.metrics.counting.CountingMetric`.

    Example:

    >>> import numpy as np
    >>> metric = MatthewsCorrelationCoefficient()
    >>> metric.update_state(np.array([[[1], [0], [1], [1]]]), np.array([[[0.9], [0.2], [0.3], [0.8]]]))
    >>> f"{float(metric.result()):.5f}"
    '0.57735'

    TP = 2, FP = 0, FN = 1, TN = 1.
    """

    def __init__(
        self,
        num_classes=None,
        *,
        pool="all",
        multiclass="rk",
        empty=0.0,
        name="matthews_correlation_coefficient",
        **kwargs,
    ):
        super().__init__(pool=pool, empty=empty, name=name, **kwargs)
        if multiclass not in MULTICLASS:
            raise UsageError(f"`multiclass` must be 'rk' or 'per_class'. Received: multiclass={multiclass!r}")
        self.multiclass, self.expected_classes = multiclass, num_classes

    def update_state(self, y_true, y_pred, sample_weight=None):
        classes = y_pred.shape[-1]
        if self.expected_classes not in (None, classes) and (self.expected_classes, classes) != (2, 1):
            raise UsageError(
                "`y_pred` must have one channel for each of the `num_classes`. "
                f"Received: num_classes={self.expected_classes}, {classes} channels, y_pred.shape={tuple(y_pred.shape)}"
            )
        super().update_state(y_true, y_pred, sample_weight)

    def fractions(self, matrix):
        total = ops.sum(matrix, axis=(-2, -1), keepdims=True)
        matrix = matrix / ops.where(total > 0, total, ops.ones_like(total))
        if self.multiclass == "rk" or matrix.shape[-1] == 2:
            above, by_true, by_predicted = confusion.gorodkin_parts(matrix)
            return above[..., None], (ops.sqrt(by_true) * ops.sqrt(by_predicted))[..., None]
        tp, fp, fn, tn = cells_of(matrix)
        below = ops.sqrt((tp + fp) * (tn + fn)) * ops.sqrt((tp + fn) * (tn + fp))
        return self.foreground(tp * tn - fp * fn), self.foreground(below)

    def get_config(self):
        return {**super().get_config(), "num_classes": self.expected_classes, "multiclass": self.multiclass}
