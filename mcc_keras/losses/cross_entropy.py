"""Cross-entropy of volumes: the mean over voxels, for one sigmoid channel or a softmax over several."""

import keras
from keras import ops

from mcc_keras import confusion
from mcc_keras.losses.volume_loss import VolumeLoss


@keras.saving.register_keras_serializable(package="mcc_keras")
class CrossEntropyLoss(VolumeLoss):
    """Cross-entropy, the (weighted) mean over voxels.

        loss = - Σ_i w_i a(y_i) log p_i[y_i] / Σ_i w_i        w: weight of the voxel, a: of its class

    Args:
        class_weights: One weight for each class, background first; two if there is one channel.
        include_background: Whether background voxels count; unlike the overlap losses, cross-entropy needs them.
        from_logits, pool, ignore_class, reduction, name, dtype: As in `MCCLoss`.

    Call arguments: As in `MCCLoss`.

    Raises:
        UsageError: Arguments or shapes as in `MCCLoss`; class weights that are not one for each class.

    Example:

    >>> import numpy as np
    >>> y_true, y_pred = np.array([[[1.0], [0.0]]]), np.array([[[0.5], [0.25]]])
    >>> f"{float(CrossEntropyLoss()(y_true, y_pred)):.4f}"
    '0.4904'

    (log 2 + log 4/3) / 2 = (0.6931 + 0.2877) / 2.
    """

    def __init__(self, *, include_background=True, name="cross_entropy_loss", **kwargs):
        super().__init__(name=name, include_background=include_background, **kwargs)

    def values(self, pair):
        entropy = voxel_entropy(pair, self.from_logits)
        factor = class_factor(pair, self.weights_of(max(pair.y_pred.shape[-1], 2)), self.include_background)
        if factor is not None:
            entropy = entropy * factor
        return weighted_mean(entropy, pair.weight, pool=self.pool)


def class_factor(pair, weights, include_background):
    """Return the class weight of each voxel, (batch, ..., 1), or None where all are 1."""
    if weights is None and include_background:
        return None
    weights = [1.0] * max(pair.y_pred.shape[-1], 2) if weights is None else [float(weight) for weight in weights]
    weights[0] *= include_background
    if pair.y_pred.shape[-1] == 1:
        return weights[0] + (weights[1] - weights[0]) * pair.y_true
    weights = ops.convert_to_tensor(weights, dtype=pair.y_pred.dtype)
    if pair.labels is not None:
        return ops.take(weights, pair.labels, axis=0)[..., None]
    return ops.sum(pair.y_true * weights, axis=-1, keepdims=True)


def voxel_entropy(pair, from_logits):
    """Return the cross-entropy of each voxel, (batch, ..., 1)."""
    if pair.y_pred.shape[-1] == 1:
        if from_logits:
            return _logit_entropy(pair.y_true, pair.y_pred)
        return ops.binary_crossentropy(pair.y_true, pair.y_pred)
    if pair.labels is not None:
        return ops.sparse_categorical_crossentropy(pair.labels, pair.y_pred, from_logits=from_logits)[..., None]
    return ops.categorical_crossentropy(pair.y_true, pair.y_pred, from_logits=from_logits)[..., None]


def _logit_entropy(y_true, logits):
    """Return max(x, 0) - x y + log(1 + exp(-|x|)), stable for any x, with its gradient σ(x) - y in one pass.

    Written out because Keras' function selects by the sign of x, which costs TensorFlow five more passes.
    """

    def forward(y, x):
        def gradient(*args, upstream=None):
            u = args[0] if upstream is None else upstream
            return -u * x, u * (ops.sigmoid(x) - y)

        return ops.relu(x) - x * y + ops.log1p(ops.exp(-ops.abs(x))), gradient

    return ops.custom_gradient(forward)(y_true, logits)


def weighted_mean(values, weight, *, pool):
    """Return Σ w v / Σ w of values (batch, ..., 1): (batch,), or (1,) pooled; 0 where no voxel counts."""
    total = confusion.total_weight(values, weight, pool=pool)
    if weight is not None:
        values = values * weight
        total = confusion.voxel_sum(weight, pool=pool)
        total = ops.where(total > 0, total, ops.ones_like(total))
    return (confusion.voxel_sum(values, pool=pool) / total)[..., 0]
