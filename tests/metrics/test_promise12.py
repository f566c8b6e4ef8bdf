import numpy as np
import pytest

from mcc_keras.errors import UsageError
from mcc_keras.metrics import boundary_scores, relative_score


def test_each_third_is_scored_by_itself():
    truth = np.zeros((8, 8, 9), bool)
    truth[2:6, 2:6] = True
    prediction = truth.copy()
    prediction[..., 6:] = False
    prediction[2, 2, 6:] = True
    scores = boundary_scores(truth, prediction, (1, 1, 2))
    assert scores["apex"] == {
        "dice": 1.0,
        "relative_volume_difference_percent": 0.0,
        "average_boundary_distance_mm": 0.0,
        "hausdorff95_distance_mm": 0.0,
    }
    # The base holds one column of sixteen.
    assert scores["base"]["dice"] == pytest.approx(2 * 3 / (3 + 48))
    assert scores["base"]["relative_volume_difference_percent"] == pytest.approx(100 * 45 / 48)
    upside_down = boundary_scores(truth, prediction, (1, 1, 2), caudal_first=False)
    assert upside_down["apex"] == scores["base"]


def test_an_empty_truth_has_no_thirds():
    with pytest.raises(UsageError, match="0 voxels"):
        boundary_scores(np.zeros((4, 4, 4)), np.ones((4, 4, 4)), (1, 1, 1))


def test_the_score_is_a_line_through_100_and_85_that_stops_at_0():
    assert [relative_score(v, perfect=0, observer=2) for v in (0, 2, 4, 50)] == [100, 85, 70, 0]
