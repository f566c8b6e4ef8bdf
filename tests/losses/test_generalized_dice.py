import numpy as np
import pytest

from mcc_keras.losses import DiceLoss, GeneralizedDiceLoss


def test_it_is_the_published_formula_over_all_classes():
    generator = np.random.default_rng(0)
    labels = generator.choice(4, (1, 6, 6, 6), p=[0.9, 0.06, 0.03, 0.01])
    p = generator.dirichlet(np.ones(4), (1, 6, 6, 6))
    y = np.eye(4)[labels]
    weights = 1 / y.sum((0, 1, 2, 3)) ** 2
    overlap, size = (y * p).sum((0, 1, 2, 3)), (y + p).sum((0, 1, 2, 3))
    for first in (0, 1):
        expected = 1 - 2 * (weights * overlap)[first:].sum() / (weights * size)[first:].sum()
        loss = GeneralizedDiceLoss(smooth=0.0, include_background=first == 0)
        assert float(loss(labels, p.astype("float32"))) == pytest.approx(expected, rel=1e-5)


def test_a_class_that_is_not_there_takes_the_largest_weight():
    labels, p = np.array([[1, 1, 0, 0]]), np.array([[[0, 1, 0], [0, 1, 0], [0.5, 0, 0.5], [1, 0, 0]]], "float32")
    # Class 1 (2 voxels, the only one there) has weight 1 and is found; class 2 is not there: weight 1, size 0.5.
    assert float(GeneralizedDiceLoss(smooth=0.0)(labels, p)) == pytest.approx(1 - 4 / (4 + 0.5), rel=1e-6)


def test_with_one_foreground_class_it_is_dice():
    generator = np.random.default_rng(1)
    y, p = (generator.random((2, 5, 5, 5, 1)) < 0.2).astype("float32"), generator.random((2, 5, 5, 5, 1))
    dice = DiceLoss(reduction=None)(y, p.astype("float32"))
    np.testing.assert_allclose(GeneralizedDiceLoss(reduction=None)(y, p.astype("float32")), dice, rtol=1e-5)
