"""Ratios of overlap counts: Dice and its relatives, as streaming metrics."""

import keras

from mcc_keras.metrics.counting import CountingMetric, cells_of


@keras.saving.register_keras_serializable(package="mcc_keras")
class DiceScore(CountingMetric):
    """Dice coefficient 2 TP / (2 TP + FP + FN) of hard masks, the mean over foreground classes.

    Undefined where a class is in neither truth nor prediction: that counts as 1 (agreement) unless `empty` says
    otherwise.

    Args:
        pool, threshold, from_logits, include_background, per_class, empty, ignore_label, name, dtype: As in
            `mcc_keras.metrics.counting.CountingMetric`.

    Example:

    >>> import numpy as np
    >>> metric = DiceScore()
    >>> metric.update_state(np.array([[[1], [0], [1], [1]]]), np.array([[[0.9], [0.2], [0.3], [0.8]]]))
    >>> f"{float(metric.result()):.2f}"
    '0.80'

    TP = 2, FP = 0, FN = 1.
    """

    def __init__(self, *, empty=1.0, name="dice_score", **kwargs):
        super().__init__(empty=empty, name=name, **kwargs)

    def fractions(self, matrix):
        tp, fp, fn, _ = cells_of(matrix)
        return self.foreground(2.0 * tp), self.foreground(2.0 * tp + fp + fn)
