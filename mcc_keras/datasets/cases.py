"""Cases: one scan each, with its mask, its patient, and the meaning of the labels in the mask.

cases = find_cases("Task04_Hippocampus", foreground=(1, 2))
image = read_image(cases[0])                  # (x, y, z, c) float32
mask = read_mask(cases[0], image)             # (x, y, z) uint8 class indices
"""

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mcc_keras.datasets import bids, brats15, case_folders, decathlon, folders, pairs, patterns, promise12, table
from mcc_keras.datasets.choices import choose_channels, choose_labels, name_classes, refuse_overlap, whole_number
from mcc_keras.datasets.paths import safe_id
from mcc_keras.datasets.seen import describe
from mcc_keras.errors import CaseError, GeometryError, LabelError, UsageError, VolumeError, raise_all
from mcc_keras.formats.geometry import corner_displacement
from mcc_keras.task import Task
from mcc_keras.volumes import Volume, read_mask_file, read_volume, refuse_remote, reordered_like

LAYOUTS = (decathlon, brats15, promise12, bids, table, folders, pairs, case_folders)
RESIDUE = 1e-3
_PIECE, _FEW = 1 << 18, 8
SAME_GRID, NEAR_GRID = 0.01, 0.5


@dataclass(frozen=True)
class Case:
    """One scan: its images, its mask, and how the labels of the mask become classes.

    Args:
        case_id: Safe as a file name.
        images: One file per channel, or one file with all channels.
        mask: The label map, or None.
        group: The patient; cases of one group stay in one part. Empty: the case id.
        task: `Task`: the meaning of the labels and the names of the channels.
        part: `"train"`, `"validation"`, `"test"`, or None where no split is given.
        columns: Further columns of the table.
        affine: `"sform"` or `"qform"` where a NIfTI file holds two that disagree.
        nonfinite: `"error"` refuses NaN and infinite voxels of the image, `"zero"` reads them as 0.

    Example:

    >>> case = Case("Case07", (Path("Case07.mhd"),), task=Task(labels=((1, 2), (4,))))
    >>> case.task.num_classes, case.group
    (3, 'Case07')
    """

    case_id: str
    images: tuple[Path, ...]
    mask: Path | None = None
    group: str = ""
    task: Task = field(default_factory=Task)
    part: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)
    affine: str | None = None
    nonfinite: str = "error"

    def __post_init__(self):
        object.__setattr__(self, "group", self.group or self.case_id)


def find_cases(
    source,
    *,
    foreground=None,
    labels=None,
    background=(0,),
    channels=None,
    image=None,
    mask=None,
    derivative=None,
    affine=None,
    nonfinite="error",
):
    """Find the cases of a data set in any of the known layouts.

    In this order: a `dataset.json` (Medical Segmentation Decathlon, nnU-Net), BRATS 2015, PROMISE12, BIDS, a table
    (`case`, `image`, `label`, `group`, `part`), folders `images/` and `labels/`, a folder of pairs `X.nii.gz` and
    `X_mask.nii.gz`, and a folder for each case, `X/FLAIR.nii.gz` and `X/mask.nii.gz`. Patterns read any other.

    Args:
        source: The folder, the `dataset.json` or the table.
        foreground: Mask labels that are merged into one class: numbers, or names that the data set declares, such as
            `"core"` of BRATS 2015 (`brats15.REGIONS`) or the names in a `dataset.json`.
        labels: Mask labels that are kept apart, one class each; a nested tuple is merged into one class.
        background: Labels that count as background. Any other label is an error when the mask is read; if all classes
            are chosen by name, the other declared labels are background.
        channels: Names of the channels to take, in this order, where each is a file of its own; None: all.
        image: Pattern of the images in the folder, such as `"*/FLAIR*"`, or a sequence with one for each channel, used
            instead of a known layout. Files whose wildcards match the same text are one case; the text of the first
            wildcard is the patient.
        mask: Pattern of the masks, such as `"*/GOLD*"`; files that match it are not images.
        derivative: For BIDS, the folder in `derivatives` with the masks; None: the only one that has any.
        affine: `"sform"` or `"qform"`, for NIfTI files that hold two which disagree.
        nonfinite: `"zero"` reads NaN and infinite voxels of images as 0; `"error"` refuses them.

    Returns:
        A tuple of `Case`, sorted by id. Without `foreground` and `labels`: the declared labels of a `dataset.json` or
        of a BIDS `_dseg.tsv` kept apart, the whole tumour (1 to 4) for BRATS 2015, else 1. Cases without a mask have
        `mask=None`.

    Raises:
        CaseError: Nothing there, an unknown layout, an id twice, a file that is named but missing or leads elsewhere.
        UsageError: Labels or channels that contradict each other or are unknown, or a path not on this machine.

    Example:

    >>> import tempfile
    >>> from mcc_keras.volumes import write_volume
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("a", "a_mask", "b"):
    ...     _ = write_volume(np.ones((2, 2, 2), np.uint8), folder / f"{name}.nii.gz", affine=np.eye(4))
    >>> [(case.case_id, case.mask is not None) for case in find_cases(folder)]
    [('a', True), ('b', False)]
    >>> [case.case_id for case in find_cases(folder, image="*", mask="*_mask*")]
    ['a', 'b']
    """
    refuse_remote(source)
    source = Path(source)
    background = tuple(whole_number(value, "background") for value in background)
    _refuse_missing(source)
    found, default, regions = _find(source, image=image, mask=mask, derivative=derivative)
    classes, rest = choose_labels(foreground, labels, regions)
    classes = default if classes is None else classes
    background += tuple(value for value in rest if value not in background)
    refuse_overlap(classes, source)
    task = Task(labels=classes, background=background, names=name_classes(classes, regions))
    cases = [_case(entry, task, affine=affine, nonfinite=nonfinite) for entry in found]
    _refuse_duplicates(cases, source)
    return tuple(sorted(choose_channels(cases, channels), key=lambda case: case.case_id))


def find_images(source, *, affine=None, nonfinite="error"):
    """Find the scans of a data set in any of the known layouts, whether they have masks or not.

    Args:
        source: The folder, the `dataset.json` or the table, as for `find_cases`.
        affine: `"sform"` or `"qform"`, for NIfTI files that hold two that disagree.
        nonfinite: `"zero"` reads NaN and infinite voxels as 0; `"error"` refuses them.

    Returns:
        A tuple of `Case` without masks, sorted by id, each with the channels that it has.

    Raises:
        CaseError: Nothing there, an unknown layout, an id twice, a file that is named but missing or leads elsewhere.
        UsageError: A path not on this machine.
    """
    refuse_remote(source)
    source = Path(source)
    _refuse_missing(source)
    layout = _layout(source)
    found = layout.find(source, *([bids.NO_MASKS] if layout is bids else []))[0] if layout else ()
    if not found:
        raise CaseError(source, *describe(source))
    cases = [_case({**entry, "mask": None}, Task(), affine=affine, nonfinite=nonfinite) for entry in found]
    _refuse_duplicates(cases, source)
    return tuple(sorted(cases, key=lambda case: case.case_id))


def _layout(source):
    return next((layout for layout in LAYOUTS if layout.matches(source)), None)


def _refuse_missing(source):
    try:
        source.stat()
    except OSError as error:
        problem = f"expected a folder, a dataset.json or a table, found nothing: {error.strerror}"
        raise CaseError(source, problem, "Check the path.") from None


def _find(source, *, image, mask, derivative):
    """Return the cases as dicts, their labels by default, and the labels of each name that the data set declares."""
    if image is not None or mask is not None:
        if image is None or derivative is not None or not source.is_dir():
            raise UsageError(
                "`image` and `mask` are patterns of files in a folder, and `mask` needs `image`. "
                f"Received: source={str(source)!r}, {image=}, {mask=}, {derivative=}."
            )
        return patterns.find(source, image, mask)
    layout = _layout(source)
    if derivative is not None and layout is not bids:
        raise UsageError(f"`derivative` is for BIDS, which {source} is not. Received: {derivative=}.")
    if layout in (folders, pairs, case_folders, promise12, brats15):
        _name_passed_over(source)
    found = layout.find(source, *([derivative] if layout is bids else [])) if layout else ((),)
    if not found[0]:
        raise CaseError(source, *describe(source))
    return found


def _name_passed_over(source):
    paths = table.passed_over(source)
    if paths:
        names = ", ".join(path.name for path in paths)
        warnings.warn(f"{source}: {names} passed over, without the columns case and image of a table.", stacklevel=4)


def read_image(case):
    """Read the image of a case: all channels on one grid, as a `Volume` with `(x, y, z, c)` float32 voxels.

    Raises:
        GeometryError: The channels do not share one grid.
        VolumeError: A file cannot be read.

    Example:

    >>> read_image(Case("Case07", (Path("Case07.mhd"),)))
    Traceback (most recent call last):
    mcc_keras.errors.VolumeError: Case07.mhd: expected a file, found none...
    """
    return stack_channels(case, [read_volume(path, **channel_options(case)) for path in case.images])


def read_mask(case, image: Volume):
    """Read the mask of a case as class indices `(x, y, z)` uint8: 0 background, 1 to `len(case.task.labels)`.

    Raises:
        CaseError: The case has no mask.
        GeometryError: The mask lies on another grid than the image.
        LabelError: Labels that are neither foreground nor background, or values that are not whole numbers.

    Example:

    >>> image = Volume(np.zeros((4, 4, 4, 1), "float32"), np.eye(4))
    >>> read_mask(Case("Case07", (Path("Case07.mhd"),)), image)
    Traceback (most recent call last):
    mcc_keras.errors.CaseError: Case07: expected a mask, found none. Give it one, or leave the case out.
    """
    if case.mask is None:
        raise CaseError(case.case_id, "expected a mask, found none", "Give it one, or leave the case out.")
    stored = read_mask_file(case.mask, affine=case.affine)
    volume = reordered_like(stored, image, within=NEAR_GRID)
    if volume is not stored:
        text = f"{case.mask}: stored in another order of axes than {image.path}; its voxels are moved to that order."
        warnings.warn(text, stacklevel=2)
    _warn_of(compare_grids(volume, image, "mask"), volume, image)
    labels = whole_labels(volume)
    refuse_unexpected(count_labels(labels), case)
    return to_classes(labels, case)


def channel_options(case):
    """Return the keywords of `read_volume` for one image file of a case; a single file holds all channels."""
    channels = len(case.task.channel_names) if len(case.images) == 1 else 1
    return {"channels": channels, "affine": case.affine, "nonfinite": case.nonfinite}


def stack_channels(case, volumes):
    """Return the channels of a case as one `Volume` with `(x, y, z, c)` float32 voxels."""
    first = volumes[0]
    if len(volumes) == 1:
        array = _float32(first.array, first.path)
        return replace(first, array=array[..., None] if array.ndim == 3 else array)
    for other in volumes[1:]:
        _warn_of(compare_grids(other, first, "channel"), other, first)
    array = np.empty((*first.shape, len(volumes)), np.float32, order="F")
    for index, channel in enumerate(volumes):
        array[..., index] = _float32(channel.array, channel.path)
    return replace(first, array=array)


def to_classes(labels, case):
    """Return class indices uint8 for the labels of a mask; labels that are not foreground become 0."""
    classes = np.zeros(labels.shape, np.uint8, order="F")
    for index, values in enumerate(case.task.labels, start=1):
        for value in values:
            classes[labels == value] = index
    return classes


def whole_labels(volume):
    """Return the labels of a mask as whole numbers: a residue of float arithmetic is rounded, others are refused."""
    array = volume.array
    if array.dtype.kind in "bui":
        return array
    rounded = np.rint(array)
    apart = np.abs(array - rounded)
    if apart.max() > RESIDUE:
        first = tuple(int(index) for index in np.unravel_index(np.argmax(apart), array.shape))
        raise LabelError(
            volume.path,
            f"expected whole numbers as labels, found {int((apart > RESIDUE).sum())} others, "
            f"like {array[first]:.6g} at {first}",
            "Was it interpolated? Use nearest neighbor for masks.",
        )
    return rounded.astype(np.int64)


def count_labels(labels):
    """Return how many voxels each label of an integer array has, as a dict in the order of the labels."""
    low, high = int(labels.min()), int(labels.max())
    if high - low < _FEW:
        counts = {value: int(np.count_nonzero(labels == value)) for value in range(low, high + 1)}
        return {value: count for value, count in counts.items() if count}
    if high - low < 1 << 16:
        flat, counts = labels.ravel(order="K"), np.zeros(high - low + 1, np.int64)
        for first in range(0, flat.size, _PIECE):  # in pieces, since bincount makes a 64-bit copy
            counts += np.bincount(flat[first : first + _PIECE].astype(np.int64) - low, minlength=counts.size)
        return {int(index) + low: int(counts[index]) for index in np.flatnonzero(counts)}
    return {int(value): int(count) for value, count in zip(*np.unique(labels, return_counts=True), strict=True)}


def _case(entry, task, **reading):
    entry = {**entry, "case_id": safe_id(entry["case_id"])}
    names = entry.pop("channel_names", task.channel_names)
    return Case(**entry, task=replace(task, channel_names=names), **reading)


def _refuse_duplicates(cases, source):
    counts = Counter(case.case_id for case in cases)
    raise_all(
        CaseError(source, f"expected each case id once, found {name!r} {count} times", "Rename them.")
        for name, count in counts.items()
        if count > 1
    )


def compare_grids(volume, image, what):
    """Return how many voxels the corners of two volumes lie apart; refuse another shape, or more than half a voxel."""
    name, way_out = image.path.name if image.path else "the image", f"Save the {what} on the grid of the image."
    if volume.shape != image.shape:
        raise GeometryError(volume.path, f"expected the shape {image.shape} of {name}, found {volume.shape}", way_out)
    apart = corner_displacement(image.affine, volume.affine, image.shape)
    if not apart <= NEAR_GRID:
        problem = f"expected the place of {name}, found corners {apart:.3g} voxels from it"
        raise GeometryError(volume.path, problem, way_out)
    return apart


def refuse_unexpected(counts, case):
    """Refuse labels, given with their numbers of voxels, that are neither foreground nor background of a case."""
    known = case.task.known_labels
    unexpected = {value: count for value, count in counts.items() if value not in known}
    if unexpected:
        shown = ", ".join(f"{value} ({count} voxels)" for value, count in list(unexpected.items())[:5])
        foreground = tuple(value for value in list(counts)[:12] if value not in case.task.background)
        raise LabelError(
            case.mask,
            f"expected labels {', '.join(map(str, known))}, found also {shown}",
            f"Choose the foreground, like foreground={foreground}, or declare it as background.",
        )


def _warn_of(apart, volume, image):
    if apart > SAME_GRID:
        text = f"{volume.path}: corners {apart:.3g} voxels from {image.path}; it is used voxel by voxel as it is."
        warnings.warn(text, stacklevel=3)


def _float32(array, path):
    if array.dtype != np.float64:
        return array.astype(np.float32, copy=False)
    with np.errstate(over="ignore"):
        result = array.astype(np.float32)
    if not np.isfinite(result).all():
        found = np.abs(array).max()
        raise VolumeError(path, f"expected values that float32 can hold, found {found:.3g}", "Rescale it.")
    return result
