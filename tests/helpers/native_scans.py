"""Scans of sizes that differ, for records of native size."""

import numpy as np

from mcc_keras.datasets import find_cases
from mcc_keras.volumes import write_volume

SHAPES = [(12, 10, 8), (9, 14, 6), (16, 8, 7), (10, 10, 12), (13, 9, 7), (12, 10, 8)]


def write_scans(folder, shapes=SHAPES):
    """Write scans of whole numbers, each with a brighter cube that is its foreground; return their cases."""
    folder.mkdir()
    for number, shape in enumerate(shapes):
        rng = np.random.default_rng(number)
        mask = np.zeros(shape, np.uint8)
        mask[3:7, 2:6, 1:4] = 1
        image = (rng.normal(100, 10, shape) + 50 * mask).astype(np.int16)
        affine = np.diag([1.0, 1.0, 1.0 + number % 2, 1.0])
        write_volume(image, folder / f"case{number}.nii.gz", affine=affine)
        write_volume(mask, folder / f"case{number}_mask.nii.gz", affine=affine)
    return find_cases(folder)
