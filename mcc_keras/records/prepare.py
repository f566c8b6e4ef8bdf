"""One case from its files to the network's box; runs in worker processes, so it never imports TensorFlow."""

import dataclasses

import numpy as np

from mcc_keras.datasets.cases import read_image, read_mask
from mcc_keras.errors import MCCKerasError
from mcc_keras.preprocessing.cost import box_cost
from mcc_keras.preprocessing.sides import mirrored_classes


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedCase:
    """A case in the box.

    Args:
        case_id: The case.
        image: float32 (*size, channels).
        mask: uint8 (*size).
        spacing_mm: Voxel size of the box in millimetres.
        cost: `ClassCost` of each class.
        sides: Pairs of classes that are mirror images of each other, the left one first.
    """

    case_id: str
    image: np.ndarray
    mask: np.ndarray
    spacing_mm: tuple
    cost: tuple = ()
    sides: tuple = ()


def prepare_case(case, preprocessing):
    """Return the `PreparedCase`, or an `MCCKerasError` as a value, so that the errors of all cases can be collected.

    Args:
        case: `Case` with a mask.
        preprocessing: `Preprocessing` with nothing left to fit.
    """
    try:
        volume = read_image(case)
        mask = read_mask(case, volume)
        grid = preprocessing.grid(volume.array, volume.affine)
        count = len(case.task.labels)
        box = preprocessing.apply_mask(mask, grid, num_labels=count)
        cost = box_cost(mask, box, grid, num_labels=count)
        del mask  # before the image is allocated
        image = preprocessing.apply(volume.array, grid)
    except MCCKerasError as error:
        return error
    return PreparedCase(case.case_id, image, box, grid.spacing_mm, cost, tuple(mirrored_classes(box)))
