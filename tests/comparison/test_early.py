import pytest
from sklearn.metrics import auc

from mcc_keras.comparison.early import area_under, steps_until


def test_the_area_is_that_of_scikit_learn():
    steps, values = [5, 10, 15, 20], [0.1, 0.7, 0.6, 0.8]
    assert area_under(steps, values, total=20) == pytest.approx(auc([0, *steps, 20], [0, *values, 0.8]) / 20)


def test_of_two_curves_with_one_end_the_earlier_one_has_the_larger_area():
    early, late = (area_under([10, 20], values, total=20) for values in ([0.8, 0.8], [0.1, 0.8]))
    assert early > late


def test_a_training_that_ended_early_keeps_its_last_score():
    assert area_under([10], [0.8], total=20) == pytest.approx((4 + 8) / 20)
    assert area_under([], [], total=20) == 0.0


def test_the_first_step_near_the_best_is_found_where_there_is_one():
    assert steps_until([10, 20, 30], [0.1, 0.91, 1.0]) == 20
    assert steps_until([10, 20], [float("nan"), 0.5]) == 20
    assert steps_until([10], [0.0]) is None
