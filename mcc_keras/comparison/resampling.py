"""Drawing again what could have come out otherwise: folds, their seeds, and their patients."""

import numpy as np

RESAMPLES, CONFIDENCE = 2000, 0.95


def nested_interval(folds, *, seed=0, resamples=RESAMPLES):
    """Return the percentile interval of the mean over folds, by drawing cells, then patients.

    A draw takes folds with replacement, for each of them seeds, and then patients of that fold, the same ones for each
    seed. A fold counts by its mean, as in `correlated`.

    Args:
        folds: For each fold an array (seeds, patients) of differences; NaN is a blank.
        seed: Integer seed of the draws.
        resamples: Their number.

    Returns:
        (low, high) that hold 95 % of the means, or (`None`, `None`) with fewer than two folds.

    Example:

    >>> low, high = nested_interval([np.array([[0.1, 0.3]]), np.array([[0.0, 0.2]])])
    >>> 0.0 <= low < 0.15 < high <= 0.3
    True

    References:
        Davison and Hinkley, Bootstrap Methods and their Application, 1997, chapter 3.8, on hierarchical data.
    """
    if len(folds) < 2:
        return None, None
    rng, means = np.random.default_rng(seed), []
    for fold in folds:  # the mean of a fold, drawn often enough that no draw of folds takes one twice
        fold = np.asarray(fold, float)
        shape = (resamples * 2, fold.shape[0])
        seeds, patients = (rng.integers(size, size=(shape[0], size)) for size in fold.shape)
        weight = np.zeros(shape)
        np.add.at(weight, (np.arange(shape[0])[:, None], seeds), 1 / fold.shape[0])
        values, there = np.nan_to_num(fold)[:, patients], np.isfinite(fold)[:, patients]
        counted = np.maximum(there.sum(axis=-1), 1)
        means.append((values.sum(axis=-1) / counted * weight.T).sum(axis=0))
    means = np.array(means)
    drawn = rng.integers(len(folds), size=(resamples, len(folds)))
    rows = rng.integers(means.shape[1], size=drawn.shape)
    low, high = np.quantile(means[drawn, rows].mean(axis=1), ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return float(low), float(high)


def other_winner_share(scores, *, share=0.1, seed=0, resamples=RESAMPLES):
    """Return how often a test part of a share of the patients would name another winner than all patients do.

    Args:
        scores: Array (arms, patients), higher is better; a patient with a blank (NaN) is left out.
        share: Of the patients in such a part; at least one patient is drawn, without replacement.
        seed: Integer seed of the draws.
        resamples: Their number.

    Example:

    >>> other_winner_share([[0.9, 0.8, 0.7, 0.8], [0.8, 0.7, 0.8, 0.6]], share=0.25, resamples=20_000)  # 1 of 4
    0.25
    """
    scores = np.asarray(scores, float)
    scores = scores[:, np.isfinite(scores).all(axis=0)]
    patients = scores.shape[1]
    drawn = max(1, round(share * patients))
    order = np.random.default_rng(seed).random((resamples, patients)).argsort(axis=1)[:, :drawn]
    winners = scores[:, order].mean(axis=-1).argmax(axis=0)
    return round(float((winners != scores.mean(axis=1).argmax()).mean()), 3)
