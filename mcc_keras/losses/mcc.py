"""One minus Matthews' correlation coefficient of soft confusion cells."""

import keras
from keras import ops

from mcc_keras import confusion
from mcc_keras.errors import UsageError
from mcc_keras.losses.volume_loss import VolumeLoss, checked_smooth

MULTICLASS = ("rk", "per_class")


@keras.saving.register_keras_serializable(package="mcc_keras")
class MCCLoss(VolumeLoss):
    """One minus Matthews' correlation coefficient, soft: 0 for a perfect prediction, 1 at chance, 2 for its opposite.

    With TP = Σ y p + s, FP = Σ (1 - y) p, FN = Σ y (1 - p), TN = Σ (1 - y)(1 - p) + s:

        loss = 1 - (TP TN - FP FN) / √((TP + FP)(TP + FN)(TN + FP)(TN + FN))

    The pseudo-count s keeps the loss defined and its gradient useful on masks that are empty or full, where the
    published form (s = 0) has loss 1 and gradient 0 for any prediction. The loss is 0 if and only if prediction and
    target are equal.

    With more than one channel it is one minus Gorodkin's R_K, the correlation of K classes (with two it is the binary
    form), or the mean over classes of one against the rest.

    Args:
        from_logits: Whether `y_pred` are logits; then sigmoid (one channel) or softmax is applied.
        smooth: s, in voxels, 0 or more: correctly classified virtual voxels of each class.
        pool: "sample": the coefficient of each sample. "batch": one of all voxels of the batch, repeated per sample.
        multiclass: "rk" or "per_class"; without effect with one channel.
        class_weights: With "per_class": the weight of each channel, background first, as a sequence or a mapping.
        include_background: With "per_class": whether the first channel counts.
        ignore_class: Label of the voxels to leave out, as in Keras' own losses.
        reduction: Keras' reduction of the values of the samples.
        name: Name of the loss.
        dtype: Type of the result; computed in float32, or in float64 if the prediction is.

    Call arguments:
        y_true: (batch, ..., C) target, or integer labels (batch, ..., 1) or (batch, ...) if C > 1.
        y_pred: (batch, ..., C).
        sample_weight: One weight for each sample, or one for each voxel, which then goes inside the sums.

    Raises:
        UsageError: Arguments out of range; shapes that do not match; labels without a channel; targets or predictions
            outside [0, 1]; channels of a target that do not sum to 1. In a compiled graph, where values are unknown,
            wrong values make the loss NaN.

    Example:

    >>> import numpy as np
    >>> y_true = np.array([[1, 0, 1, 1]], "float32")[..., None]
    >>> y_pred = np.array([[1, 0, 0, 1]], "float32")[..., None]
    >>> f"{float(MCCLoss(smooth=0.0)(y_true, y_pred)):.5f}"
    '0.42265'

    TP = 2, FP = 0, FN = 1, TN = 1, so 1 - 2 / √(2 · 3 · 1 · 2) = 1 - 0.57735.

    References:
        Matthews, Biochimica et Biophysica Acta 405, 1975. Gorodkin, Computational Biology and Chemistry 28, 2004.
        Abhishek and Hamarneh, Matthews Correlation Coefficient Loss for Deep Convolutional Networks, ISBI 2021.
    """

    def __init__(self, *, smooth=1.0, multiclass="rk", name="mcc_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        if multiclass not in MULTICLASS:
            raise UsageError(f"`multiclass` must be 'rk' or 'per_class'. Received: multiclass={multiclass!r}")
        if multiclass == "rk" and self.class_weights is not None:
            raise UsageError(
                "`class_weights` must be None with R_K, which is one coefficient of all classes. Received: "
                f"class_weights={self.class_weights}, multiclass='rk'. Set multiclass='per_class'."
            )
        self.smooth, self.multiclass = checked_smooth(smooth), multiclass

    @property
    def one_against_rest(self):
        return self.multiclass == "per_class"

    def values(self, pair):
        p = self.probabilities(pair.y_pred)
        if p.shape[-1] > 1 and self.multiclass == "rk":
            matrix, total = confusion.soft_matrix(pair.dense, p, pair.weight, pool=self.pool, labels=pair.labels)
            diagonal = ops.eye(p.shape[-1], dtype=p.dtype)
            return 1.0 - confusion.gorodkin(matrix + diagonal * (self.smooth / total)[..., None])
        cells = confusion.soft_cells(pair.y_true, p, pair.weight, pool=self.pool)
        return self.mean_over_classes(1.0 - confusion.matthews(cells.with_pseudo_count(self.smooth)))

    def get_config(self):
        return {**super().get_config(), "smooth": self.smooth, "multiclass": self.multiclass}
