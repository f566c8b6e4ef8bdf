"""`MEASURES`: the measures of each class of each case, in one table.

The table is the only source of the columns of `scores.csv`, of the terminal's table, of the page and of the README. A
class of a case has one of four outcomes, and `Measure.empty` gives the value of a measure for each of them:

| truth   | prediction | outcome         |
|---------|------------|-----------------|
| organ   | organ      | scored          |
| organ   | nothing    | missed          |
| nothing | something  | false alarm     |
| nothing | nothing    | correctly empty |

`None` is a blank, which no mean includes. An outcome that `empty` does not name is computed like any other.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping

import numpy as np

from mcc_keras.errors import UsageError
from mcc_keras.evaluation.lesions import Lesions, count_lesions
from mcc_keras.metrics.surface import average_of, hausdorff_of, surface_distances

SCORED, MISSED, FALSE_ALARM, CORRECTLY_EMPTY = OUTCOMES = ("scored", "missed", "false alarm", "correctly empty")
TOLERANCE_MM = 2.0


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Truth and prediction of one class in one case; values that measures share are computed once, on demand.

    Args:
        truth: Boolean array (x, y, z).
        predicted: Boolean array of the same shape.
        affine: (4, 4), from voxels to millimeters.
        tolerance_mm: Distance up to which surfaces count as equal.
        smallest_lesion_mm3: Smaller connected components are not counted as lesions.
        box_dice: Dice that a perfect network would reach, or `None` where it is not known.

    Raises:
        UsageError: Shapes that differ.

    Example:

    >>> truth = np.zeros((4, 4, 4), bool)
    >>> truth[1:3, 1:3, 1:3] = True
    >>> comparison = Comparison(truth, truth & (np.arange(4) < 2))
    >>> comparison.outcome, comparison.counts
    ('scored', Counts(tp=4, fp=0, fn=4, tn=56))
    >>> round(MEASURES["dice"].value(comparison), 4)
    0.6667
    """

    truth: np.ndarray
    predicted: np.ndarray
    affine: np.ndarray = dataclasses.field(default_factory=lambda: np.eye(4))
    tolerance_mm: float = TOLERANCE_MM
    smallest_lesion_mm3: float = 0.0
    box_dice: float | None = None

    def __post_init__(self):
        if self.truth.shape != self.predicted.shape:
            raise UsageError(
                "Both masks must have the same shape. "
                f"Received: truth.shape={self.truth.shape}, predicted.shape={self.predicted.shape}."
            )

    @functools.cached_property
    def counts(self):
        """`Counts` of voxels, exact."""
        true, predicted = int(np.count_nonzero(self.truth)), int(np.count_nonzero(self.predicted))
        tp = int(np.count_nonzero(self.truth & self.predicted))
        return Counts(tp, predicted - tp, true - tp, int(self.truth.size) - true - predicted + tp)

    @property
    def outcome(self):
        """One of `OUTCOMES`."""
        return outcome_of(self.counts)

    @property
    def voxel_mm3(self):
        """Volume of one voxel."""
        return abs(float(np.linalg.det(self.affine[:3, :3])))

    @functools.cached_property
    def distances(self):
        """`SurfaceDistances` by voxels."""
        return surface_distances(self.truth, self.predicted, np.linalg.norm(self.affine[:3, :3], axis=0))

    @functools.cached_property
    def lesions(self) -> Lesions:
        """`Lesions`."""
        return count_lesions(self.truth, self.predicted, smallest_voxels=self.smallest_lesion_mm3 / self.voxel_mm3)


@dataclasses.dataclass(frozen=True)
class Counts:
    """Voxels of a class: found, wrongly found, missed, and all others."""

    tp: int
    fp: int
    fn: int
    tn: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure:
    """One column of all tables.

    Args:
        function: From a `Comparison` to a number, or to `None` where it is not defined.
        head: Short name, for the heads of tables.
        meaning: One line of explanation with the formula.
        better: `"high"`, `"low"` or `"zero"`; empty for a quantity that is no score and has no mean.
        unit: Unit, or empty.
        form: Format specification.
        empty: Outcome → value; outcomes that it does not name are computed.
        brief: Whether the terminal and the table of the page show it; `scores.csv` holds all.
    """

    function: Callable[[Comparison], float | int | None]
    head: str
    meaning: str
    better: str = ""
    unit: str = ""
    form: str = ".3f"
    empty: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    brief: bool = False

    def value(self, comparison):
        """Return the number of a `Comparison`, or `None` for a blank."""
        if comparison.outcome in self.empty:
            return self.empty[comparison.outcome]
        return self.function(comparison)

    def text(self, value):
        """Return a number as tables show it; a blank is a dash."""
        return "–" if value is None else format(value, self.form)


def outcome_of(counts):
    """Return the one of `OUTCOMES` that the counts of a class belong to."""
    if counts.tp + counts.fn:
        return SCORED if counts.tp + counts.fp else MISSED
    return FALSE_ALARM if counts.fp else CORRECTLY_EMPTY


def _of_counts(formula):
    return lambda comparison: formula(*dataclasses.astuple(comparison.counts))


def _mcc(tp, fp, fn, tn):
    if tn + fp == 0:
        return None
    # Products of exact integers: float32 would lose voxels above 2**24.
    spread = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / math.sqrt(spread) if spread else 0.0


def _ratio(above, below):
    return above / below if below else None


def _surface_dice(distances, tolerance_mm):
    near = (distances.to_prediction_mm <= tolerance_mm).sum() + (distances.to_truth_mm <= tolerance_mm).sum()
    return float(near / (distances.to_prediction_mm.size + distances.to_truth_mm.size))


# Where the truth does not hold the class there is nothing to find; and where nothing was predicted there is no surface,
# no lesion and no share of it.
_NEEDS_TRUTH = {FALSE_ALARM: None, CORRECTLY_EMPTY: None}
_NEEDS_BOTH = {**_NEEDS_TRUTH, MISSED: None}

MEASURES = {
    "dice": Measure(
        function=_of_counts(lambda tp, fp, fn, tn: 2 * tp / (2 * tp + fp + fn)),
        head="Dice",
        meaning="2·TP / (2·TP + FP + FN)",
        better="high",
        empty=_NEEDS_TRUTH,
        brief=True,
    ),
    "box_dice": Measure(
        function=lambda comparison: comparison.box_dice,
        head="box",
        meaning="Dice of a perfect network: of the truth in the network's box, and back",
        brief=True,
    ),
    "jaccard": Measure(
        function=_of_counts(lambda tp, fp, fn, tn: tp / (tp + fp + fn)),
        head="Jaccard",
        meaning="TP / (TP + FP + FN)",
        better="high",
        empty=_NEEDS_TRUTH,
    ),
    "mcc": Measure(
        function=_of_counts(_mcc),
        head="MCC",
        meaning="(TP·TN − FP·FN) / √((TP+FP)(TP+FN)(TN+FP)(TN+FN)); blank if the truth fills the scan",
        better="high",
        empty=_NEEDS_TRUTH,
        brief=True,
    ),
    "sensitivity": Measure(
        function=_of_counts(lambda tp, fp, fn, tn: tp / (tp + fn)),
        head="sens.",
        meaning="TP / (TP + FN)",
        better="high",
        empty=_NEEDS_TRUTH,
        brief=True,
    ),
    "precision": Measure(
        function=_of_counts(lambda tp, fp, fn, tn: tp / (tp + fp)),
        head="prec.",
        meaning="TP / (TP + FP)",
        better="high",
        empty=_NEEDS_BOTH,
        brief=True,
    ),
    "volume_difference_percent": Measure(
        function=_of_counts(lambda tp, fp, fn, tn: 100 * (fp - fn) / (tp + fn)),
        head="vol. %",
        meaning="100 · (predicted − true volume) / true volume",
        better="zero",
        unit="%",
        form="+.1f",
        empty=_NEEDS_TRUTH,
        brief=True,
    ),
    "hausdorff_distance_mm": Measure(
        function=lambda comparison: hausdorff_of(comparison.distances),
        head="HD",
        meaning="Hausdorff distance between the surfaces",
        better="low",
        unit="mm",
        form=".2f",
        empty=_NEEDS_BOTH,
    ),
    "hausdorff95_distance_mm": Measure(
        function=lambda comparison: hausdorff_of(comparison.distances, percentile=95),
        head="HD95",
        meaning="95th percentile of the distances of each surface, the larger of the two",
        better="low",
        unit="mm",
        form=".2f",
        empty=_NEEDS_BOTH,
        brief=True,
    ),
    "average_surface_distance_mm": Measure(
        function=lambda comparison: average_of(comparison.distances),
        head="ASSD",
        meaning="mean distance over the voxels of both surfaces",
        better="low",
        unit="mm",
        form=".2f",
        empty=_NEEDS_BOTH,
        brief=True,
    ),
    "surface_dice": Measure(
        function=lambda comparison: _surface_dice(comparison.distances, comparison.tolerance_mm),
        head="surf. Dice",
        meaning="share of both surfaces within the tolerance of the other",
        better="high",
        empty=_NEEDS_TRUTH,
        brief=True,
    ),
    "lesion_sensitivity": Measure(
        function=lambda comparison: _ratio(comparison.lesions.detected, comparison.lesions.true),
        head="lesion sens.",
        meaning="true lesions that share a voxel with the prediction / true lesions",
        better="high",
        empty=_NEEDS_TRUTH,
    ),
    "lesion_sensitivity_iou": Measure(
        function=lambda comparison: _ratio(comparison.lesions.detected_iou, comparison.lesions.true),
        head="lesion sens. IoU",
        meaning="true lesions with one predicted lesion of IoU ≥ 0.1 / true lesions",
        better="high",
        empty=_NEEDS_TRUTH,
    ),
    "lesion_precision": Measure(
        function=lambda comparison: _ratio(
            comparison.lesions.predicted - comparison.lesions.false, comparison.lesions.predicted
        ),
        head="lesion prec.",
        meaning="predicted lesions that share a voxel with the truth / predicted lesions",
        better="high",
        empty=_NEEDS_BOTH,
    ),
    "true_ml": Measure(
        function=lambda comparison: (comparison.counts.tp + comparison.counts.fn) * comparison.voxel_mm3 / 1000,
        head="true",
        meaning="true volume",
        unit="ml",
        form=".2f",
        brief=True,
    ),
    "predicted_ml": Measure(
        function=lambda comparison: (comparison.counts.tp + comparison.counts.fp) * comparison.voxel_mm3 / 1000,
        head="pred.",
        meaning="predicted volume",
        unit="ml",
        form=".2f",
        brief=True,
    ),
    **{
        f"{name}_lesions": Measure(
            function=lambda comparison, name=name: getattr(comparison.lesions, name),
            head=f"{name} lesions".replace("_iou", " IoU"),
            meaning=f"number of {name.replace('_iou', ' (IoU ≥ 0.1)')} lesions",
            form="d",
        )
        for name in ("true", "predicted", "detected", "detected_iou", "false")
    },
    **{
        name: Measure(
            function=lambda comparison, name=name: getattr(comparison.counts, name),
            head=name.upper(),
            meaning=f"{meaning} voxels",
            form="d",
        )
        for name, meaning in {"tp": "true-positive", "fp": "false-positive", "fn": "missed", "tn": "all other"}.items()
    },
}
SCORES = {name: measure for name, measure in MEASURES.items() if measure.better}
BRIEF = {name: measure for name, measure in MEASURES.items() if measure.brief}


def measure_class(comparison):
    """Return the value of every measure, by name."""
    return {name: measure.value(comparison) for name, measure in MEASURES.items()}
