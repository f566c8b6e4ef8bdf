import numpy as np
import pytest

from mcc_keras.metrics import DiceScore
from mcc_keras.training.false_alarms import FalseAlarmRate

TRUTH = np.zeros((3, 4, 1), np.float32)
TRUTH[0, :2] = 1  # the other two volumes lack the organ
PREDICTION = np.full((3, 4, 1), 0.1, np.float32)
PREDICTION[0, 0] = PREDICTION[1, 0] = 0.9


def score(metric, volumes=slice(None)):
    metric.update_state(TRUTH[volumes], PREDICTION[volumes])
    return float(metric.result())


def test_a_false_alarm_does_not_lower_the_dice_of_volumes_that_hold_the_organ():
    assert score(DiceScore(empty="exclude", only_present=True)) == pytest.approx(2 / 3)
    assert score(DiceScore(empty="exclude")) == pytest.approx(1 / 3)


def test_it_is_counted_apart_among_the_volumes_that_lack_the_organ():
    assert score(FalseAlarmRate()) == 0.5


def test_it_is_not_a_number_where_every_volume_holds_the_organ():
    assert np.isnan(score(FalseAlarmRate(), slice(1)))


def test_classes_are_counted_each_by_itself():
    labels = np.array([[[1], [0]], [[0], [0]]])
    scores = np.array([[[0.1, 0.8, 0.1], [0.8, 0.1, 0.1]], [[0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]])
    metric = FalseAlarmRate(per_class=True)
    metric.update_state(labels, scores)
    assert metric.result().numpy().tolist() == [1.0, 0.5]
