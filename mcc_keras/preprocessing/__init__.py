"""From a scan's stored grid to the box that a network sees, and back again.

    settings.py   `Preprocessing`, the value with every choice: apply, apply_mask, restore, and its JSON
    grid.py       `Grid`: the stored axes are turned to RAS+ (a permutation and flips, exact), cropped, and every axis
                  is resampled onto a box that shares the scan's center. A coarser target voxel is the mean of what it
                  covers, a finer one is interpolated linearly; where nothing changes, voxels are moved, not computed
    intensity.py  background, clipping and normalization of one channel
    fitting.py    estimates from the training scans

`graph.py` and `graph_intensity.py` implement the same formulas in TensorFlow; a test compares both implementations.
"""

from mcc_keras.preprocessing.grid import Grid, orientation, resampling_matrix
from mcc_keras.preprocessing.settings import NORMALIZATIONS, SCHEMA, Preprocessing

__all__ = ["NORMALIZATIONS", "SCHEMA", "Grid", "Preprocessing", "orientation", "resampling_matrix"]
