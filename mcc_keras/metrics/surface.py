"""Distances between the surfaces of two masks in mm, and their difference in volume, on NumPy arrays.

A surface consists of elements of one of two kinds:

| `weighting` | an element is | it counts | as in |
|---|---|---|---|
| "voxel" (default) | a voxel of the mask that touches the outside through a face | 1 | MONAI |
| "area" | a place between 2 × 2 × 2 voxels that are not all on one side | its area in mm² | surface-distance |

"area" gives flat pieces of a surface a weight independent of the resolution, which matters where slices are thick.
Everything beyond the array is outside. Distances are between the centers of the elements. They are computed in the
bounding box of both masks, with one distance transform per mask, or none where the surfaces are close to each other.

Distances are infinite if one mask is empty and 0 if both are, see `mcc_keras.metrics.EMPTY`; MONAI and surface-distance
return NaN or infinity.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from mcc_keras.errors import UsageError
from mcc_keras.extent import bounding_box
from mcc_keras.metrics.surface_elements import area_elements, voxel_elements

WEIGHTINGS = ("voxel", "area")
REACH = 10  # in shortest edges of a voxel
# A look costs about a tenth of a voxel of the distance transform, and what NumPy takes for a call that of 500 looks.
LOOKS_PER_VOXEL, FIXED_LOOKS = 2, 500


class SurfaceDistances(NamedTuple):
    """Distances of the elements of each surface to the other surface, ascending, and what each of them counts."""

    to_prediction_mm: np.ndarray
    truth_sizes: np.ndarray
    to_truth_mm: np.ndarray
    prediction_sizes: np.ndarray
    weighting: str = "voxel"


def surface_distances(truth, prediction, spacing_mm, *, weighting="voxel"):
    """Return the distances between two surfaces, both ways.

    Args:
        truth: Mask (x, y, z), or of any rank; nonzero is inside.
        prediction: Mask of the same shape.
        spacing_mm: Edge lengths of a voxel, one for each axis, above 0.
        weighting: "voxel": every surface voxel counts 1. "area": every surface element counts its area in mm² (masks
            of two axes: its length in mm).

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
        sizes = [size[size > 0].astype("float64") for size in sizes]
        far = [np.full(len(size), np.inf) for size in sizes]
        return SurfaceDistances(far[0], sizes[0], far[1], sizes[1], weighting)
    box = tuple(slice(*ends) for ends in bounding_box(truth | prediction))
    cropped = (np.ascontiguousarray(mask[box]) for mask in (truth, prediction))
    truth_size, prediction_size = (_surface(mask, spacing, weighting) for mask in cropped)
    return SurfaceDistances(
        *_ascending(truth_size, prediction_size, spacing), *_ascending(prediction_size, truth_size, spacing), weighting
    )


def hausdorff_distance_mm(truth, prediction, spacing_mm, *, percentile=100.0, weighting="voxel"):
    """Return the Hausdorff distance: the largest distance of an element of either surface to the other surface.

    Args:
        truth, prediction, spacing_mm, weighting: As in `surface_distances`.
        percentile: Of the distances of each surface, in (0, 100]; the larger of the two is returned. 95 is usual.
            By voxels it is interpolated; by area it is the distance within which that share of the area lies.

    Example:

    >>> x, y, z = np.indices((25, 25, 25))
    >>> ball, moved = (((x - c) ** 2 + (y - c) ** 2 + (z - c) ** 2 < 100) for c in (12, 11))
    >>> f"{hausdorff_distance_mm(ball, moved, (1, 1, 1)):.4f}"
    '1.7321'
    """
    distances = surface_distances(truth, prediction, spacing_mm, weighting=weighting)
    return hausdorff_of(distances, percentile=percentile)


def average_surface_distance_mm(truth, prediction, spacing_mm, *, weighting="voxel"):
    """Return the average symmetric surface distance: the mean over the elements of both surfaces.

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
        tolerance_mm: Largest distance that counts as agreement, 0 or more.

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
    if distances.weighting == "voxel":
        return float(max(np.percentile(way, percentile) for way in ways))
    sizes = distances.truth_sizes, distances.prediction_sizes
    return float(max(_within(way, size, percentile / 100) for way, size in zip(ways, sizes, strict=True)))


def _within(distance, size, share):
    """Return the distance within which a share of the surface lies."""
    reached = np.cumsum(size) / size.sum()
    return distance[min(np.searchsorted(reached, share), len(distance) - 1)]


def average_of(distances):
    """Return the average symmetric surface distance of `SurfaceDistances` that were computed already."""
    distance, size = _both(distances)
    return float(np.average(distance, weights=size)) if size.size else 0.0


def relative_volume_difference(truth, prediction):
    """Return (|P| - |T|) / |T|, above 0 if the prediction is too large; infinite if only T is empty, 0 if both are.

    Example:

    >>> relative_volume_difference(np.array([1, 1, 0, 0]), np.array([1, 1, 1, 0]))
    0.5
    """
    true, predicted = (int(np.count_nonzero(mask)) for mask in (truth, prediction))
    if true == 0:
        return 0.0 if predicted == 0 else float("inf")
    return (predicted - true) / true


def region(mask, labels):
    """Return where a mask has one of the labels: a region of several classes, as BRATS' whole tumour.

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


def _surface(mask, spacing, weighting):
    return voxel_elements(mask) if weighting == "voxel" else area_elements(mask, spacing)


def _ascending(size, other, spacing):
    """Return the distances from one surface to the other, ascending, with the sizes of the elements."""
    flat = np.flatnonzero(size)
    here = np.unravel_index(flat, size.shape)
    distance = _look_around(here, other > 0, spacing)
    far = np.isnan(distance)
    if far.any():
        # Only the distances at the surface are needed, so the nearest voxel is looked up there alone.
        nearest = _nearest(other, spacing)
        here = [at[far] for at in here]
        offsets = [(there[tuple(here)] - at) * step for there, at, step in zip(nearest, here, spacing, strict=True)]
        distance[far] = np.sqrt(sum(np.square(x) for x in offsets))
    order = np.argsort(distance, kind="stable")
    return distance[order], size.ravel()[flat[order]].astype("float64")


def _nearest(other, spacing):
    """Return for each place the index of the nearest one of a surface along each axis."""
    axes = np.argsort(other.shape)  # the transform takes a quarter less time where the longest axis is the last
    empty = other.transpose(axes) == 0
    found = ndimage.distance_transform_edt(empty, spacing[axes], return_distances=False, return_indices=True)
    back = np.argsort(axes)
    return [found[axis].transpose(back) for axis in back]


def _look_around(here, other, spacing):
    """Return the distance from each place to the nearest of the other surface, NaN where it is farther than one looks.

    Surfaces that are compared mostly lie a few voxels apart. Looking at the neighbors in the order of their distance
    finds those at once; it ends before it takes as long as the distance transform, which then has the rest.
    """
    offsets, lengths = _neighbors(spacing, other.shape)
    margin = np.abs(offsets).max(axis=0)
    padded = np.pad(other, [(length, length) for length in margin])
    strides = np.array(padded.strides)
    places = sum((at + length) * stride for at, length, stride in zip(here, margin, strides, strict=True))
    distance, waiting, looks, padded = np.full(len(places), np.nan), np.arange(len(places)), 0, padded.ravel()
    for shift, length in zip(offsets @ strides, lengths, strict=True):
        looks += len(places) + FIXED_LOOKS
        if looks > LOOKS_PER_VOXEL * other.size:
            break
        found = padded[places + shift]
        if found.any():
            distance[waiting[found]] = length
            places, waiting = places[~found], waiting[~found]
            if not waiting.size:
                break
    return distance


def _neighbors(spacing, shape):
    """Return the offsets of the neighbors within `REACH` of the shortest edges, and their distances, ascending."""
    reach = REACH * spacing.min()
    most = [min(int(reach / step), length - 1) for step, length in zip(spacing, shape, strict=True)]
    offsets = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij"), axis=-1)
    offsets = offsets.reshape(-1, len(shape))
    lengths = np.sqrt(np.square(offsets * spacing).sum(axis=1))
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] <= reach]
    return offsets[order], lengths[order]


def _both(distances):
    distance = np.concatenate([distances.to_prediction_mm, distances.to_truth_mm])
    return distance, np.concatenate([distances.truth_sizes, distances.prediction_sizes])
