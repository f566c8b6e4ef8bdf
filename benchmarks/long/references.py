"""The losses in NumPy and float64, as their formulas stand in the docstrings, and a confusion matrix."""

import numpy as np


def matrix_of(true, predicted, classes):
    """Return the confusion matrix (true class, predicted class) of integer arrays."""
    return np.bincount((true * classes + predicted).ravel(), minlength=classes**2).reshape(classes, classes)


def value_of(name, y, p):
    """Return a loss of `LOSSES`, with its default arguments, of a one-hot target and probabilities (batch, ..., K)."""
    if name.endswith("_cross_entropy"):
        return value_of(name.removesuffix("_cross_entropy"), y, p) + value_of("cross_entropy", y, p)
    y, p = (x.reshape(len(x), -1, x.shape[-1]).astype("float64") for x in (y, p))
    return float(np.mean(LOSSES[name](y, p)))


def cells(y, p):
    """Return TP, FP, FN and TN, each (batch, K)."""
    return [x.sum(1) for x in (y * p, (1 - y) * p, y * (1 - p), (1 - y) * (1 - p))]


def foreground(values):
    return values if values.shape[-1] == 1 else values[:, 1:]


def with_background(y, p):
    return (np.concatenate([1 - x, x], -1) for x in (y, p)) if y.shape[-1] == 1 else (y, p)


def mcc(y, p):
    y, p = with_background(y, p)
    matrix = np.einsum("bvk,bvl->bkl", y, p) + np.eye(y.shape[-1])
    true, predicted, total = matrix.sum(2), matrix.sum(1), matrix.sum((1, 2))
    right = np.trace(matrix, axis1=1, axis2=2)
    spread = [total**2 - (x**2).sum(1) for x in (true, predicted)]
    return 1 - (right * total - (true * predicted).sum(1)) / np.sqrt(spread[0] * spread[1])


def dice(y, p, power=1):
    return foreground(1 - (2 * (y * p).sum(1) + 1) / ((y**power + p**power).sum(1) + 1))


def tversky(y, p, gamma=1.0):
    tp, fp, fn, _ = cells(y, p)
    return foreground((1 - (tp + 1) / (tp + 0.3 * fp + 0.7 * fn + 1)) ** gamma)


def generalized_dice(y, p):
    tp, fp, fn, _ = (foreground(x) for x in cells(y, p))
    size = tp + fn
    weight = np.where(
        size > 0, (np.where(size > 0, size, np.inf).min(1, keepdims=True) / np.maximum(size, 1e-30)) ** 2, 1
    )
    return 1 - (2 * (weight * tp).sum(1) + 1) / ((weight * (2 * tp + fp + fn)).sum(1) + 1)


def gwd(y, p):
    y, p = with_background(y, p)
    near = (y * p).sum(2)
    true = 2 * (near * (1 - y[..., 0])).sum(1)
    return 1 - (true + 1) / (true + (1 - near).sum(1) + 1)


def focal(y, p, gamma=2.0):
    y, p = with_background(y, p)
    own = (y * p).sum(2)
    return -((1 - own) ** gamma * np.log(own)).mean(1)


def auc(y, p):
    tp, fp, fn, tn = cells(y, p)
    positive, negative = tp + fn + 1, tn + fp + 1
    pairs = 2 * (fn / positive) * (fp / negative)
    return foreground((y * (1 - p) ** 2).sum(1) / positive + ((1 - y) * p**2).sum(1) / negative + pairs)


LOSSES = {
    "mcc": mcc,
    "dice": dice,
    "dice_squared": lambda y, p: dice(y, p, 2),
    "gwd": gwd,
    "cross_entropy": lambda y, p: focal(y, p, 0.0),
    "generalized_dice": generalized_dice,
    "tversky": tversky,
    "focal_tversky": lambda y, p: tversky(y, p, 0.75),
    "focal": focal,
    "auc": auc,
}
