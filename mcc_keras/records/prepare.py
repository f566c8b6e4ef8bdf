"""One case from its files to the network's box; runs in worker processes, so it never imports TensorFlow."""

import dataclasses

import numpy as np

from mcc_keras.datasets.cases import read_image, read_mask
from mcc_keras.errors import MCCKerasError


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedCase:
    """A case in the box: image float32 (*size, channels), mask uint8 (*size), voxel size of the box in millimetres."""

    case_id: str
    image: np.ndarray
    mask: np.ndarray
    spacing_mm: tuple


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
        mask = preprocessing.apply_mask(mask, grid, num_labels=len(case.task.labels))  # first: the larger one is let go
        image = preprocessing.apply(volume.array, grid)
    except MCCKerasError as error:
        return error
    return PreparedCase(case.case_id, image, mask, grid.spacing_mm)
