"""The generalized Dice loss: one Dice of all classes, weighted against their size."""

import keras
from keras import ops

from mcc_keras import confusion
from mcc_keras.losses.volume_loss import VolumeLoss, checked_smooth


@keras.saving.register_keras_serializable(package="mcc_keras")
class GeneralizedDiceLoss(VolumeLoss):
    """One minus the generalized Dice coefficient, whose overlaps and sizes are weighted by class.

        loss = 1 - (2 Σ_l w_l Σ y_l p_l + ε) / (Σ_l w_l Σ (y_l + p_l) + ε)        w_l = (v / Σ y_l)²

    v is the volume of the smallest class present, so the weights are at most 1 and ε is in voxels of that class. An
    absent class has weight 1, the largest. With one foreground class it is `DiceLoss`.

    Args:
        smooth: ε, 0 or more, in voxels.
        class_weights: Additional weights of the classes, background first.
        include_background: Whether the background is one of the classes; with one channel p it is 1 - p.
        from_logits, pool, ignore_class, reduction, name, dtype: As in `MCCLoss`.

    Call arguments: As in `MCCLoss`.

    Raises:
        UsageError: `smooth` below 0; arguments or shapes as in `MCCLoss`.

    Example:

    >>> import numpy as np
    >>> y_true = np.array([[1, 1, 1, 2]])
    >>> y_pred = np.eye(3, dtype="float32")[[[1, 1, 1, 1]]]
    >>> f"{float(GeneralizedDiceLoss(smooth=0.0)(y_true, y_pred)):.4f}"
    '0.6250'

    w = 1/9 and 1: 1 - 2 · 3/9 / (7/9 + 1).

    References:
        Sudre et al., Generalised Dice overlap as a deep learning loss function for highly unbalanced segmentations,
        DLMIA 2017.
    """

    def __init__(self, *, smooth=1.0, name="generalized_dice_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.smooth = checked_smooth(smooth)

    def values(self, pair):
        y, p = pair.y_true, self.probabilities(pair.y_pred)
        if p.shape[-1] == 1 and self.include_background:
            y, p = (ops.concatenate([1.0 - x, x], axis=-1) for x in (y, p))
        cells = confusion.soft_cells(y, p, pair.weight, pool=self.pool)
        first = 0 if self.include_background or p.shape[-1] == 1 else 1
        tp, fp, fn = (cell[:, first:] for cell in cells[:3])
        volume = tp + fn
        there = volume > 0
        smallest = ops.min(ops.where(there, volume, 1.0), axis=-1, keepdims=True)
        weights = ops.where(there, ops.square(smallest / ops.where(there, volume, 1.0)), 1.0)
        factors = self.weights_of(p.shape[-1])
        if factors is not None:
            weights = weights * ops.convert_to_tensor(factors[first:], dtype=weights.dtype)
        extra = self.smooth / cells.total[:, 0]
        above = 2.0 * ops.sum(weights * tp, axis=-1) + extra
        below = ops.sum(weights * (2.0 * tp + fp + fn), axis=-1) + extra
        return 1.0 - above / ops.maximum(below, confusion.SMALLEST)

    def get_config(self):
        return {**super().get_config(), "smooth": self.smooth}
