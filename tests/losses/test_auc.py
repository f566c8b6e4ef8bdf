import numpy as np
import pytest

from mcc_keras.losses import AUCLoss


def mean_over_pairs(y, p):
    """The mean of (1 - (p₊ - p₋))² over every pair of a foreground and a background voxel, one by one."""
    return np.mean((1 - (p[y == 1][:, None] - p[y == 0][None, :])) ** 2)


def volume(share, *, seed=0):
    generator = np.random.default_rng(seed)
    return (generator.random((1, 6, 6, 6, 1)) < share).astype("float32"), generator.random((1, 6, 6, 6, 1))


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_it_is_the_mean_over_all_pairs(share):
    y, p = volume(share)
    value = float(AUCLoss(smooth=0.0)(y, p.astype("float32")))
    assert value == pytest.approx(mean_over_pairs(y, p), rel=1e-5)


def test_the_virtual_voxels_are_pairs_like_others():
    y, p = volume(0.1)
    y_more, p_more = np.append(y, [1, 1, 0, 0]), np.append(p, [1.0, 1, 0, 0])
    value = float(AUCLoss(smooth=2.0)(y, p.astype("float32")))
    assert value == pytest.approx(mean_over_pairs(y_more, p_more), rel=1e-5)


def test_on_an_empty_mask_the_false_alarms_count():
    # One virtual voxel with p = 1 against 0.5, 0.5 and a virtual 0: (0.25 + 0.25 + 0) / 3.
    y, p = np.zeros((1, 2, 1), "float32"), np.full((1, 2, 1), 0.5, "float32")
    assert float(AUCLoss()(y, p)) == pytest.approx(0.5 / 3, rel=1e-6)


def test_several_classes_are_the_mean_of_each_against_the_rest():
    generator = np.random.default_rng(1)
    labels, p = generator.integers(0, 3, (1, 40)), generator.dirichlet(np.ones(3), (1, 40))
    each = [mean_over_pairs((labels[0] == k).astype(int), p[0, :, k]) for k in range(3)]
    assert float(AUCLoss(smooth=0.0)(labels, p.astype("float32"))) == pytest.approx(np.mean(each[1:]), rel=1e-5)
    weighted = AUCLoss(smooth=0.0, include_background=True, class_weights=[1, 2, 5])(labels, p.astype("float32"))
    assert float(weighted) == pytest.approx(np.average(each, weights=[1, 2, 5]), rel=1e-5)
