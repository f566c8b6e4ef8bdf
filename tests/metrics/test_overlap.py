import numpy as np
import pytest

from mcc_keras.errors import UsageError
from mcc_keras.metrics import DiceScore

TRUTH = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], "float32")[..., None]
PREDICTION = np.array([[0.9, 0.1, 0.8, 0.2], [0.6, 0.1, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4]], "float32")[..., None]


def score(metric, *batches):
    for batch in batches:
        metric.update_state(*batch)
    return float(metric.result())


def test_the_mean_is_over_volumes_and_an_empty_one_that_is_left_empty_counts_as_1():
    assert score(DiceScore(), (TRUTH, PREDICTION)) == pytest.approx((0.5 + 1 + 1) / 3)


def test_an_empty_volume_can_count_as_0_or_not_at_all_and_is_counted():
    assert score(DiceScore(empty=0.0), (TRUTH, PREDICTION)) == pytest.approx(1.5 / 3)
    metric = DiceScore(empty="exclude")
    assert score(metric, (TRUTH, PREDICTION)) == pytest.approx(1.5 / 2)
    assert metric.excluded.tolist() == [1]


def test_pooled_over_all_the_volumes_are_one():
    assert score(DiceScore(pool="all"), (TRUTH, PREDICTION)) == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))


@pytest.mark.parametrize("pool", ["sample", "all"])
def test_batches_add_up(pool):
    apart = score(DiceScore(pool=pool), (TRUTH[:1], PREDICTION[:1]), (TRUTH[1:], PREDICTION[1:]))
    assert apart == pytest.approx(score(DiceScore(pool=pool), (TRUTH, PREDICTION)))


def test_reset_forgets():
    metric = DiceScore()
    metric.update_state(1 - TRUTH, PREDICTION)
    metric.reset_state()
    assert score(metric, (TRUTH, PREDICTION)) == pytest.approx(2.5 / 3)


def test_classes_are_scored_one_by_one_and_background_only_if_asked():
    labels = np.array([[0, 0, 1, 2]])
    y_pred = np.eye(3, dtype="float32")[[[0, 1, 1, 1]]]
    assert score(DiceScore(), (labels, y_pred)) == pytest.approx((0.5 + 0) / 2)
    metric = DiceScore(per_class=True, include_background=True)
    metric.update_state(labels, y_pred)
    np.testing.assert_allclose(metric.result(), [2 / 3, 1 / 2, 0], rtol=1e-6)


def test_logits_and_probabilities_give_the_same_score_at_any_threshold():
    logits = np.log(PREDICTION / (1 - PREDICTION))
    for threshold in (0.15, 0.5, 0.7):
        expected = score(DiceScore(threshold=threshold), (TRUTH, PREDICTION))
        assert score(DiceScore(threshold=threshold, from_logits=True), (TRUTH, logits)) == pytest.approx(expected)


def test_a_weight_of_zero_and_an_ignored_label_leave_voxels_out():
    weight = np.array([[1, 1, 0, 1], [1, 1, 1, 1], [1, 1, 1, 1]])
    assert score(DiceScore(), (TRUTH, PREDICTION, weight)) == pytest.approx((2 / 3 + 1 + 1) / 3)
    ignored = np.where(weight[..., None] == 0, 255, TRUTH)
    assert score(DiceScore(ignore_class=255), (ignored, PREDICTION)) == pytest.approx((2 / 3 + 1 + 1) / 3)
    with pytest.raises(UsageError, match="0 or 1"):
        DiceScore().update_state(TRUTH, PREDICTION, weight * 0.5)


def test_a_volume_of_weight_zero_is_not_there():
    assert score(DiceScore(), (TRUTH, PREDICTION, np.array([1, 0, 0]))) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [({"pool": "batch"}, "pool='batch'"), ({"threshold": 2}, "threshold=2"), ({"empty": "nan"}, "empty='nan'")],
)
def test_arguments_out_of_range_are_refused(arguments, text):
    with pytest.raises(UsageError, match=text):
        DiceScore(**arguments)


def test_before_the_first_volume_the_score_is_nan():
    assert np.isnan(float(DiceScore().result()))
