"""Ratios of overlap counts: Dice and its relatives, as streaming metrics."""

import keras
from keras import ops

from mcc_keras.metrics.counting import CountingMetric, cells_of


@keras.saving.register_keras_serializable(package="mcc_keras")
class DiceScore(CountingMetric):
    """Dice coefficient 2 TP / (2 TP + FP + FN) of hard masks, the mean over foreground classes.

    Undefined where a class is in neither truth nor prediction, which counts as 1 (agreement) by default; see `empty`.

    Args:
        only_present: Whether the score is undefined, and not 0, where only the prediction holds the class: with
            `empty="exclude"` the mean is over the volumes whose truth holds it.
        pool, threshold, from_logits, include_background, per_class, empty, ignore_class, name, dtype: As in
            `mcc_keras.metrics.counting.CountingMetric`.

    Example:

    >>> import numpy as np
    >>> metric = DiceScore()
    >>> metric.update_state(np.array([[[1], [0], [1], [1]]]), np.array([[[0.9], [0.2], [0.3], [0.8]]]))
    >>> f"{float(metric.result()):.2f}"
    '0.80'

    TP = 2, FP = 0, FN = 1.
    """

    def __init__(self, *, only_present=False, empty=1.0, name="dice_score", **kwargs):
        super().__init__(empty=empty, name=name, **kwargs)
        self.only_present = bool(only_present)

    def fractions(self, matrix):
        tp, fp, fn, _ = cells_of(matrix)
        both = 2.0 * tp + fp + fn
        if self.only_present:
            both = ops.where(tp + fn > 0, both, ops.zeros_like(both))
        return self.foreground(2.0 * tp), self.foreground(both)

    def get_config(self):
        return {**super().get_config(), "only_present": self.only_present}


@keras.saving.register_keras_serializable(package="mcc_keras")
class JaccardScore(CountingMetric):
    """Jaccard index (intersection over union) TP / (TP + FP + FN) of hard masks, the mean over foreground classes.

    Undefined where a class is in neither truth nor prediction, which counts as 1 by default.

    Args:
        pool, threshold, from_logits, include_background, per_class, empty, ignore_class, name, dtype: As in
            `DiceScore`.

    Example:

    >>> import numpy as np
    >>> metric = JaccardScore()
    >>> metric.update_state(np.array([[[1], [0], [1], [1]]]), np.array([[[0.9], [0.2], [0.3], [0.8]]]))
    >>> f"{float(metric.result()):.4f}"
    '0.6667'
    """

    def __init__(self, *, empty=1.0, name="jaccard_score", **kwargs):
        super().__init__(empty=empty, name=name, **kwargs)

    def fractions(self, matrix):
        tp, fp, fn, _ = cells_of(matrix)
        return self.foreground(tp), self.foreground(tp + fp + fn)


@keras.saving.register_keras_serializable(package="mcc_keras")
class Sensitivity(CountingMetric):
    """Sensitivity (recall) TP / (TP + FN) of hard masks, the mean over foreground classes.

    Undefined where the truth is empty; such volumes are left out by default and counted in `excluded`.

    Args:
        pool, threshold, from_logits, include_background, per_class, empty, ignore_class, name, dtype: As in
            `DiceScore`.

    Example:

    >>> import numpy as np
    >>> metric = Sensitivity()
    >>> metric.update_state(np.array([[[1], [0], [1], [1]]]), np.array([[[0.9], [0.2], [0.3], [0.8]]]))
    >>> f"{float(metric.result()):.4f}"
    '0.6667'
    """

    def __init__(self, *, name="sensitivity", **kwargs):
        super().__init__(name=name, **kwargs)

    def fractions(self, matrix):
        tp, _, fn, _ = cells_of(matrix)
        return self.foreground(tp), self.foreground(tp + fn)


@keras.saving.register_keras_serializable(package="mcc_keras")
class Precision(CountingMetric):
    """Precision (positive predictive value) TP / (TP + FP) of hard masks, the mean over foreground classes.

    Undefined where nothing is predicted; such volumes are left out by default and counted in `excluded`.

    Args:
        pool, threshold, from_logits, include_background, per_class, empty, ignore_class, name, dtype: As in
            `DiceScore`.

    Example:

    >>> import numpy as np
    >>> metric = Precision()
    >>> metric.update_state(np.array([[[1], [0], [1], [1]]]), np.array([[[0.9], [0.8], [0.3], [0.2]]]))
    >>> f"{float(metric.result()):.4f}"
    '0.5000'
    """

    def __init__(self, *, name="precision", **kwargs):
        super().__init__(name=name, **kwargs)

    def fractions(self, matrix):
        tp, fp, _, _ = cells_of(matrix)
        return self.foreground(tp), self.foreground(tp + fp)


@keras.saving.register_keras_serializable(package="mcc_keras")
class VolumetricSimilarity(CountingMetric):
    """Volumetric similarity 1 - |FN - FP| / (2 TP + FP + FN): 1 where both masks have the same size, wherever they are.

    Undefined where a class is in neither truth nor prediction, which counts as 1 by default.

    Args:
        pool, threshold, from_logits, include_background, per_class, empty, ignore_class, name, dtype: As in
            `DiceScore`.

    Example:

    >>> import numpy as np
    >>> metric = VolumetricSimilarity()
    >>> metric.update_state(np.array([[[1], [0], [1], [1]]]), np.array([[[0.1], [0.8], [0.3], [0.8]]]))
    >>> f"{float(metric.result()):.4f}"
    '0.8000'

    References:
        Taha and Hanbury, Metrics for evaluating 3D medical image segmentation, BMC Medical Imaging 15, 2015.
    """

    def __init__(self, *, empty=1.0, name="volumetric_similarity", **kwargs):
        super().__init__(empty=empty, name=name, **kwargs)

    def fractions(self, matrix):
        tp, fp, fn, _ = cells_of(matrix)
        both = 2.0 * tp + fp + fn
        return self.foreground(both - ops.abs(fn - fp)), self.foreground(both)
