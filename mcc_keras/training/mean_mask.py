"""A trivial baseline of a training: the mask that most training masks share, the same for every volume."""

from typing import NamedTuple

import numpy as np

from mcc_keras.pipeline.arrays import read_arrays

SHARES = np.arange(1, 10) / 10  # of the training masks
MOST_BYTES = 2**28  # of the counts; with more classes and voxels there is no such baseline


class MeanMask(NamedTuple):
    """The mean training mask, thresholded.

    Args:
        share: A voxel is the class which at least so many of the training masks hold there, the most frequent one.
        dice: Its validation Dice: the mean over the volumes that hold a class, then over classes.
    """

    share: float
    dice: float


def score_mean_mask(manifest):
    """Return the `MeanMask` of records with the share that is best on the training part, or `None`.

    The training part is read twice, the validation part once, one volume at a time. There is none where no training
    mask holds a class, where the sizes of the volumes differ, or where the counts would take more than 256 MiB.

    Args:
        manifest: `Manifest` with a training and a validation part.
    """
    classes, shape = len(manifest.task.labels), manifest.image_shape[:3]
    if None in shape or 4 * classes * int(np.prod(shape)) > MOST_BYTES:
        return None
    counts = np.zeros((classes, *shape), np.uint32)
    for mask in _masks(manifest, "train"):
        for number in range(classes):
            counts[number] += mask == number + 1
    frequent = (counts.argmax(axis=0) + 1).astype(np.uint8)
    # How many of the shares each voxel reaches; the small number is for thirds of three and the like.
    level = np.searchsorted(SHARES, counts.max(axis=0) / manifest.counts["train"] + 1e-9).astype(np.uint8)
    scores = mean_dice(_masks(manifest, "train"), frequent, level, classes=classes)
    if np.isnan(scores).any():
        return None
    best = int(scores.argmax())
    scores = mean_dice(_masks(manifest, "validation"), frequent, level, classes=classes)
    return MeanMask(float(SHARES[best]), float(scores[best]))


def mean_dice(masks, frequent, level, *, classes):
    """Return the Dice of the thresholded mean mask for each share, an array of the length of `SHARES`.

    Args:
        masks: Integer arrays (x, y, z) of true classes from 0.
        frequent: Integer array (x, y, z), the most frequent class from 1.
        level: Integer array (x, y, z): how many of the shares that class reaches.
        classes: Number of foreground classes.

    Returns:
        Mean over the volumes that hold a class, then over classes; NaN where no volume holds any.

    Example:

    >>> mask = np.array([[[1, 1, 0, 0]]])
    >>> level = np.array([[[9, 9, 3, 0]]])
    >>> mean_dice([mask], np.ones_like(mask), level, classes=1).round(2).tolist()
    [0.8, 0.8, 0.8, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    total, held = np.zeros((classes, len(SHARES))), np.zeros(classes)
    predicted = _voxels_reached(frequent, level, classes)
    for mask in masks:
        size = np.bincount(mask.ravel(), minlength=classes + 1)[1:, None]
        both = _voxels_reached(np.where(mask == frequent, mask, 0), level, classes)
        total += np.where(size > 0, 2 * both / np.maximum(size + predicted, 1), 0)
        held += size[:, 0] > 0
    found = held > 0
    return (total[found] / held[found, None]).mean(axis=0) if found.any() else np.full(len(SHARES), np.nan)


def _masks(manifest, part):
    return (record.mask for record in read_arrays(manifest, part, images=False))


def _voxels_reached(labels, level, classes):
    """Return the number of voxels of each class that reach each share, (classes, shares)."""
    levels = len(SHARES) + 1
    places = labels.astype(np.int64).ravel() * levels + level.ravel()
    table = np.bincount(places, minlength=(classes + 1) * levels).reshape(classes + 1, levels)[1:]
    return table[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
