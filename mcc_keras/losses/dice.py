"""One minus the soft Dice coefficient, with plain or squared denominators."""

import keras
from keras import ops

from mcc_keras import confusion
from mcc_keras.losses.volume_loss import VolumeLoss, checked_smooth


@keras.saving.register_keras_serializable(package="mcc_keras")
class DiceLoss(VolumeLoss):
    """One minus the soft Dice coefficient, the mean over foreground classes.

        loss = 1 - (2 Σ y p + ε) / (Σ y + Σ p + ε)        or, squared, with Σ y² + Σ p² below (V-Net's form)

    Args:
        squared: Whether the sums below are of squares.
        smooth: ε, 0 or more, in voxels; with 0 a class in neither target nor prediction has loss 1 and no gradient.
        from_logits, pool, class_weights, include_background, ignore_class, reduction, name, dtype: As in `MCCLoss`
            with `multiclass="per_class"`.

    Call arguments: As in `MCCLoss`.

    Raises:
        UsageError: `smooth` below 0; arguments or shapes as in `MCCLoss`.

    Example:

    >>> import numpy as np
    >>> y_true = np.array([[1, 0, 1, 1]], "float32")[..., None]
    >>> y_pred = np.array([[1, 0, 0, 1]], "float32")[..., None]
    >>> f"{float(DiceLoss(smooth=0.0)(y_true, y_pred)):.2f}"
    '0.20'

    2 · 2 / (3 + 2) = 0.8.

    References:
        Milletari, Navab and Ahmadi, V-Net, 3DV 2016 (squares). Drozdzal et al., DLMIA 2016 (plain).
    """

    def __init__(self, *, squared=False, smooth=1.0, name="dice_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.squared, self.smooth = bool(squared), checked_smooth(smooth)

    @property
    def one_against_rest(self):
        return True

    def values(self, pair):
        y, p, weight = pair.y_true, self.probabilities(pair.y_pred), pair.weight
        if self.squared:
            total = confusion.total_weight(p, weight, pool=self.pool)
            wy, wp = (y, p) if weight is None else (y * weight, p * weight)
            overlap = confusion.voxel_sum(wy * p, pool=self.pool) / total
            below = (confusion.voxel_sum(wy * y, pool=self.pool) + confusion.voxel_sum(wp * p, pool=self.pool)) / total
        else:
            cells = confusion.soft_cells(y, p, weight, pool=self.pool)
            overlap, below, total = cells.tp, 2.0 * cells.tp + cells.fp + cells.fn, cells.total
        extra = self.smooth / total
        return self.mean_over_classes(1.0 - (2.0 * overlap + extra) / ops.maximum(below + extra, confusion.SMALLEST))

    def get_config(self):
        return {**super().get_config(), "squared": self.squared, "smooth": self.smooth}
