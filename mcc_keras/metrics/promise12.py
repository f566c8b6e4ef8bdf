"""Scores of the PROMISE12 challenge: four metrics for the whole gland, its apex and its base."""

import numpy as np

from mcc_keras.errors import UsageError
from mcc_keras.metrics import surface

THIRDS = ("whole", "base", "apex")


def boundary_scores(truth, prediction, spacing_mm, *, axis=2, caudal_first=True):
    """Return Dice, relative volume difference, mean and 95 % boundary distance of whole gland, base and apex.

    The apex is the caudal third of the slices of the truth, the base the cranial third; the truth decides the slices.

    Args:
        truth: Mask (x, y, z) of the gland.
        prediction: Mask of the same shape.
        spacing_mm: Edge lengths of a voxel.
        axis: The axis from foot to head.
        caudal_first: Whether index 0 on it is at the foot, as it is in RAS+ voxel order.

    Returns:
        A dict of "whole", "base" and "apex", each a dict of "dice", "relative_volume_difference_percent" (absolute),
        "average_boundary_distance_mm" and "hausdorff95_distance_mm".

    Raises:
        UsageError: If the truth is empty, or the shapes differ.

    Example:

    >>> truth = np.zeros((8, 8, 9), bool)
    >>> truth[2:6, 2:6] = True
    >>> scores = boundary_scores(truth, truth & (np.arange(9) > 2), (1, 1, 2))
    >>> {third: round(score["dice"], 2) for third, score in scores.items()}
    {'whole': 0.8, 'base': 1.0, 'apex': 0.0}
    """
    truth, prediction = np.asarray(truth) != 0, np.asarray(prediction) != 0
    if truth.shape != prediction.shape or not truth.any():
        raise UsageError(
            "`truth` must have the shape of `prediction` and not be empty. Received: "
            f"truth.shape={truth.shape}, prediction.shape={prediction.shape}, {int(truth.sum())} voxels of truth"
        )
    slices = np.flatnonzero(truth.any(axis=tuple(other for other in range(truth.ndim) if other != axis)))
    caudal, cranial = np.array_split(np.arange(slices[0], slices[-1] + 1), 3)[::2]
    apex, base = (caudal, cranial) if caudal_first else (cranial, caudal)
    parts = {"whole": np.arange(truth.shape[axis]), "base": base, "apex": apex}
    # Outside the third both masks are left out, so its cut faces are no surface that the two could disagree on.
    return {
        name: _scores(truth.take(part, axis), prediction.take(part, axis), spacing_mm) for name, part in parts.items()
    }


def _scores(truth, prediction, spacing_mm):
    distances = surface.surface_distances(truth, prediction, spacing_mm)
    both = int(truth.sum()) + int(prediction.sum())
    return {
        "dice": 2 * int((truth & prediction).sum()) / both if both else 1.0,
        "relative_volume_difference_percent": 100 * abs(surface.relative_volume_difference(truth, prediction)),
        "average_boundary_distance_mm": surface.average_of(distances),
        "hausdorff95_distance_mm": surface.hausdorff_of(distances, percentile=95),
    }


def relative_score(value, *, perfect, observer):
    """Return the challenge's score: linear, 100 if perfect, 85 as good as a second observer, never under 0.

    Args:
        value: The value of a metric.
        perfect: Its value for a perfect segmentation: 1 for Dice, 0 for distances and differences.
        observer: Its value for the second observer, which the challenge measured and this package does not know.

    Raises:
        UsageError: If the observer is perfect, which leaves no line.

    Example:

    >>> relative_score(0.9, perfect=1.0, observer=0.85)
    90.0
    """
    if observer == perfect:
        raise UsageError(f"`observer` must differ from `perfect`. Received: observer={observer}, perfect={perfect}")
    return max(0.0, round(100 - 15 * (value - perfect) / (observer - perfect), 10))
