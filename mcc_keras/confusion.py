"""Soft confusion cells: the four numbers, or the matrix, that the losses depend on.

A cell is a weighted sum over voxels. Both sums have their own gradient, which is affine in the target: forward and
backward pass over the voxels once and keep nothing of the size of a volume but the inputs.

Shapes: `y_true` and `y_pred` are (batch, ..., classes), a weight is (batch, ..., 1), `labels` are (batch, ...).
"""

import math
from typing import NamedTuple

from keras import ops

NEARLY_FULL = 0.9  # share of the voxels above which a sum is taken of the complement: 1 - x is then the small number
MOST_IN_PAIRS = 16  # classes up to which the rows of all pairs of labels are a small table
SMALLEST = 1e-24  # floor inside a root; its power -3/2, which the gradient needs, is still a float32


class Cells(NamedTuple):
    """The soft confusion cells of each sample and class, each (batch, classes), and the weight that they sum up to.

    They are divided by `total`, so none exceeds 1 and no product of them overflows; `total` is (batch, 1).
    """

    tp: object
    fp: object
    fn: object
    tn: object
    total: object

    def with_pseudo_count(self, smooth):
        """Add `smooth` correctly classified voxels to the foreground and as many to the background."""
        extra = smooth / self.total
        return self._replace(tp=self.tp + extra, tn=self.tn + extra)


def soft_cells(y_true, y_pred, weight=None, *, pool="sample"):
    """Return TP = Σ w y p, FP = Σ w (1 - y) p, FN = Σ w y (1 - p), TN = Σ w (1 - y)(1 - p), divided by Σ w.

    Three sums, Σ w y p, Σ w p and Σ w y, give all four; where the target or the prediction is nearly full, the sums are
    taken of its complement, so that a background of a few voxels is as precise as a foreground of a few. This second
    pass costs as much as the first and runs only where it is needed.

    Args:
        y_true: Target in [0, 1], float tensor (batch, ..., classes).
        y_pred: Probabilities in [0, 1], of the same shape and type.
        weight: Weight of each voxel, (batch, ..., 1), or None for 1. No gradient flows into it.
        pool: "sample" for the cells of each sample, "batch" for those of all samples together (a batch of one).

    Returns:
        `Cells`.

    Example:

    >>> import numpy as np
    >>> y_true = np.array([[[1], [0], [1], [1]]], "float32")
    >>> y_pred = np.array([[[1], [0], [0], [1]]], "float32")
    >>> cells = soft_cells(y_true, y_pred)
    >>> [float(cell[0, 0]) for cell in cells]
    [0.5, 0.0, 0.25, 0.25, 4.0]
    """
    total = total_weight(y_pred, weight, pool=pool)
    sums = _cell_sums(pool, y_true, y_pred, weight) / total[..., None]
    return Cells(sums[..., 0], sums[..., 1], sums[..., 2], sums[..., 3], total)


def total_weight(y_pred, weight=None, *, pool="sample"):
    """Return Σ w, or the number of voxels, as (batch, 1) or (1, 1); at least 1, so that one can divide by it."""
    if weight is None:
        shape = ops.shape(y_pred)
        count = math.prod(shape[1:-1]) * (shape[0] if pool == "batch" else 1)
        return ops.reshape(ops.cast(count, y_pred.dtype), (1, 1))
    return ops.maximum(voxel_sum(weight, pool=pool), 1.0)


def voxel_sum(x, *, pool="sample"):
    """Sum (batch, ..., classes) over the voxels of each sample, or of all: (batch, classes) or (1, classes).

    In stages, parts of a volume and then the volume: the rounding errors of long float32 sums stay small however the
    backend orders its additions.
    """
    if len(x.shape) > 4 and x.shape[-1] > 1:
        # Adding whole rows (z, classes) takes a CPU less than half the time of a sum over z, whose stride is `classes`.
        x = ops.sum(x, axis=2)
    if len(x.shape) > 3:
        x = ops.sum(x, axis=tuple(range(2, len(x.shape) - 1)))
    axes = tuple(range(1, len(x.shape) - 1))
    x = ops.sum(x, axis=axes) if axes else x
    return ops.sum(x, axis=0, keepdims=True) if pool == "batch" else x


def _cell_sums(pool, y_true, y_pred, weight):
    """Return the four sums, stacked on a last axis, with a gradient of one pass."""

    def forward(y, p, *w):
        w = w[0] if w else None
        wy, wp = (y, p) if w is None else (y * w, p * w)
        yp_sum, p_sum, y_sum = voxel_sum(wy * p, pool=pool), voxel_sum(wp, pool=pool), voxel_sum(wy, pool=pool)
        total = total_weight(p, w, pool=pool)
        flip_y, flip_p = y_sum > NEARLY_FULL * total, p_sum > NEARLY_FULL * total

        def direct():
            return _stack(yp_sum, p_sum, y_sum, total)

        def complement():
            y_ = ops.abs(y - _spread(ops.cast(flip_y, y.dtype), y))
            p_ = ops.abs(p - _spread(ops.cast(flip_p, p.dtype), p))
            wy_, wp_ = (y_, p_) if w is None else (y_ * w, p_ * w)
            sums = voxel_sum(wy_ * p_, pool=pool), voxel_sum(wp_, pool=pool), voxel_sum(wy_, pool=pool)
            a, b, c, d = ops.unstack(_stack(*sums, total), axis=-1)
            # Where p was 1 - p, what was called predicted was not; likewise y.
            a, b, c, d = (ops.where(flip_p, x, z) for x, z in ((c, a), (d, b), (a, c), (b, d)))
            tp, fp, fn, tn = (ops.where(flip_y, x, z) for x, z in ((b, a), (a, b), (d, c), (c, d)))
            return ops.stack([tp, fp, fn, tn], axis=-1)

        sums = ops.cond(ops.any(ops.logical_or(flip_y, flip_p)), complement, direct)

        def gradient(*args, upstream=None):
            tp, fp, fn, tn = ops.unstack(args[0] if upstream is None else upstream, axis=-1)
            slope, y_offset, p_offset = (_spread(x, p) for x in (tp - fp - fn + tn, fn - tn, fp - tn))
            by_y, by_p = slope * p + y_offset, slope * y + p_offset
            return (by_y, by_p) if w is None else (w * by_y, w * by_p, ops.zeros_like(w))

        return sums, gradient

    arguments = (y_true, y_pred) if weight is None else (y_true, y_pred, weight)
    return ops.custom_gradient(forward)(*arguments)


def _stack(yp_sum, p_sum, y_sum, total):
    """Return TP, FP, FN and TN from the three sums."""
    fn = y_sum - yp_sum
    return ops.stack([yp_sum, p_sum - yp_sum, fn, total - p_sum - fn], axis=-1)


def _spread(x, like):
    """Give (batch, classes) the voxel axes of `like`, each of length 1."""
    return ops.reshape(x, (-1, *(1,) * (len(like.shape) - 2), like.shape[-1]))


def matthews(cells):
    """Return (TP TN - FP FN) / √((TP + FP)(TP + FN)(TN + FP)(TN + FN)), and 0 where that is 0/0.

    Example:

    >>> cells = Cells(tp=0.5, fp=0.0, fn=0.25, tn=0.25, total=4.0)
    >>> f"{float(matthews(cells)):.5f}"
    '0.57735'
    """
    tp, fp, fn, tn, _ = cells
    predicted = ops.rsqrt(ops.maximum((tp + fp) * (tn + fn), SMALLEST))
    true = ops.rsqrt(ops.maximum((tp + fn) * (tn + fp), SMALLEST))
    return (tp * tn - fp * fn) * predicted * true


def soft_matrix(y_true, y_pred, weight=None, *, pool="sample", labels=None):
    """Return the soft confusion matrix C[k, l] = Σ w y_k p_l / Σ w, (batch, classes, classes), and Σ w, (batch, 1).

    Args:
        y_true: Target (batch, ..., classes), or None where `labels` are given.
        y_pred: Probabilities (batch, ..., classes).
        weight: Weight of each voxel, (batch, ..., 1), or None for 1. No gradient flows into it.
        pool: "sample" or "batch", as in `soft_cells`.
        labels: Integer labels (batch, ...) in place of `y_true`; their one-hot form is not kept for the gradient.
    """
    total = total_weight(y_pred, weight, pool=pool)
    if labels is None:
        y_true = y_true if weight is None else y_true * weight
        return _dense_matrix(y_true, y_pred, pool) / total[..., None], total
    classes = y_pred.shape[-1]

    def forward(p):
        one_hot = ops.one_hot(labels, classes, dtype=p.dtype)

        def gradient(*args, upstream=None):
            # Σ_k y_k u[k, :] is the row of the voxel's label: looked up, not multiplied out.
            by_p = _rows_of(args[0] if upstream is None else upstream, labels, pool)
            return by_p if weight is None else by_p * weight

        return _matrix(one_hot if weight is None else one_hot * weight, p, pool), gradient

    return ops.custom_gradient(forward)(y_pred) / total[..., None], total


def _dense_matrix(y_true, y_pred, pool):
    """Return Σ y_k p_l with a gradient that takes voxels in pairs."""

    def forward(y, p):
        def gradient(*args, upstream=None):
            u = args[0] if upstream is None else upstream
            return _times(p, ops.transpose(u, (0, 2, 1))), _times(y, u)

        return _matrix(y, p, pool), gradient

    return ops.custom_gradient(forward)(y_true, y_pred)


def _times(x, matrix):
    """Return (batch, ..., classes) times the matrix of each sample, (batch or 1, classes, classes)."""
    if _in_pairs(x.shape[1:-1]):
        nothing = ops.zeros_like(matrix)
        above, below = (ops.concatenate(row, axis=-1) for row in ((matrix, nothing), (nothing, matrix)))
        matrix = ops.concatenate([above, below], axis=-2)
    shape = ops.shape(matrix)
    return ops.reshape(ops.matmul(ops.reshape(x, (shape[0], -1, shape[1])), matrix), ops.shape(x))


def _rows_of(matrix, labels, pool):
    """Return the row of each label (batch, ...) in the matrix of its sample, (batch or 1, classes, classes)."""
    classes, shape = matrix.shape[-1], ops.shape(labels)
    if classes <= MOST_IN_PAIRS and _in_pairs(labels.shape[1:]):
        # The row of two voxels: their labels are the digits of its number.
        matrix = ops.concatenate([ops.repeat(matrix, classes, axis=1), ops.tile(matrix, (1, classes, 1))], axis=-1)
        labels = ops.reshape(labels, (shape[0], -1, 2))
        labels = labels[..., 0] * classes + labels[..., 1]
    if pool == "sample":
        labels = labels + matrix.shape[1] * _sample_index(labels)
    rows = ops.take(ops.reshape(matrix, (-1, matrix.shape[-1])), labels, axis=0)
    return ops.reshape(rows, (*shape, classes))


def _in_pairs(lengths):
    """Return whether the voxels of a sample can be taken two at a time, which halves the time on a CPU."""
    return math.prod(length or 1 for length in lengths) % 2 == 0


def _matrix(y_true, y_pred, pool):
    """Return Σ y_k p_l in two stages, within the rows of a volume and over them."""
    classes, shape = y_pred.shape[-1], ops.shape(y_pred)
    rows = shape[1] if len(shape) > 3 else 1
    y, p = (ops.reshape(x, (-1, rows, math.prod(shape[1:-1]) // rows, classes)) for x in (y_true, y_pred))
    matrix = ops.sum(ops.matmul(ops.transpose(y, (0, 1, 3, 2)), p), axis=1)
    return ops.sum(matrix, axis=0, keepdims=True) if pool == "batch" else matrix


def _sample_index(labels):
    """Return the index of the sample of each voxel, (batch, 1, ...)."""
    return ops.reshape(ops.arange(ops.shape(labels)[0], dtype=labels.dtype), (-1, *(1,) * (len(labels.shape) - 1)))


def gorodkin(matrix):
    """Return R_K, the correlation of K classes, of confusion matrices (..., true class, predicted class).

    R_K = Σ_k (TP_k TN_k - FP_k FN_k) / √(Σ_k p_k p_rest(k) · Σ_k t_k t_rest(k)), each of them a sum of cells and never
    a difference, so that rare classes keep their digits. 0 where it is 0/0; with two classes it is `matthews`.

    Example:

    >>> f"{float(gorodkin([[0.25, 0.0], [0.25, 0.5]])):.5f}"
    '0.57735'

    References:
        Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient, Computational Biology
        and Chemistry 28, 2004.
    """
    above, by_true, by_predicted = gorodkin_parts(ops.convert_to_tensor(matrix))
    return above * ops.rsqrt(ops.maximum(by_true, SMALLEST)) * ops.rsqrt(ops.maximum(by_predicted, SMALLEST))


def gorodkin_parts(matrix):
    """Return the numerator of R_K and what stands below its two roots, for truth and for prediction."""
    others = 1.0 - ops.eye(matrix.shape[-1], dtype=matrix.dtype)
    true, predicted = ops.sum(matrix, axis=-1), ops.sum(matrix, axis=-2)
    tp = ops.sum(matrix * (1.0 - others), axis=-1)
    fn, fp = ops.sum(matrix * others, axis=-1), ops.sum(matrix * others, axis=-2)
    # TN_k: rows other than k summed over columns other than k.
    tn = ops.sum(ops.matmul(others, matrix) * others, axis=-1)
    by_true, by_predicted = (
        ops.sum(x * ops.matmul(x[..., None, :], others)[..., 0, :], axis=-1) for x in (true, predicted)
    )
    return ops.sum(tp * tn - fp * fn, axis=-1), by_true, by_predicted
