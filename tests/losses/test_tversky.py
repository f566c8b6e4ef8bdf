import numpy as np
import pytest

from mcc_keras.errors import UsageError
from mcc_keras.losses import DiceLoss, TverskyLoss

# TP = 1.5, FP = 0.5, FN = 1.5.
Y_TRUE = np.array([[1, 0, 1, 1]], "float32")[..., None]
Y_PRED = np.array([[0.5, 0.5, 1, 0]], "float32")[..., None]


def test_false_positives_and_false_negatives_are_weighed_apart():
    loss = TverskyLoss(alpha=0.2, beta=0.6, smooth=0.0)
    assert float(loss(Y_TRUE, Y_PRED)) == pytest.approx(1 - 1.5 / (1.5 + 0.1 + 0.9), rel=1e-6)
    loss = TverskyLoss(alpha=0.2, beta=0.6, smooth=2.0)
    assert float(loss(Y_TRUE, Y_PRED)) == pytest.approx(1 - 3.5 / (3.5 + 0.1 + 0.9), rel=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 0.75, 2.0])
def test_the_exponent_is_of_each_class_before_their_mean(gamma):
    labels, y_pred = np.array([[0, 0, 1, 2]]), np.eye(3, dtype="float32")[[[0, 1, 1, 1]]]
    # Class 1: TP 1, FP 2, FN 0. Class 2: TP 0, FN 1.
    expected = ((1 - 1 / (1 + 0.3 * 2)) ** gamma + 1) / 2
    assert float(TverskyLoss(gamma=gamma, smooth=0.0)(labels, y_pred)) == pytest.approx(expected, rel=1e-6)


def test_with_one_half_for_both_it_is_dice():
    dice = float(DiceLoss(smooth=0.0)(Y_TRUE, Y_PRED))
    assert float(TverskyLoss(alpha=0.5, beta=0.5, smooth=0.0)(Y_TRUE, Y_PRED)) == pytest.approx(dice, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [({"alpha": -1}, "alpha=-1"), ({"alpha": 0, "beta": 0}, "not both 0"), ({"gamma": 0}, "gamma=0")],
)
def test_arguments_out_of_range_are_refused(arguments, text):
    with pytest.raises(UsageError, match=text):
        TverskyLoss(**arguments)
