"""What many values come down to: spread with a confidence interval over patients, and agreement of volumes."""

import dataclasses

import numpy as np

RESAMPLES, CONFIDENCE = 2000, 0.95


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spread:
    """Values of one measure over cases, without blanks.

    Args:
        n: Number of values.
        mean: Their mean; `None` without values, as all below.
        low: Lower end of the 95 % confidence interval of the mean; `None` with fewer than two patients.
        high: Upper end.
        std: Standard deviation, n − 1 below; `None` with one value.
        median: Median.
        min: Smallest value.
        max: Largest value.
    """

    n: int = 0
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    std: float | None = None
    median: float | None = None
    min: float | None = None
    max: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
    """Bland–Altman agreement of predicted and true volumes.

    Args:
        n: Number of cases.
        bias_ml: Mean of predicted − true volume.
        low_ml: Lower limit of agreement, bias − 1.96 standard deviations; `None` with one case.
        high_ml: Upper limit of agreement.
    """

    n: int
    bias_ml: float
    low_ml: float | None
    high_ml: float | None


def summarize(values, patients, *, seed=0):
    """Return the `Spread` of values.

    The confidence interval is the percentile interval of 2000 bootstrap samples. Patients are drawn, each with all of
    its cases, since scans of one patient are not independent.

    Args:
        values: Numbers, or `None` for a blank.
        patients: The patient of each value.
        seed: Integer seed of the draws.

    Example:

    >>> spread = summarize([0.5, None, 0.7, 0.9], ["a", "b", "c", "c"])
    >>> spread.n, round(spread.mean, 2), round(spread.median, 2)
    (3, 0.7, 0.7)
    >>> 0.5 <= spread.low < spread.mean < spread.high <= 0.9
    True
    """
    kept = [(value, patient) for value, patient in zip(values, patients, strict=True) if value is not None]
    if not kept:
        return Spread()
    values = np.array([value for value, _ in kept], float)
    low, high = _interval(values, [patient for _, patient in kept], seed=seed)
    return Spread(
        n=len(values),
        mean=float(values.mean()),
        low=low,
        high=high,
        std=float(values.std(ddof=1)) if len(values) > 1 else None,
        median=float(np.median(values)),
        min=float(values.min()),
        max=float(values.max()),
    )


def _interval(values, patients, *, seed):
    names, index = np.unique(patients, return_inverse=True)
    if len(names) < 2:
        return None, None
    sums, counts = np.bincount(index, values), np.bincount(index)
    drawn = np.random.default_rng(seed).integers(len(names), size=(RESAMPLES, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return float(low), float(high)


def agree(true_ml, predicted_ml):
    """Return the `Agreement` of volumes, or `None` without cases.

    Example:

    >>> agree([10.0, 20.0, 30.0], [11.0, 20.0, 32.0])
    Agreement(n=3, bias_ml=1.0, low_ml=-0.96, high_ml=2.96)
    """
    differences = np.subtract(predicted_ml, true_ml)
    if not differences.size:
        return None
    bias = float(differences.mean())
    limit = 1.96 * float(differences.std(ddof=1)) if differences.size > 1 else None
    return Agreement(
        n=int(differences.size),
        bias_ml=bias,
        low_ml=None if limit is None else bias - limit,
        high_ml=None if limit is None else bias + limit,
    )
