import numpy as np
import pytest

from mcc_keras.segmentation.cleaning import clean


@pytest.fixture
def mask():
    mask = np.zeros((5, 5, 5), np.uint8)
    mask[0, 0, 0:2], mask[4, 4, 4], mask[2, 2, 2:5], mask[0, 4, 0] = 1, 1, 3, 3
    return mask


def test_the_largest_piece_of_every_label_stays(mask):
    kept = clean(mask, largest_component=True)
    assert ((kept == 1).sum(), (kept == 3).sum()) == (2, 3)
    assert kept[0, 0, 0] == 1
    assert not clean(np.zeros((3, 3, 3), np.uint8), largest_component=True).any()


@pytest.mark.parametrize(("smallest_mm3", "left"), [(0, (3, 4)), (4, (3, 4)), (8, (2, 3)), (9, (0, 3)), (13, (0, 0))])
def test_small_pieces_of_every_label_go(mask, smallest_mm3, left):
    kept = clean(mask, smallest_mm3=smallest_mm3, spacing_mm=(1, 2, 2))
    assert ((kept == 1).sum(), (kept == 3).sum()) == left


def test_both_at_once_keep_the_largest_where_it_is_not_small(mask):
    kept = clean(mask, largest_component=True, smallest_mm3=3)
    assert ((kept == 1).sum(), (kept == 3).sum()) == (0, 3)


def test_the_mask_itself_is_not_changed(mask):
    before = mask.copy()
    clean(mask, largest_component=True, smallest_mm3=100)
    assert np.array_equal(mask, before)


def test_a_volume_of_whole_voxels_is_not_missed_by_rounding():
    mask = np.uint8([[[1, 1, 1]]])
    assert clean(mask, smallest_mm3=3 * 0.1**3, spacing_mm=(0.1, 0.1, 0.1)).any()
