"""The generalized Wasserstein Dice loss, with a distance between classes."""

import keras
import numpy as np
from keras import ops

from mcc_keras import confusion
from mcc_keras.errors import UsageError
from mcc_keras.losses.volume_loss import VolumeLoss, checked_smooth

WEIGHTINGS = ("default", "gdl")
# Background, necrosis, oedema, non-enhancing and enhancing tumour, as NiftyNet carries it for BRATS.
BRATS_DISTANCES = (
    (0.0, 1.0, 1.0, 1.0, 1.0),
    (1.0, 0.0, 0.6, 0.2, 0.5),
    (1.0, 0.6, 0.0, 0.6, 0.7),
    (1.0, 0.2, 0.6, 0.0, 0.5),
    (1.0, 0.5, 0.7, 0.5, 0.0),
)


@keras.saving.register_keras_serializable(package="mcc_keras")
class GeneralizedWassersteinDiceLoss(VolumeLoss):
    """Dice with a distance between classes: confusing two tumour classes costs less than missing one.

    W_i = Σ_l M[y_i, l] p_i[l] is how far voxel i is from its label, and TP = Σ_i α(y_i) (1 - W_i):

        default:  α = M[background, ·]                 loss = 1 - (2 TP + ε) / (2 TP + Σ_i W_i + ε)
        gdl:      α_l = 1 / (Σ_i [y_i = l] + 1)        loss = 1 - (2 TP + ε) / (Σ_i α(y_i) (2 - W_i) + ε)

    With two classes and the default weighting it equals `DiceLoss` of the foreground. One sigmoid
    channel p is read as [1 - p, p].

    Args:
        distance_matrix: (K, K), symmetric, 0 on the diagonal, 0 or more elsewhere, scaled here to a maximum of 1;
            None for 1 off the diagonal. `BRATS_DISTANCES` is the matrix of that challenge's five classes.
        weighting: "default" or "gdl".
        smooth: ε, 0 or more, in voxels ("gdl": in weighted voxels).
        class_weights, include_background: Must be None and False: the matrix decides what counts.
        from_logits, pool, ignore_class, reduction, name, dtype: As in `MCCLoss`.

    Call arguments: As in `MCCLoss`.

    Raises:
        UsageError: A matrix that is not square, symmetric, 0 on the diagonal and of as many classes as there are
            channels; an unknown weighting; `smooth` below 0; arguments or shapes as in `MCCLoss`.

    Example:

    >>> y_true, y_pred = np.array([[1, 2]]), np.array([[[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]])
    >>> near = GeneralizedWassersteinDiceLoss(distance_matrix=[[0, 1, 1], [1, 0, 0.5], [1, 0.5, 0]], smooth=0.0)
    >>> f"{float(near(y_true, y_pred)):.4f}"
    '0.1429'

    W = 0.5, 0; TP = 1.5; 1 - 3 / 3.5.

    References:
        Fidon et al., Generalised Wasserstein Dice Score for Imbalanced Multi-class Segmentation using Holistic
        Convolutional Networks, 2017, arXiv 1707.00478.
    """

    def __init__(self, *, distance_matrix=None, weighting="default", smooth=1.0, name="gwd_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        if weighting not in WEIGHTINGS:
            raise UsageError(f"`weighting` must be 'default' or 'gdl'. Received: weighting={weighting!r}")
        if self.class_weights is not None or self.include_background:
            raise UsageError(
                "`class_weights` must be None and `include_background` False: `distance_matrix` decides what counts. "
                f"Received: class_weights={self.class_weights}, include_background={self.include_background}"
            )
        self.distance_matrix = None if distance_matrix is None else _checked_matrix(distance_matrix)
        self.weighting, self.smooth = weighting, checked_smooth(smooth)

    def values(self, pair):
        p, pool = self.probabilities(pair.y_pred), self.pool
        if p.shape[-1] == 1:
            tp, fp, fn, tn, total = (x[..., 0] for x in confusion.soft_cells(pair.dense, p, pair.weight, pool=pool))
            cells = ops.stack([ops.stack([tn, fp], axis=-1), ops.stack([fn, tp], axis=-1)], axis=-2)
        else:
            cells, total = confusion.soft_matrix(pair.dense, p, pair.weight, pool=pool, labels=pair.labels)
            total = total[:, 0]
        matrix = ops.convert_to_tensor(self._matrix(cells.shape[-1]), dtype=p.dtype)
        # Of each true class: how far its voxels are from their label, how near, and how many they are.
        distance, near = ops.sum(cells * matrix, axis=-1), ops.sum(cells * (1.0 - matrix), axis=-1)
        extra = self.smooth / total
        if self.weighting == "gdl":
            alpha = 1.0 / (distance + near + (1.0 / total)[:, None])
            extra = extra * total
            true, below = ops.sum(alpha * near, axis=-1), ops.sum(alpha * (2.0 * near + distance), axis=-1)
        else:
            true = ops.sum(matrix[0] * near, axis=-1)
            below = 2.0 * true + ops.sum(distance, axis=-1)
        return 1.0 - (2.0 * true + extra) / ops.maximum(below + extra, confusion.SMALLEST)

    def _matrix(self, classes):
        if self.distance_matrix is None:
            return 1.0 - np.eye(classes)
        if len(self.distance_matrix) != classes:
            raise UsageError(
                f"`distance_matrix` must be ({classes}, {classes}), as `y_pred` has that many classes. "
                f"Received: {len(self.distance_matrix)} rows."
            )
        return np.array(self.distance_matrix)

    def get_config(self):
        own = {"distance_matrix": self.distance_matrix, "weighting": self.weighting, "smooth": self.smooth}
        return {**super().get_config(), **own}


def _checked_matrix(distance_matrix):
    matrix = np.array(distance_matrix, "float64")
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] >= 2
    sound = square and np.isfinite(matrix).all() and (matrix >= 0).all() and matrix.max() > 0
    if not (sound and (matrix == matrix.T).all() and (np.diag(matrix) == 0).all()):
        raise UsageError(
            "`distance_matrix` must be square, symmetric, 0 on the diagonal and elsewhere finite and 0 or more. "
            f"Received: shape={matrix.shape}, distance_matrix={matrix.tolist()}"
        )
    return (matrix / matrix.max()).tolist()
