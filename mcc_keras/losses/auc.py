"""A loss for the area under the ROC curve: the pairwise squared surrogate, in one pass over the voxels."""

import keras
from keras import ops

from mcc_keras import confusion
from mcc_keras.losses.volume_loss import VolumeLoss, checked_smooth


@keras.saving.register_keras_serializable(package="mcc_keras")
class AUCLoss(VolumeLoss):
    """Squared surrogate of the area under the ROC curve, the mean over all pairs of foreground and background voxels.

        loss = E (1 - (p₊ - p₋))² = (1 - (μ₊ - μ₋))² + σ₊² + σ₋²
             = E (1 - p₊)² + E p₋² + 2 E (1 - p₊) E p₋

    The last form is computed: exact, in one pass and without differences of large numbers. The loss is 0 for a perfect
    separation, 1 at chance and 4 if inverted. With several classes it is the mean of each against the rest.

    Args:
        smooth: Number of virtual voxels, 0 or more, of foreground with p = 1 and of background with p = 0. They keep
            the loss of empty and full masks finite and its gradient useful.
        from_logits, pool, class_weights, include_background, ignore_class, reduction, name, dtype: As in `MCCLoss`
            with `multiclass="per_class"`.

    Call arguments: As in `MCCLoss`.

    Raises:
        UsageError: `smooth` below 0; arguments or shapes as in `MCCLoss`.

    Example:

    >>> import numpy as np
    >>> y_true, y_pred = np.array([[[1.0], [1.0], [0.0]]]), np.array([[[1.0], [0.5], [0.5]]])
    >>> f"{float(AUCLoss(smooth=0.0)(y_true, y_pred)):.4f}"
    '0.6250'

    Two pairs, (1 - 0.5)² and 1².

    References:
        Gao et al., One-Pass AUC Optimization, ICML 2013.
    """

    def __init__(self, *, smooth=1.0, name="auc_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.smooth = checked_smooth(smooth)

    @property
    def one_against_rest(self):
        return True

    def values(self, pair):
        y, p, weight = pair.y_true, self.probabilities(pair.y_pred), pair.weight
        tp, fp, fn, tn, total = confusion.soft_cells(y, p, weight, pool=self.pool)
        missed, alarm = y * ops.square(1.0 - p), (1.0 - y) * ops.square(p)
        missed, alarm = (
            confusion.voxel_sum(x if weight is None else x * weight, pool=self.pool) / total for x in (missed, alarm)
        )
        positive = ops.maximum(tp + fn + self.smooth / total, confusion.SMALLEST)
        negative = ops.maximum(tn + fp + self.smooth / total, confusion.SMALLEST)
        return self.mean_over_classes(missed / positive + alarm / negative + 2.0 * (fn / positive) * (fp / negative))

    def get_config(self):
        return {**super().get_config(), "smooth": self.smooth}
