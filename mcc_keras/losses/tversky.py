"""The Tversky loss: Dice with separate weights for false positives and false negatives, and a focal exponent."""

import keras
from keras import ops

from mcc_keras import confusion
from mcc_keras.errors import UsageError
from mcc_keras.losses.volume_loss import VolumeLoss, checked_smooth

TINY = 1e-12  # below it a power has no slope, so that an exponent under 1 has a finite gradient at a perfect prediction


@keras.saving.register_keras_serializable(package="mcc_keras")
class TverskyLoss(VolumeLoss):
    """One minus the Tversky index, to a power, the mean over foreground classes.

        loss = (1 - (TP + ε) / (TP + α FP + β FN + ε))^γ

    Args:
        alpha: Weight of false positives, 0 or more; with 0.5 and 0.5 (and γ = 1, ε = 0) it is `DiceLoss`.
        beta: Weight of false negatives, 0 or more; above α it favors sensitivity.
        gamma: Exponent, above 0. Under 1 the gradient grows towards a perfect prediction, above 1 it fades.
        smooth: ε, 0 or more, in voxels.
        from_logits, pool, class_weights, include_background, ignore_class, reduction, name, dtype: As in `MCCLoss`
            with `multiclass="per_class"`.

    Call arguments: As in `MCCLoss`.

    Raises:
        UsageError: `alpha`, `beta` or `smooth` below 0, `gamma` 0 or less; arguments or shapes as in `MCCLoss`.

    Example:

    >>> import numpy as np
    >>> y_true = np.array([[1, 0, 1, 1]], "float32")[..., None]
    >>> y_pred = np.array([[1, 0, 0, 1]], "float32")[..., None]
    >>> f"{float(TverskyLoss(smooth=0.0)(y_true, y_pred)):.4f}"
    '0.2593'

    TP = 2, FN = 1: 1 - 2 / (2 + 0.7).

    References:
        Salehi, Erdogmus and Gholipour, MLMI 2017. Abraham and Khan, A novel focal Tversky loss function, ISBI 2019.
    """

    def __init__(self, *, alpha=0.3, beta=0.7, gamma=1.0, smooth=1.0, name="tversky_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        if not (0 <= alpha < float("inf") and 0 <= beta < float("inf") and alpha + beta > 0):
            raise UsageError(f"`alpha` and `beta` must be 0 or more, not both 0. Received: alpha={alpha}, beta={beta}")
        if not 0 < gamma < float("inf"):
            raise UsageError(f"`gamma` must be above 0. Received: gamma={gamma}")
        self.alpha, self.beta, self.gamma = float(alpha), float(beta), float(gamma)
        self.smooth = checked_smooth(smooth)

    @property
    def one_against_rest(self):
        return True

    def values(self, pair):
        p = self.probabilities(pair.y_pred)
        tp, fp, fn, _, total = confusion.soft_cells(pair.y_true, p, pair.weight, pool=self.pool)
        wrong = self.alpha * fp + self.beta * fn
        below = ops.maximum(tp + wrong + self.smooth / total, confusion.SMALLEST)
        # A class in neither target nor prediction, with ε = 0, counts as Dice counts it: loss 1.
        nothing = ops.cast(tp + wrong + self.smooth / total <= 0, p.dtype)
        loss = wrong / below + nothing
        return self.mean_over_classes(loss if self.gamma == 1 else ops.power(ops.maximum(loss, TINY), self.gamma))

    def get_config(self):
        own = {"alpha": self.alpha, "beta": self.beta, "gamma": self.gamma, "smooth": self.smooth}
        return {**super().get_config(), **own}
