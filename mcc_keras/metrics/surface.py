"""Distances between the surfaces of two masks, in mm, and the volume they differ by: functions on NumPy arrays.

A surface is made of voxels here: those of the mask that touch the outside through a face (what is beyond the array is
outside). Each counts once, or by the area of its boundary faces with `weighting="area"`. Distances are between voxel
centres. All of it happens in the bounding box of both masks, with one distance transform a mask.

What is said when a mask is empty, see `mcc_keras.metrics.EMPTY`: distances are infinite if one is and 0 if both are.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from mcc_keras.errors import UsageError

WEIGHTINGS = ("voxel", "area")


class SurfaceDistances(NamedTuple):
    """Distances of the surface voxels of each mask to the other surface, ascending, and what each of them counts."""

    to_prediction_mm: np.ndarray
    truth_sizes: np.ndarray
    to_truth_mm: np.ndarray
    prediction_sizes: np.ndarray


def surface_distances(truth, prediction, spacing_mm, *, weighting="voxel"):
    """Return the distances between two surfaces, both ways.

    Args:
        truth: Mask (x, y, z), or of any rank; nonzero is inside.
        prediction: Mask of the same shape.
        spacing_mm: Edge lengths of a voxel, one for each axis, above 0.
        weighting: "voxel": every surface voxel counts 1. "area": it counts the area of its boundary faces in mm².

    Raises:
        UsageError: Shapes that differ, a spacing that does not fit, an unknown weighting.

    Example:

    >>> truth, prediction = np.zeros((2, 9, 9, 9), bool)
    >>> truth[4, 4, 2], prediction[4, 4, 6] = True, True
    >>> surface_distances(truth, prediction, (3.0, 2.0, 0.5)).to_truth_mm.tolist()
    [2.0]
    """
    truth, prediction, spacing = _checked(truth, prediction, spacing_mm)
    if weighting not in WEIGHTINGS:
        raise UsageError(f"`weighting` must be 'voxel' or 'area'. Received: weighting={weighting!r}")
    if not truth.any() or not prediction.any():
        sizes = [_surface(mask, spacing, weighting) for mask in (truth, prediction)]
        sizes = [size[size > 0] for size in sizes]
        return SurfaceDistances(np.full(len(sizes[0]), np.inf), sizes[0], np.full(len(sizes[1]), np.inf), sizes[1])
    box = _bounding_box(truth | prediction)
    truth_size, prediction_size = (_surface(mask[box], spacing, weighting) for mask in (truth, prediction))
    return SurfaceDistances(
        *_ascending(truth_size, prediction_size, spacing), *_ascending(prediction_size, truth_size, spacing)
    )


def hausdorff_distance_mm(truth, prediction, spacing_mm, *, percentile=100.0):
    """Return the Hausdorff distance: how far the farthest surface voxel of either mask is from the other surface.

    Args:
        truth, prediction, spacing_mm: As in `surface_distances`.
        percentile: Of the distances of each surface, in (0, 100]; the larger of the two is returned. 95 is usual.

    Example:

    >>> x, y, z = np.indices((25, 25, 25))
    >>> ball, moved = (((x - c) ** 2 + (y - c) ** 2 + (z - c) ** 2 < 100) for c in (12, 11))
    >>> f"{hausdorff_distance_mm(ball, moved, (1, 1, 1)):.4f}"
    '1.7321'
    """
    return hausdorff_of(surface_distances(truth, prediction, spacing_mm), percentile=percentile)


def average_surface_distance_mm(truth, prediction, spacing_mm, *, weighting="voxel"):
    """Return the average symmetric surface distance: the mean over the surface voxels of both masks.

    Args:
        truth, prediction, spacing_mm, weighting: As in `surface_distances`.

    Example:

    >>> plane, moved = np.zeros((2, 3, 3, 6), bool)
    >>> plane[..., 1] = moved[..., 3] = True
    >>> average_surface_distance_mm(plane, moved, (1, 1, 1.5))
    3.0
    """
    return average_of(surface_distances(truth, prediction, spacing_mm, weighting=weighting))


def surface_dice(truth, prediction, spacing_mm, *, tolerance_mm, weighting="voxel"):
    """Return the share of both surfaces that lies within a tolerance of the other.

    Args:
        truth, prediction, spacing_mm, weighting: As in `surface_distances`.
        tolerance_mm: What still counts as the same place, 0 or more.

    Raises:
        UsageError: If the tolerance is negative.

    Example:

    >>> plane, moved = np.zeros((2, 3, 3, 6), bool)
    >>> plane[..., 1] = moved[..., 3] = True
    >>> [surface_dice(plane, moved, (1, 1, 1.5), tolerance_mm=mm) for mm in (2, 3)]
    [0.0, 1.0]

    References:
        Nikolov et al., Deep learning to achieve clinically applicable segmentation of head and neck anatomy for
        radiotherapy, 2018.
    """
    if not tolerance_mm >= 0:
        raise UsageError(f"`tolerance_mm` must be 0 or more. Received: tolerance_mm={tolerance_mm}")
    distances = surface_distances(truth, prediction, spacing_mm, weighting=weighting)
    distance, size = _both(distances)
    return float(size[distance <= tolerance_mm].sum() / size.sum()) if size.size else 1.0


def hausdorff_of(distances, *, percentile=100.0):
    """Return the Hausdorff distance of `SurfaceDistances` that were computed already."""
    if not 0 < percentile <= 100:
        raise UsageError(f"`percentile` must be in (0, 100]. Received: percentile={percentile}")
    ways = distances.to_prediction_mm, distances.to_truth_mm
    if not any(way.size for way in ways):
        return 0.0
    if not all(way.size for way in ways):
        return float("inf")
    return float(max(np.percentile(way, percentile) for way in ways))


def average_of(distances):
    """Return the average symmetric surface distance of `SurfaceDistances` that were computed already."""
    distance, size = _both(distances)
    return float(np.average(distance, weights=size)) if size.size else 0.0


def relative_volume_difference(truth, prediction):
    """Return (|P| - |T|) / |T|: above 0 if too much was found. Infinite if only the truth is empty, 0 if both are.

    Example:

    >>> relative_volume_difference(np.array([1, 1, 0, 0]), np.array([1, 1, 1, 0]))
    0.5
    """
    true, predicted = (int(np.count_nonzero(mask)) for mask in (truth, prediction))
    if true == 0:
        return 0.0 if predicted == 0 else float("inf")
    return (predicted - true) / true


def region(mask, labels):
    """Return where a mask has one of the labels: a region of several classes, such as BRATS' whole tumour.

    Example:

    >>> region(np.array([0, 1, 2, 4]), (1, 4)).tolist()
    [False, True, False, True]
    """
    return np.isin(mask, labels)


def _checked(truth, prediction, spacing_mm):
    truth, prediction = (x if x.dtype == bool else x != 0 for x in map(np.asarray, (truth, prediction)))
    if truth.shape != prediction.shape:
        raise UsageError(
            "`truth` and `prediction` must have the same shape. "
            f"Received: truth.shape={truth.shape}, prediction.shape={prediction.shape}"
        )
    spacing = np.asarray(spacing_mm, "float64")
    if spacing.shape != (truth.ndim,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise UsageError(
            f"`spacing_mm` must be {truth.ndim} lengths above 0, one for each axis. Received: spacing_mm={spacing_mm}"
        )
    return truth, prediction, spacing


def _bounding_box(mask):
    """Return the smallest box of slices that holds a mask; each axis is looked at within the box of those before."""
    box = [slice(None)] * mask.ndim
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        inside = np.flatnonzero(mask[tuple(box)].any(axis=others))
        box[axis] = slice(inside[0], inside[-1] + 1)
    return tuple(box)


def _surface(mask, spacing, weighting):
    """Return what each voxel adds to the surface, 0 where it is not on it."""
    size = np.zeros(mask.shape, "float32" if weighting == "area" else bool)
    for axis in range(mask.ndim):
        face = spacing.prod() / spacing[axis]
        for outside in _faces(mask, axis):
            if weighting == "area":
                size += np.float32(face) * outside
            else:
                size |= outside
    return size


def _faces(mask, axis):
    """Yield where the neighbour before and after a voxel of the mask is outside."""
    for first, last in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
        here, there = ([slice(None)] * mask.ndim for _ in range(2))
        here[axis], there[axis] = first, last
        outside = mask.copy()
        outside[tuple(here)] &= ~mask[tuple(there)]
        yield outside


def _ascending(size, other, spacing):
    """Return the distances from one surface to the other, ascending, with the sizes of their voxels."""
    # Only the squares at the surface are needed, so the nearest voxel is looked up there and not everywhere.
    here = np.nonzero(size)
    nearest = ndimage.distance_transform_edt(other == 0, spacing, return_distances=False, return_indices=True)
    offset = [(there[here] - at) * step for there, at, step in zip(nearest, here, spacing, strict=True)]
    distance = np.sqrt(sum(np.square(x) for x in offset))
    order = np.argsort(distance, kind="stable")
    return distance[order], size[here].astype("float64")[order]


def _both(distances):
    distance = np.concatenate([distances.to_prediction_mm, distances.to_truth_mm])
    return distance, np.concatenate([distances.truth_sizes, distances.prediction_sizes])
