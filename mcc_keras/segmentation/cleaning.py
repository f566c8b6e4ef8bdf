"""Connected components of a mask: keep the largest, remove the small; no graph holds it."""

import numpy as np
from skimage.measure import label


def clean(mask, *, largest_component=False, smallest_mm3=0.0, spacing_mm=(1.0, 1.0, 1.0)):
    """Return the mask without small components, or with only the largest of every label.

    Args:
        mask: (x, y, z) unsigned integer, 0 is background. It is not changed.
        largest_component: Keep only the largest connected component (26 neighbors) of every label.
        smallest_mm3: Smallest volume of a component that is kept, in cubic millimetres.
        spacing_mm: Three floats, the voxel size.

    Example:

    >>> mask = np.uint8([[[1, 1, 0, 1, 0, 2]]])
    >>> clean(mask, largest_component=True).tolist(), clean(mask, smallest_mm3=2).tolist()
    ([[[1, 1, 0, 0, 0, 2]]], [[[1, 1, 0, 0, 0, 0]]])
    """
    least = smallest_mm3 / np.prod(np.asarray(spacing_mm, np.float64))
    if not largest_component and least <= 1:
        return mask
    kept = np.zeros_like(mask)
    for value in np.unique(mask[mask > 0]):
        pieces = label(mask == value, connectivity=3)
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        chosen = sizes >= least * (1 - 1e-6)  # that a volume of so many whole voxels is not missed by rounding
        if largest_component:
            chosen &= np.arange(sizes.size) == sizes.argmax()
        chosen[0] = False
        kept[chosen[pieces]] = value
    return kept
