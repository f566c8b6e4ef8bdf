"""The check of one case: each file is read once, and all problems and facts are kept for tables and later rules.

Numbers that belong to one case are in its row, so that a finding has the same words in every case and is listed once.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import nibabel
import numpy as np

from mcc_keras.augmentation.changes import ANISOTROPIC
from mcc_keras.datasets.cases import (
    SAME_GRID,
    channel_options,
    compare_grids,
    count_labels,
    refuse_unexpected,
    stack_channels,
    to_classes,
    whole_labels,
)
from mcc_keras.errors import DataError, DataErrors, LabelError
from mcc_keras.preprocessing.cost import box_cost
from mcc_keras.preprocessing.grid import orientation
from mcc_keras.preprocessing.sides import mirrored_classes
from mcc_keras.reporting import plots
from mcc_keras.reporting.thumbnails import draw
from mcc_keras.volumes import read_mask_file, read_volume

_SAMPLE = 1 << 20
_BACKGROUND_SHARE = 0.1


class Finding(NamedTuple):
    """A finding about a case, or about the whole set if `case_id` is empty.

    Args:
        kind: `"error"` (training would refuse the case), `"warning"` (worth a look) or `"note"`.
        case_id: The case.
        text: One sentence.
    """

    kind: str
    case_id: str
    text: str


@dataclass
class Examination:
    """The result of one case: a row of facts, errors with their types, findings, a picture as JPEG bytes."""

    row: dict
    errors: list = field(default_factory=list)
    findings: list = field(default_factory=list)
    thumbnail: bytes | None = None

    def attempt(self, step: Callable, *args, **options):
        """Return the result of a step, or keep its error and return None."""
        try:
            return step(*args, **options)
        except DataError as error:
            self.errors += error.errors if isinstance(error, DataErrors) else [error]
            return None

    def warn(self, text):
        self.findings.append(Finding("warning", self.row["case"], text))


def examine(case, *, pictures=True, preprocessing=None):
    """Read a case once and return its `Examination`; never raises for bad data.

    Args:
        case: `Case`.
        pictures: Draw slices.
        preprocessing: `Preprocessing` whose cost is measured, or None.
    """
    facts = {"case": case.case_id, "group": case.group, "part": case.part, "columns": dict(case.columns)}
    found = Examination(facts)
    image = _read_image(case, found)
    labels = _read_labels(case, found, image)
    classes = None if labels is None else to_classes(labels, case)
    if image is not None:
        _look_at_geometry(image, found)
        _look_at_intensities(case, image.array, found)
    if labels is not None and not any(isinstance(error, LabelError) for error in found.errors):
        _look_at_labels(case, labels, classes, found)
    same = image is not None and classes is not None and classes.shape == image.shape
    if same and classes.any():
        _look_at_background(image.array[..., 0][classes > 0], found)
        if "class_voxels" in found.row:
            found.row["sides"] = _sides(classes, image.affine)
    if same and preprocessing is not None and "class_voxels" in found.row:
        found.row["box"] = _cost(case, image, classes, preprocessing)
    if pictures and image is not None:
        slices = plots.find_slices(image.array[..., 0], image.affine, truth=classes if same else None)
        found.thumbnail = draw(slices)
    return found


def _read_image(case, found):
    volumes = [found.attempt(read_volume, path, **channel_options(case)) for path in case.images]
    if any(volume is None for volume in volumes):
        return None
    for other in volumes[1:]:
        apart = found.attempt(compare_grids, other, volumes[0], "channel")
        if apart is None:
            return None
        _look_at_distance(apart, "a channel", found)
    found.row["dtype"] = "/".join(dict.fromkeys(volume.array.dtype.name for volume in volumes))
    # Distances are reported above, once; the warning of `stack_channels` is for callers that do not check.
    return found.attempt(stack_channels, case, volumes) if not found.errors else None


def _read_labels(case, found, image):
    if case.mask is None:
        found.warn("no mask: for prediction only")
        return None
    volume = found.attempt(read_mask_file, case.mask, affine=case.affine)
    if volume is None:
        return None
    if image is not None:
        apart = found.attempt(compare_grids, volume, image, "mask")
        if apart is not None:
            _look_at_distance(apart, "the mask", found)
    labels = found.attempt(whole_labels, volume)
    if labels is None:
        return None
    if volume.array.dtype.kind == "f" and not np.array_equal(labels, volume.array):
        found.warn("labels with a residue of float arithmetic, which is rounded away")
    counts = count_labels(labels)
    found.row["labels"] = counts
    found.attempt(refuse_unexpected, counts, case)
    return labels


def _look_at_distance(apart, what, found):
    found.row["displacement_voxels"] = max(apart, found.row.get("displacement_voxels", 0.0))
    if apart > SAME_GRID:
        found.warn(f"the corners of {what} lie more than {SAME_GRID} voxels from those of the image")


def _look_at_geometry(image, found):
    spacing = image.spacing_mm
    directions = image.affine[:3, :3] / spacing
    found.row["shape"] = image.shape
    found.row["spacing_mm"] = tuple(round(step, 6) for step in spacing)
    found.row["orientation"] = "".join(nibabel.aff2axcodes(image.affine))
    order = nibabel.io_orientation(image.affine)[:, 0].astype(int)
    found.row["canonical_shape"] = tuple(int(image.shape[axis]) for axis in np.argsort(order))
    found.row["canonical_spacing_mm"] = tuple(found.row["spacing_mm"][axis] for axis in np.argsort(order))
    if min(image.shape) == 1:
        found.warn("a single slice: it is padded to a volume")
    if max(spacing) / min(spacing) >= ANISOTROPIC:
        found.warn(f"strong anisotropy, {ANISOTROPIC:g} : 1 or more, so no rotation out of the plane of the slices")
    if np.abs(directions.T @ directions - np.eye(3)).max() > 1e-3:
        found.warn("a sheared affine: the axes are not at right angles")
    header = image.header
    if header is not None and not (int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0):
        found.warn("no orientation in the header: left and right are a guess")


def _look_at_intensities(case, array, found):
    channels = []
    for index, name in enumerate(case.task.channel_names):
        values = array[..., index]
        channels.append({"name": name, **_intensities(values)})
        if channels[-1]["min"] == channels[-1]["max"]:
            found.warn(f"channel {name} is constant: it becomes zeros")
    found.row["channels"] = channels
    found.row["image_hash"] = _hash(array)


def _intensities(values):
    flat = values.ravel(order="K")
    sample = flat[:: max(1, flat.size // _SAMPLE)]
    low, middle, high = np.percentile(sample, (1, 50, 99))
    facts = {"min": float(flat.min()), "p1": float(low), "median": float(middle), "p99": float(high)}
    facts |= {"max": float(flat.max()), "mean": float(flat.mean(dtype=np.float64))}
    corners = values[:: max(1, values.shape[0] - 1), :: max(1, values.shape[1] - 1), :: max(1, values.shape[2] - 1)]
    share = float((sample == corners.flat[0]).mean())
    known = (corners == corners.flat[0]).all() and share > _BACKGROUND_SHARE
    return facts | {
        "background": float(corners.flat[0]) if known else None,
        "background_share": share if known else 0.0,
    }


def _look_at_labels(case, labels, classes, found):
    voxels = np.bincount(classes.ravel(order="K"), minlength=len(case.task.labels) + 1)
    found.row["class_voxels"] = [int(count) for count in voxels[1:]]
    found.row["foreground_fraction"] = float(voxels[1:].sum() / voxels.sum())
    if "spacing_mm" in found.row:
        found.row["foreground_ml"] = float(voxels[1:].sum() * np.prod(found.row["spacing_mm"]) / 1000)
    if not voxels[1:].any():
        found.warn("an empty mask: no voxel of the foreground")
    else:
        found.row["mask_hash"] = _hash(labels.astype(np.int64))


def _look_at_background(covered, found):
    """A mask that was turned or moved without its affine often lies where the scan has nothing."""
    background = found.row["channels"][0]["background"]
    if background is not None and (covered == background).mean() > 0.5:
        found.warn("most of the foreground lies on the empty background of the image: is the mask turned?")


def _sides(classes, affine):
    """Return the pairs of classes that are mirror images, the left one first."""
    (axis, *_), (flipped, *_) = orientation(affine)
    return [pair[::-1] if flipped else pair for pair in mirrored_classes(classes, axis)]


def _cost(case, image, classes, preprocessing):
    grid, count = preprocessing.grid(image.array, image.affine), len(case.task.labels)
    return box_cost(classes, preprocessing.apply_mask(classes, grid, num_labels=count), grid, num_labels=count)


def _hash(array):
    """A digest of shape and values that does not depend on the file format."""
    digest = hashlib.sha256(repr(array.shape).encode())
    digest.update(np.ascontiguousarray(array.T))
    return digest.hexdigest()
