import numpy as np
import pytest

from mcc_keras.losses import DiceLoss

Y_TRUE = np.array([[1, 0, 1, 1]], "float32")[..., None]
Y_PRED = np.array([[0.5, 0.5, 1, 0]], "float32")[..., None]


def test_plain_denominators():
    # Overlap 1.5, truth 3, prediction 2.
    assert float(DiceLoss(smooth=0.0)(Y_TRUE, Y_PRED)) == pytest.approx(1 - 3 / 5, abs=1e-6)
    assert float(DiceLoss(smooth=1.0)(Y_TRUE, Y_PRED)) == pytest.approx(1 - 4 / 6, abs=1e-6)


def test_squared_denominators():
    # Squares of the prediction: 0.25 + 0.25 + 1.
    assert float(DiceLoss(squared=True, smooth=0.0)(Y_TRUE, Y_PRED)) == pytest.approx(1 - 3 / 4.5, abs=1e-6)


def test_the_mean_is_over_foreground_unless_asked_otherwise():
    labels = np.array([[0, 0, 1, 2]])
    y_pred = np.eye(3, dtype="float32")[[[0, 1, 1, 1]]]
    # Dice of the classes: 2/3, 2/4, 0.
    assert float(DiceLoss(smooth=0.0)(labels, y_pred)) == pytest.approx(1 - 1 / 4, abs=1e-6)
    with_background = DiceLoss(smooth=0.0, include_background=True)(labels, y_pred)
    assert float(with_background) == pytest.approx(1 - (2 / 3 + 1 / 2) / 3, abs=1e-6)
    weighted = DiceLoss(smooth=0.0, class_weights=[5, 3, 1])(labels, y_pred)
    assert float(weighted) == pytest.approx(1 - 3 / 4 * 1 / 2, abs=1e-6)
