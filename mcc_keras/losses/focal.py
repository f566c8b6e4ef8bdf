"""Focal loss of volumes: cross-entropy that weighs down easy voxels."""

import keras
from keras import ops

from mcc_keras.errors import UsageError
from mcc_keras.losses.cross_entropy import class_factor, voxel_entropy, weighted_mean
from mcc_keras.losses.volume_loss import VolumeLoss

TINY = 1e-12  # below it a power has no slope, so that an exponent under 1 has a finite gradient


@keras.saving.register_keras_serializable(package="mcc_keras")
class FocalLoss(VolumeLoss):
    """Focal loss, the mean over voxels.

        loss = - Σ_i w_i a(y_i) (1 - p_i[y_i])^γ log p_i[y_i] / Σ_i w_i        w: weight of the voxel, a: of its class

    A soft target has no label: the cross-entropy H_i of the voxel takes the place of -log p_i[y_i], and exp(-H_i) that
    of p_i[y_i], so a perfect prediction has a loss above 0, as with cross-entropy.

    Args:
        gamma: Exponent, 0 or more; 0 is cross-entropy.
        class_weights: One weight for each class, background first; two if there is one channel (1 - α, α).
        include_background: Whether background voxels count.
        from_logits, pool, ignore_class, reduction, name, dtype: As in `MCCLoss`.

    Call arguments: As in `MCCLoss`.

    Raises:
        UsageError: `gamma` below 0; arguments or shapes as in `MCCLoss`.

    Example:

    >>> import numpy as np
    >>> y_true, y_pred = np.array([[[1.0], [0.0]]]), np.array([[[0.5], [0.25]]])
    >>> f"{float(FocalLoss()(y_true, y_pred)):.4f}"
    '0.0956'

    (0.5² · 0.6931 + 0.25² · 0.2877) / 2.

    References:
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017.
    """

    def __init__(self, *, gamma=2.0, include_background=True, name="focal_loss", **kwargs):
        super().__init__(name=name, include_background=include_background, **kwargs)
        if not 0 <= gamma < float("inf"):
            raise UsageError(f"`gamma` must be 0 or more. Received: gamma={gamma}")
        self.gamma = float(gamma)

    def values(self, pair):
        entropy = voxel_entropy(pair, self.from_logits)
        if self.gamma:
            missing = ops.maximum(-ops.expm1(-entropy), TINY)
            entropy = entropy * ops.power(missing, self.gamma)
        factor = class_factor(pair, self.weights_of(max(pair.y_pred.shape[-1], 2)), self.include_background)
        if factor is not None:
            entropy = entropy * factor
        return weighted_mean(entropy, pair.weight, pool=self.pool)

    def get_config(self):
        return {**super().get_config(), "gamma": self.gamma}
