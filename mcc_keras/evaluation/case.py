"""One case: the rows of its classes, and a picture of it."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from mcc_keras.errors import UsageError
from mcc_keras.evaluation.calibration import Histogram, count_case
from mcc_keras.evaluation.measures import TOLERANCE_MM, Comparison, measure_class
from mcc_keras.metrics.surface import region
from mcc_keras.preprocessing.cost import box_cost
from mcc_keras.reporting.plots import find_slices
from mcc_keras.reporting.thumbnails import draw

PICTURE = (720, 330)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How masks are compared.

    Args:
        tolerance_mm: Distance up to which surfaces count as equal in the surface Dice, 0 or more. Choose what two
            experts differ by.
        smallest_lesion_mm3: Smaller connected components are not counted as lesions, 0 or more.
        regions: Name → labels that are merged, scored beside the classes.

    Raises:
        UsageError: A value out of range, or a region without labels.

    Example:

    >>> Settings(tolerance_mm=-1)
    Traceback (most recent call last):
    mcc_keras.errors.UsageError: `tolerance_mm` must be 0 or more. Received: tolerance_mm=-1.
    """

    tolerance_mm: float = TOLERANCE_MM
    smallest_lesion_mm3: float = 0.0
    regions: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        for name in ("tolerance_mm", "smallest_lesion_mm3"):
            if not 0 <= getattr(self, name) < np.inf:
                raise UsageError(f"`{name}` must be 0 or more. Received: {name}={getattr(self, name)!r}.")
        for name, labels in self.regions.items():
            if not labels:
                raise UsageError(f"`regions` must name labels for each region. Received: {name}={labels!r}.")


@dataclasses.dataclass(frozen=True)
class Scored:
    """A scored case: one row for each class, a JPEG, and class → `Histogram` where there are probabilities."""

    rows: tuple[dict, ...]
    picture: bytes
    histograms: dict[str, Histogram] = dataclasses.field(default_factory=dict)


def score_case(identity, truth, predicted, *, affine, classes, settings, image=None, box=None, probabilities=None):
    """Score every class of a case.

    Args:
        identity: What its rows begin with: a dict of `case`, `group`, `note` and further columns.
        truth: Integer array (x, y, z).
        predicted: Integer array of the same shape.
        affine: (4, 4), from voxels to RAS+ millimeters.
        classes: Name → values in the masks.
        settings: `Settings`; its regions are in `classes` already.
        image: Array (x, y, z) to draw under the outlines; by default black.
        box: `Preprocessing` and `Grid` of a run, for the best Dice in its box; the masks then hold class indices.
        probabilities: `Probabilities` of a run, for the calibration; the masks then hold class indices.

    Returns:
        `Scored`.

    Example:

    >>> mask = np.zeros((4, 4, 4), int)
    >>> mask[1:3, 1:3, 1:3] = 2
    >>> identity = {"case": "a", "group": "a", "note": ""}
    >>> scored = score_case(identity, mask, mask, affine=np.eye(4), classes={"cyst": (2,)}, settings=Settings())
    >>> [(row["class"], row["dice"], row["hausdorff_distance_mm"]) for row in scored.rows]
    [('cyst', 1.0, 0.0)]
    """
    costs = () if box is None else _box_costs(truth, *box, num_labels=len(classes) - len(settings.regions))
    rows = []
    for name, values in classes.items():
        comparison = Comparison(
            region(truth, values) if len(values) > 1 else truth == values[0],
            region(predicted, values) if len(values) > 1 else predicted == values[0],
            affine,
            settings.tolerance_mm,
            settings.smallest_lesion_mm3,
            costs[values[0] - 1].best_dice if costs and name not in settings.regions else None,
        )
        rows.append({**identity, "class": name, "counted_as": comparison.outcome, **measure_class(comparison)})
    image = np.zeros(truth.shape, np.float32) if image is None else image
    slices = find_slices(image, affine, truth=truth, predicted=predicted)
    picture = draw(slices, size=PICTURE, num_classes=len(classes) - len(settings.regions))
    return Scored(tuple(rows), picture, count_case(truth, predicted, probabilities, affine=affine, classes=classes))


def _box_costs(truth, preprocessing, grid, *, num_labels):
    in_box = preprocessing.apply_mask(truth, grid, num_labels=num_labels)
    return box_cost(truth, in_box, grid, num_labels=num_labels)


def add_regions(classes, regions, *, labels):
    """Return classes with the regions behind them, as name → values in the masks.

    Args:
        classes: Name → values in the masks.
        regions: Name → labels.
        labels: Label → value in the masks that holds it, with all of the labels of that value.

    Raises:
        UsageError: A region with the name of a class, with an unknown label, or with a part of a merged class.

    Example:

    >>> add_regions({"core": (1,), "edema": (2,)}, {"whole": (1, 4, 2)}, labels={1: 1, 4: 1, 2: 2})
    {'core': (1,), 'edema': (2,), 'whole': (1, 2)}
    """
    merged = dict(classes)
    for name, wanted in regions.items():
        unknown = [label for label in wanted if label not in labels]
        values = tuple(sorted({labels[label] for label in wanted if label in labels}))
        partly = [label for label, value in labels.items() if value in values and label not in wanted]
        if name in merged or unknown or partly:
            raise UsageError(
                f"A region must have a name of its own and consist of whole classes, whose labels are "
                f"{', '.join(map(str, labels))}. Received: {name}={'+'.join(map(str, wanted))}."
            )
        merged[name] = values
    return merged
