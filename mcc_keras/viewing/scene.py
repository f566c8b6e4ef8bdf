"""A scan and masks on its grid. The labels of all masks become classes 1, 2, …, each with a name and a color."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcc_keras.datasets.cases import NEAR_GRID, SAME_GRID, compare_grids, count_labels, whole_labels
from mcc_keras.errors import LabelError, UsageError
from mcc_keras.reporting.thumbnails import class_color, predicted_color
from mcc_keras.volumes import Volume, read_mask_file, read_volume, reordered_like

LARGEST = 65535
_SAMPLE = 1_000_000  # voxels
_REPAIR = "Labels are whole numbers from 0 to 65535."


@dataclass(frozen=True, eq=False)
class Mask:
    """A mask on the grid of a scan.

    Args:
        name: Text for the legend.
        classes: Array (x, y, z) of uint8 or uint16: 0 background, 1 … n the classes of the `Scene`.
        present: The classes that have voxels.
    """

    name: str
    classes: np.ndarray
    present: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Scene:
    """What is looked at.

    Args:
        name: Text for the title.
        scan: `Volume` with voxels (x, y, z).
        masks: `Mask`s on its grid.
        names: Names of the classes 1 … n.
    """

    name: str
    scan: Volume
    masks: tuple[Mask, ...]
    names: tuple[str, ...]

    def color(self, mask, index):
        """Return (red, green, blue) of class `index` (from 1) in mask number `mask` (from 0).

        A class has the color that it has in reports. With one class, each mask has a color of its own, as truth and
        prediction have there.
        """
        if len(self.names) == 1 and mask:
            return predicted_color(0, num_classes=1) if mask == 1 else class_color(mask)
        return class_color(index - 1)

    @property
    def window(self):
        """The values that are black and white, the same percentiles as in reports; of a sample of a large scan."""
        array = self.scan.array
        low, high = np.percentile(array.ravel(order="K")[:: max(1, array.size // _SAMPLE)], (1, 99.5))
        return float(low), max(float(high), float(low) + 1e-6)

    @property
    def focus(self):
        """The voxel (x, y, z) at which to look first: where the slices of the first mask with voxels are largest."""
        return largest_slices(
            next((mask.classes for mask in self.masks if mask.present), np.zeros(self.scan.shape, bool))
        )


def read_scene(scan, masks=(), *, names=None, affine=None, nonfinite="error"):
    """Read a scan and masks, and bring the masks to the order of its voxels.

    Args:
        scan: File, folder of DICOM files, `Volume`, or array (x, y, z) with voxels of 1 mm in RAS+ order. Of several
            channels of a `Volume` or an array, the first is taken.
        masks: Masks on its grid, each as `scan`.
        names: Name → label or labels of a class. Other labels are classes named by their number.
        affine: `"sform"` or `"qform"`, used where the two of a NIfTI file disagree.
        nonfinite: `"error"` refuses NaN and infinite voxels of the scan, `"zero"` reads them as 0.

    Returns:
        A `Scene`.

    Raises:
        GeometryError: A mask on another grid.
        LabelError: A mask whose values are no labels.
        UsageError: Names that are not those of labels.
        VolumeError: A file that cannot be read.

    Example:

    >>> mask = np.zeros((4, 4, 4), int)
    >>> mask[1, 1, 1], mask[2, 2, 2] = 4, 7
    >>> scene = read_scene(np.zeros((4, 4, 4)), [mask], names={"cyst": 7})
    >>> scene.names, scene.masks[0].present
    (('cyst', 'label 4'), (1, 2))
    """
    named = _named(names)
    volume = _volume(scan, "scan", lambda path: read_volume(path, affine=affine, nonfinite=nonfinite))
    labels = [_labels(mask, number, volume, affine=affine) for number, mask in enumerate(masks, start=1)]
    counts = [count_labels(array) for _, array in labels]
    found = sorted({label for each in counts for label in each} - {0} - named.keys())
    classes = {**named, **{label: f"label {label}" for label in found}}
    order = list(dict.fromkeys(classes.values()))
    table = np.zeros(LARGEST + 1, np.uint8 if len(order) < 256 else np.uint16)
    for label, name in classes.items():
        table[label] = 1 + order.index(name)
    drawn = tuple(
        Mask(name, table[array], tuple(sorted({int(table[label]) for label in each if label})))
        for (name, array), each in zip(labels, counts, strict=True)
    )
    return Scene(volume.path.name if volume.path else "scan", volume, drawn, tuple(order))


def largest_slices(mask):
    """Return for each axis the index of the slice with most voxels of a mask, or the middle one where it is empty.

    Of several slices with as many voxels, the one in their middle is taken.

    Example:

    >>> mask = np.zeros((8, 8, 8), int)
    >>> mask[2:4, 2:4, 5] = mask[3, 3, 6] = 1
    >>> largest_slices(mask), largest_slices(mask[:4] * 0)
    ((3, 3, 5), (2, 4, 4))
    """
    mask = np.asarray(mask) != 0
    if not mask.any():
        return tuple(size // 2 for size in mask.shape)
    areas = (np.count_nonzero(mask, axis=axes) for axes in ((1, 2), (0, 2), (0, 1)))
    ties = [np.flatnonzero(area == area.max()) for area in areas]
    return tuple(int(found[len(found) // 2]) for found in ties)


def _named(names):
    """Return label → name, in the order of the names."""
    if not isinstance(names or {}, Mapping):
        raise UsageError(f"`names` must map names to labels, as 'liver' to 1. Received: names={names!r}.")
    found = {}
    for name, labels in (names or {}).items():
        for label in (labels,) if isinstance(labels, int) else labels:
            if label in found or not (isinstance(label, int) and 0 < label <= LARGEST):
                rule = f"`names` must give each label from 1 to {LARGEST} one name"
                raise UsageError(f"{rule}. Received: {label!r} as {name!r}.")
            found[label] = str(name)
    return found


def _volume(source, what, read):
    if isinstance(source, str | Path):
        return read(source)
    volume = source if isinstance(source, Volume) else Volume(np.asarray(source), np.eye(4))
    array = volume.array[..., 0] if volume.array.ndim == 4 and volume.array.shape[3] else volume.array
    if array.ndim != 3 or not array.size or array.dtype.kind not in "buif":
        found = f"{array.dtype} of shape {volume.array.shape}"
        raise UsageError(f"A {what} must be real numbers of shape (x, y, z). Received: {found}.")
    if not np.isfinite(array).all():
        raise UsageError(f"A {what} must have finite voxels. Received: NaN or infinite ones.")
    array = array.astype(np.uint8) if array.dtype == bool else array
    return Volume(array, np.asarray(volume.affine, float), volume.path)


def _labels(mask, number, scan, *, affine):
    """Return the name of a mask, and its labels in the order of the scan's voxels."""
    stored = _volume(mask, "mask", lambda path: read_mask_file(path, affine=affine))
    name = stored.path.name if stored.path else f"mask {number}"
    path = stored.path or Path(name)
    volume = Volume(stored.array, stored.affine, path)
    volume = reordered_like(volume, scan, within=NEAR_GRID)
    apart = compare_grids(volume, scan, "mask")
    if apart > SAME_GRID:
        text = f"{path}: corners {apart:.3g} voxels from those of the scan; it is drawn voxel by voxel as it is."
        warnings.warn(text, stacklevel=4)
    labels = whole_labels(volume)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > LARGEST:
        raise LabelError(path, f"expected labels from 0 to {LARGEST}, found {low} to {high}", _REPAIR)
    return name, labels.astype(np.uint16, copy=False)
