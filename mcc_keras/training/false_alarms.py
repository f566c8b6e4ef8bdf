"""How often a network finds an organ that is not there, which the Dice of the kept epoch leaves out."""

import keras
from keras import ops

from mcc_keras.metrics.counting import CountingMetric, cells_of


@keras.saving.register_keras_serializable(package="mcc_keras")
class FalseAlarmRate(CountingMetric):
    """Share of the volumes without a class in which some of it is predicted; NaN where every volume holds it.

    Example:

    >>> import numpy as np
    >>> metric = FalseAlarmRate()
    >>> empty, found = np.zeros((2, 4, 1)), np.array([[[0.1]] * 4, [[0.9]] * 4])
    >>> metric.update_state(empty, found)
    >>> float(metric.result())
    0.5
    """

    _direction = "down"

    def __init__(self, *, name="false_alarm_rate", **kwargs):
        super().__init__(name=name, **kwargs)

    def fractions(self, matrix):
        tp, fp, fn, tn = cells_of(matrix)
        absent = ops.cast((tp + fn == 0) & (fp + tn > 0), matrix.dtype)
        return self.foreground(absent * ops.cast(fp > 0, matrix.dtype)), self.foreground(absent)
