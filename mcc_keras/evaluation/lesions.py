"""Lesions: the connected components of a mask, counted one by one."""

import dataclasses

import numpy as np
from scipy import ndimage

MIN_IOU = 0.1
_NEIGHBORS = np.ones((3, 3, 3), bool)  # 26


@dataclasses.dataclass(frozen=True)
class Lesions:
    """Numbers of lesions in one case.

    Args:
        true: In the truth.
        predicted: In the prediction.
        detected: True ones that share at least one voxel with the prediction.
        detected_iou: True ones of which one predicted lesion has an intersection over union of at least 0.1.
        false: Predicted ones that share no voxel with the truth.
    """

    true: int
    predicted: int
    detected: int
    detected_iou: int
    false: int


def count_lesions(truth, predicted, *, smallest_voxels=0):
    """Count the lesions of two masks, each a component of 26 neighbors.

    Args:
        truth: Boolean array (x, y, z).
        predicted: Boolean array of the same shape.
        smallest_voxels: Lesions with fewer voxels are not counted, but still detect, or excuse, those that they touch.

    Returns:
        `Lesions`.

    Example:

    >>> truth, predicted = np.zeros((2, 1, 1, 9), bool)
    >>> truth[..., 0:2] = truth[..., 4:6] = True
    >>> predicted[..., 1:3] = predicted[..., 8] = True
    >>> count_lesions(truth, predicted)
    Lesions(true=2, predicted=2, detected=1, detected_iou=1, false=1)
    """
    box = _box(truth | predicted)
    truth, predicted = truth[box], predicted[box]
    true, num_true = ndimage.label(truth, _NEIGHBORS)
    found, num_found = ndimage.label(predicted, _NEIGHBORS)
    both = truth & predicted
    pairs = np.bincount(true[both].astype(np.int64) * (num_found + 1) + found[both], minlength=1)
    shared = np.flatnonzero(pairs)
    of_true, of_found = np.divmod(shared, num_found + 1)
    sizes, found_sizes = np.bincount(true.ravel(), minlength=1), np.bincount(found.ravel(), minlength=1)
    iou = pairs[shared] / (sizes[of_true] + found_sizes[of_found] - pairs[shared])
    counted = np.flatnonzero(sizes[1:] >= smallest_voxels) + 1
    counted_found = np.flatnonzero(found_sizes[1:] >= smallest_voxels) + 1
    return Lesions(
        true=len(counted),
        predicted=len(counted_found),
        detected=int(np.isin(counted, of_true).sum()),
        detected_iou=int(np.isin(counted, of_true[iou >= MIN_IOU]).sum()),
        false=int((~np.isin(counted_found, of_found)).sum()),
    )


def _box(mask):
    """Return the slices of the smallest box that holds a mask."""
    found = ndimage.find_objects(mask.astype(np.uint8), max_label=1)[0]
    return found or (slice(0, 1),) * mask.ndim
