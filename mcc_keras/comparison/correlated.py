"""Two settings over the folds of a cross-validation: what may be said of the settings, as of a loss.

The unit is a fold: its patients share a network, its seeds share training and test patients, and folds share training
patients. Scores of a fold are averaged first; the shared training patients are accounted for by the correction of
Nadeau and Bengio, in which the variance of the mean of n folds is (1/n + test / train) times that of one.
"""

import numpy as np

ROPE = 0.01
_POINTS = 20_000  # of a numerical integral


def corrected_t(differences, *, ratio):
    """Return Nadeau and Bengio's corrected resampled t statistic and its two-sided p-value.

        t = mean / √((1/n + ratio) s²),  n − 1 degrees of freedom

    Args:
        differences: Array (..., n): a difference for each fold, two or more; leading axes are further experiments.
        ratio: Number of test patients of a fold by that of its training patients; 0 is the plain t-test.

    Returns:
        (t, p), each of the leading shape; p is 1 where all differences are 0.

    Example:

    >>> t, p = corrected_t(np.array([0.02, 0.03, 0.01, 0.02, 0.04]), ratio=0.25)
    >>> round(float(t), 3), round(float(p), 3)
    (3.138, 0.035)

    References:
        Nadeau and Bengio, Inference for the Generalization Error, Machine Learning 52, 2003.
    """
    from scipy.special import stdtr  # here, since its import takes long

    mean, error, n = _moments(differences, ratio)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error > 0, mean / error, np.where(mean == 0, 0.0, np.copysign(np.inf, mean)))
    return t, 2 * stdtr(n - 1, -np.abs(t))


def correlated_posterior(differences, *, ratio, rope=ROPE):
    """Return the probabilities that the true difference is below −rope, within the rope, and above it.

    The Bayesian correlated t-test: Student's distribution with n − 1 degrees of freedom around the mean difference,
    with the variance of `corrected_t`. The rope is the region of practical equivalence.

    Args:
        differences: Array (..., n): a difference for each fold.
        ratio: As in `corrected_t`; ρ / (1 − ρ) in the notation of the paper.
        rope: Largest difference that makes none in practice, 0 or more.

    Returns:
        Array (..., 3), which sums to 1.

    Example:

    >>> found = correlated_posterior(np.array([0.02, 0.03, 0.01, 0.02, 0.04]), ratio=0.25)
    >>> found.round(3).tolist()
    [0.006, 0.065, 0.929]

    References:
        Corani and Benavoli, A Bayesian approach for comparing cross-validated algorithms on multiple data sets,
        Machine Learning 100, 2015. Benavoli et al., Time for a Change, JMLR 18, 2017.
    """
    from scipy.special import stdtr  # here, since its import takes long

    mean, error, n = _moments(differences, ratio)
    with np.errstate(divide="ignore", invalid="ignore"):
        below = np.where(error > 0, stdtr(n - 1, (-rope - mean) / error), mean < -rope)
        above = np.where(error > 0, stdtr(n - 1, (mean - rope) / error), mean > rope)
    return np.stack([below, 1 - below - above, above], axis=-1)


def smallest_difference(deviation, *, folds, ratio, tests=1, power=0.8, level=0.05):
    """Return the smallest true difference that `corrected_t` finds with some power.

    Args:
        deviation: Standard deviation of the differences of folds.
        folds: Number of folds, two or more.
        ratio: As in `corrected_t`.
        tests: Number of rivals; the level is divided by it, as in the first step of Holm's method.
        power: Probability to find the difference.
        level: Probability to find one where there is none.

    Example:

    With ratio 0 it is the paired t-test, which finds 0.5 standard deviations with 34 pairs (Cohen 1988):

    >>> f"{smallest_difference(1.0, folds=34, ratio=0):.2f} {smallest_difference(0.02, folds=5, ratio=0.25):.3f}"
    '0.50 0.050'
    """
    from scipy.optimize import brentq  # here, since their imports take long
    from scipy.special import ndtr
    from scipy.stats import chi2, t

    freedom, points = folds - 1, (np.arange(_POINTS) + 0.5) / _POINTS
    # The statistic is (z + effect) / q with q² a mean of squares; scipy's noncentral t is NaN for some large effects.
    limits = t.ppf(1 - level / (2 * tests), freedom) * np.sqrt(chi2.ppf(points, freedom) / freedom)

    def missing(effect):
        return float((ndtr(effect - limits) + ndtr(-effect - limits)).mean()) - power

    return float(brentq(missing, 0.0, 10 * limits.max()) * deviation * (1 / folds + ratio) ** 0.5)


def _moments(differences, ratio):
    """Return the mean, its corrected standard error, and the number of folds."""
    differences = np.asarray(differences, float)
    n = differences.shape[-1]
    same = differences.max(axis=-1) == differences.min(axis=-1)  # of which rounding would leave a tiny variance
    variance = np.where(same, 0.0, differences.var(axis=-1, ddof=1))
    return differences.mean(axis=-1), np.sqrt((1 / n + ratio) * variance), n
