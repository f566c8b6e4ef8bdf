"""Accuracy lost to the box: the best Dice that a network can reach, if it predicts the mask in the box perfectly.

cost = box_cost(mask, box, grid, num_labels=2)       # mask in the scan, box = preprocessing.apply_mask(mask, grid, …)
cost[0].best_dice                                     # of class 1, after the round trip
"""

import dataclasses
import warnings

import numpy as np

from mcc_keras.errors import LabelError
from mcc_keras.extent import bounding_box
from mcc_keras.preprocessing.grid import largest_share

LOW_DICE, LOST_DICE = 0.9, 0.5
_SHOWN = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassCost:
    """How much of one class of one case survives the box.

    Args:
        voxels: Voxels of the class in the scan.
        box_voxels: Voxels of the class in the box.
        kept: Voxels of the class in the scan that keep it after the round trip.
        components: Connected parts (26 neighbors) of the class in the scan.
        lost: Components without a voxel after the round trip.
        best_dice: Dice, in [0, 1], of the mask after the round trip; None where the scan has no voxel of the class.
    """

    voxels: int
    box_voxels: int
    kept: int
    components: int
    lost: int
    best_dice: float | None


def box_cost(mask, box, grid, *, num_labels):
    """Return the `ClassCost` of each class of a case.

    The mask returns to the scan as a prediction does: `Preprocessing.restore`, then the class with the largest
    probability, or a probability of at least 0.5 for a single class.

    Args:
        mask: (x, y, z) integer on the scan's grid, classes 0 … `num_labels`.
        box: (*size) uint8, the result of `Preprocessing.apply_mask`.
        grid: `Grid` of the scan.
        num_labels: Number of foreground classes.

    Returns:
        Tuple of `ClassCost`.

    Example:

    >>> from mcc_keras.preprocessing import Preprocessing
    >>> mask = np.zeros((8, 8, 8), np.uint8)
    >>> mask[2:6, 2:6, 2:6] = mask[0, 0, 0] = 1
    >>> preprocessing = Preprocessing(size=4)
    >>> grid = preprocessing.grid(mask[..., None], np.eye(4))
    >>> cost = box_cost(mask, preprocessing.apply_mask(mask, grid, num_labels=1), grid, num_labels=1)[0]
    >>> cost.components, cost.lost, cost.box_voxels
    (2, 1, 8)
    """
    labels = range(1, num_labels + 1)
    shares = {label: grid.share_from_box(box == label) for label in labels}
    back = largest_share(shares, grid.shape, half=num_labels == 1)
    reached = [share[0] for share in shares.values() if share]
    found = bounding_box(mask)
    reached += [tuple(slice(*ends) for ends in found)] if found else []
    part = tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*reached, strict=True))
    truth, back = (np.ascontiguousarray(array[part or ()]) for array in (mask, back))
    in_box = np.bincount(box.ravel(), minlength=num_labels + 1)
    return tuple(_class_cost(truth == n, back == n, int(in_box[n])) for n in labels)


def _class_cost(truth, back, box_voxels):
    voxels, returned = int(np.count_nonzero(truth)), int(np.count_nonzero(back))
    kept = int(np.count_nonzero(truth & back))
    components, lost = _components(truth, back) if voxels else (0, 0)
    return ClassCost(
        voxels=voxels,
        box_voxels=box_voxels,
        kept=kept,
        components=components,
        lost=lost,
        best_dice=2 * kept / (voxels + returned) if voxels else None,
    )


def _components(truth, back):
    """Return the number of components, and the number of those without a voxel in `back`."""
    from scipy import ndimage  # deferred: the import takes a tenth of a second

    part = tuple(slice(*ends) for ends in bounding_box(truth))
    numbers, count = ndimage.label(truth[part], structure=np.ones((3, 3, 3)))
    met = np.bincount(numbers[back[part]], minlength=count + 1)[1:]
    return int(count), int(np.count_nonzero(met == 0))


def judge_costs(costs, names):
    """Return the cases and classes whose cost is worth a report.

    Args:
        costs: Dict case id → `ClassCost`s, one for each class.
        names: Names of the classes.

    Returns:
        `(low, lost)`: `low` is a list of (case id, name of a class) with a best Dice below 0.9; `lost` is a dict from
        the name of each class whose mean over the cases that hold it is below 0.5 to that mean.

    Example:

    >>> cost = ClassCost(voxels=9, box_voxels=1, kept=4, components=2, lost=1, best_dice=0.4)
    >>> judge_costs({"a": (cost,)}, ("lesion",))
    ([('a', 'lesion')], {'lesion': 0.4})
    """
    low = [
        (case_id, name)
        for case_id, classes in costs.items()
        for name, cost in zip(names, classes, strict=True)
        if cost.best_dice is not None and cost.best_dice < LOW_DICE
    ]
    means = {name: mean_dice(costs, index) for index, name in enumerate(names)}
    return low, {name: mean for name, mean in means.items() if mean is not None and mean < LOST_DICE}


def mean_dice(costs, index):
    """Return the mean of the best Dice of a class, by its index, over the cases that hold it; None where none does."""
    values = [classes[index].best_dice for classes in costs.values() if classes[index].best_dice is not None]
    return float(np.mean(values)) if values else None


def refuse_loss(costs, task, size, *, accept_loss=False):
    """Warn of cases with a best Dice below 0.9; refuse a box that loses a class, or warn where that is accepted.

    Args:
        costs: Dict case id → `ClassCost`s.
        task: `Task`.
        size: Voxels of the box, or `"native"`.
        accept_loss: Warn only.

    Raises:
        LabelError: A class with a mean best Dice below 0.5.
    """
    low, lost = judge_costs(costs, task.names)
    error = loss_error(lost, size) if lost else None
    if error and not accept_loss:
        raise error
    if error:
        warnings.warn(f"{error.path}: {error.problem}.", stacklevel=2)
    if low:
        cases = sorted({case_id for case_id, _ in low})
        more = f" and {len(cases) - _SHOWN} more" if len(cases) > _SHOWN else ""
        text = f"The best Dice after the round trip is below {LOW_DICE} in {', '.join(cases[:_SHOWN])}{more}."
        asked = size if isinstance(size, str) else ",".join(map(str, size))
        warnings.warn(f"{text} `mcc-keras check` shows it with --size {asked}.", stacklevel=2)


def loss_error(lost, size):
    """Return the `LabelError` about classes that the box loses.

    Args:
        lost: As `judge_costs` returns it.
        size: Voxels of the box, or `"native"`.

    Example:

    >>> loss_error({"lesion": 0.4}, (32, 32, 32)).problem
    'expected a box that keeps each class, found 32 x 32 x 32 voxels with a best mean Dice of 0.40 for lesion'
    """
    found = ", ".join(f"{mean:.2f} for {name}" for name, mean in lost.items())
    sides = f"its {size} size" if isinstance(size, str) else f"{' x '.join(map(str, size))} voxels"
    problem = f"expected a box that keeps each class, found {sides} with a best mean Dice of {found}"
    return LabelError("box", problem, "Use a larger size, a finer spacing or a crop, or pass accept_loss=True.")
