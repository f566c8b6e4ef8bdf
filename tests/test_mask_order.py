"""A mask that lies on the grid of its scan, stored in another order of axes, is moved to the scan's order exactly."""

import itertools

import nibabel as nib
import numpy as np
import pytest

from mcc_keras.datasets import find_cases, read_image, read_mask
from mcc_keras.errors import GeometryError
from mcc_keras.volumes import Volume, reordered_like, write_volume

OBLIQUE = np.array([[0.9, -0.2, 0.1, -30.0], [0.2, 0.88, -0.3, 12.0], [0.0, 0.4, 2.6, 7.0], [0, 0, 0, 1]])
LABELS = np.random.default_rng(0).integers(0, 3, (6, 5, 4)).astype(np.uint8)
SCAN = Volume(np.zeros((6, 5, 4), np.float32), OBLIQUE)
ORDERS = [
    np.column_stack([axes, signs])
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def turned(order):
    """The labels and their affine as nibabel stores them in another order: the same voxels in the same places."""
    image = nib.Nifti1Image(LABELS, OBLIQUE).as_reoriented(order)
    return Volume(np.asarray(image.dataobj), image.affine)


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_every_order_of_axes_gives_the_same_voxels(order):
    found = reordered_like(turned(order), SCAN, within=0.01)
    np.testing.assert_array_equal(found.array, LABELS)
    np.testing.assert_allclose(found.affine, OBLIQUE, atol=1e-4)


def test_a_volume_in_the_same_order_or_on_another_grid_is_returned_as_it_is():
    moved = turned(ORDERS[1])
    moved.affine[0, 3] += 5
    smaller = Volume(turned(ORDERS[1]).array[1:], turned(ORDERS[1]).affine)
    finer = Volume(turned(ORDERS[1]).array, turned(ORDERS[1]).affine @ np.diag([0.4, 1, 1, 1]))
    for volume in (moved, smaller, finer, Volume(LABELS, OBLIQUE)):
        assert reordered_like(volume, SCAN, within=0.5) is volume


def test_a_mask_with_its_rows_bottom_up_is_read_in_the_order_of_its_image_and_reported(tmp_path):
    rows_up = turned([[0, 1], [1, -1], [2, 1]])
    write_volume(SCAN.array + 1, tmp_path / "a.nii", affine=OBLIQUE)
    write_volume(rows_up.array, tmp_path / "a_mask.nii", affine=rows_up.affine)
    (case,) = find_cases(tmp_path, labels=(1, 2))
    image = read_image(case)
    with pytest.warns(UserWarning, match=r"a_mask\.nii: stored in another order of axes than .*a\.nii"):
        np.testing.assert_array_equal(read_mask(case, image), LABELS)
    rows_up.affine[:, 3] += OBLIQUE[:, 1]
    write_volume(rows_up.array, tmp_path / "a_mask.nii", affine=rows_up.affine, overwrite=True)
    with pytest.raises(GeometryError, match="expected the place of a.nii"):
        read_mask(case, image)
