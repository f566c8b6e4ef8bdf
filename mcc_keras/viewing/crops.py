"""The part of a scan around its masks, at its place in space."""

from dataclasses import dataclass, replace

import numpy as np

from mcc_keras.viewing.scene import Scene
from mcc_keras.volumes import Volume


@dataclass(frozen=True)
class Box:
    """Voxels from `low` up to but without `high`, each a tuple of three.

    Example:

    >>> Box((2, 0, 1), (5, 4, 2)).shape
    (3, 4, 1)
    """

    low: tuple[int, int, int]
    high: tuple[int, int, int]

    @property
    def shape(self):
        """Its three sizes in voxels."""
        return tuple(high - low for low, high in zip(self.low, self.high, strict=True))


def box_around(scene: Scene, margin_mm):
    """Return the smallest `Box` that holds all masks of a scene and a margin, within the scan; None without masks.

    Example:

    >>> from mcc_keras.viewing.scene import read_scene
    >>> mask = np.zeros((8, 8, 8), int)
    >>> mask[2:4, 3, 7] = 1
    >>> box_around(read_scene(np.zeros((8, 8, 8)), [mask]), margin_mm=1)
    Box(low=(1, 2, 6), high=(5, 5, 8))
    """
    low, high = np.full(3, np.iinfo(np.int64).max), np.zeros(3, np.int64)
    for mask in scene.masks:
        for axis in range(3) if mask.present else ():
            others = tuple(other for other in range(3) if other != axis)
            found = np.flatnonzero(mask.classes.any(axis=others))
            low[axis], high[axis] = min(low[axis], found[0]), max(high[axis], found[-1] + 1)
    if not high.any():
        return None
    margin = np.ceil(margin_mm / np.array(scene.scan.spacing_mm)).astype(int)
    low, high = np.maximum(low - margin, 0), np.minimum(high + margin, scene.scan.shape)
    return Box(tuple(low.tolist()), tuple(high.tolist()))


def crop(scene: Scene, box):
    """Return a scene with the voxels of a `Box`, which stay where they are in space.

    Example:

    >>> from mcc_keras.viewing.scene import read_scene
    >>> scene = read_scene(Volume(np.zeros((8, 8, 8)), np.diag([2.0, 2, 5, 1])))
    >>> crop(scene, Box((1, 0, 3), (4, 8, 8))).scan.affine[:3, 3]
    array([ 2.,  0., 15.])
    """
    part = tuple(slice(low, high) for low, high in zip(box.low, box.high, strict=True))
    affine = scene.scan.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ box.low
    masks = tuple(replace(mask, classes=mask.classes[part]) for mask in scene.masks)
    scan = Volume(scene.scan.array[part], affine, scene.scan.path)
    return replace(scene, scan=scan, masks=masks)
