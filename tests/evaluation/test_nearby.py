"""Beside SciPy's distance transform."""

import numpy as np
import pytest
from scipy import ndimage

from mcc_keras.evaluation import nearby
from mcc_keras.evaluation.nearby import box_around, find_nearby


def blobs(shape, *, seed):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    return noise > np.quantile(noise, 0.97)


@pytest.mark.parametrize("block", [1, 1 << 16])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.9, 3.3), (5.1, 0.8, 1.1), (20.0, 20.0, 20.0), (2, 30, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_voxels_nearby_are_those_of_the_distance_transform(monkeypatch, spacing, block, order):
    monkeypatch.setattr(nearby, "_BLOCK", block)
    for seed, shape in enumerate([(40, 31, 22), (5, 60, 9), (1, 8, 1)]):
        mask = np.array(blobs(shape, seed=seed), order=order)
        expected = ndimage.distance_transform_edt(~mask, sampling=spacing) <= 10
        np.testing.assert_array_equal(find_nearby(mask, spacing, 10.0), expected)


def test_the_box_holds_every_voxel_nearby_and_no_plane_more():
    for seed, spacing in enumerate([(1.0, 1.0, 1.0), (0.7, 0.9, 3.3), (11.0, 2.0, 10.0)]):
        mask = np.zeros((50, 50, 50), bool)
        mask[20:30, 22:25, 24:27] = blobs((10, 3, 3), seed=seed)
        found = find_nearby(mask, spacing, 10.0)
        box = box_around(mask, spacing, 10.0)
        assert found[box].sum() == found.sum()
        assert all(found.any(axis=tuple({0, 1, 2} - {axis}))[box[axis]].all() for axis in range(3))


def test_an_empty_mask_is_near_nothing():
    empty = np.zeros((4, 5, 6), bool)
    assert box_around(empty, (1, 1, 1), 10) is None
    assert not find_nearby(empty, (1, 1, 1), 10).any()
