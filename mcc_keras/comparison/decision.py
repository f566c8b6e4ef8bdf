"""Several rivals against one reference: one test each on one measure, and Holm's correction over these tests only."""

import numpy as np

from mcc_keras.comparison.correlated import corrected_t

LEVEL = 0.05


def holm(p):
    """Return p-values corrected by Holm's step-down method.

    The chance to reject any true hypothesis is then at most the level, whatever the tests have to do with each other.

    Args:
        p: Array (..., tests).

    Example:

    >>> holm([0.01, 0.04, 0.03]).tolist()  # 3 · 0.01, 1 · 0.04, 2 · 0.03, each at least the one before
    [0.03, 0.06, 0.06]

    References:
        Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6, 1979.
    """
    p = np.asarray(p, float)
    order = np.argsort(p, axis=-1)
    factors = np.arange(p.shape[-1], 0, -1)
    stepped = np.maximum.accumulate(np.take_along_axis(p, order, axis=-1) * factors, axis=-1)
    corrected = np.empty_like(p)
    np.put_along_axis(corrected, order, np.minimum(1.0, stepped), axis=-1)
    return corrected


def judge_rivals(cells, *, ratio):
    """Return the p-value of each rival against the reference, corrected for their number.

    Seeds of a fold are averaged before anything else. To take each fold and seed as a unit would count the patients of
    a fold once for each seed: on simulated scores without any difference, that claims one too often (the test of this
    function holds both to 2,000 data sets).

    Args:
        cells: Array (..., arms, folds, seeds) of the mean score of each cell; the first arm is the reference, and there
            are two folds or more.
        ratio: Number of test patients of a fold by that of its training patients.

    Returns:
        Array (..., arms − 1).

    Example:

    >>> cells = np.array([[[0.70], [0.80], [0.75]], [[0.80], [0.91], [0.84]], [[0.71], [0.79], [0.75]]])
    >>> judge_rivals(cells, ratio=0.5).round(3).tolist()
    [0.016, 1.0]
    """
    folds = np.asarray(cells, float).mean(axis=-1)
    _, p = corrected_t(folds[..., 1:, :] - folds[..., :1, :], ratio=ratio)
    return holm(p)
