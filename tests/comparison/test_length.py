import pytest

from mcc_keras.comparison.arms import build_arms
from mcc_keras.comparison.length import Pace, check_length, steps_of_arms
from mcc_keras.errors import UsageError


def paces(arms, seconds, validation=0.0):
    settings = {"validation_seconds": validation, "steps_per_epoch": 10, "peak_memory": 0}
    return {arm.name: Pace(seconds_per_step=s, **settings) for arm, s in zip(arms, seconds, strict=True)}


def test_the_slowest_arm_sets_the_steps_of_all():
    arms = build_arms(losses=("mcc", "dice"))
    assert steps_of_arms(arms, paces(arms, (0.1, 0.3)), minutes_per_cell=1) == {"mcc": 200, "dice": 200}


def test_validations_take_part_of_the_minutes():
    arms = build_arms(losses=("mcc", "dice"))
    assert steps_of_arms(arms, paces(arms, (0.1, 0.1), validation=1.0), minutes_per_cell=1) == {"mcc": 300, "dice": 300}


def test_where_batches_differ_each_arm_sees_as_many_cases():
    arms = build_arms(vary={"batch_size": (1, 2), "accumulate": (1, 4)})
    steps = steps_of_arms(arms, paces(arms, (0.1,) * 4), steps=80)
    assert {steps[arm.name] * arm.batch for arm in arms} == {80}


def test_the_time_of_a_cell_holds_a_validation_for_each_epoch_begun():
    pace = Pace(seconds_per_step=0.5, validation_seconds=2.0, steps_per_epoch=10, peak_memory=0)
    assert pace.seconds(11) == 5.5 + 4


@pytest.mark.parametrize(
    ("given", "named"), [((10, 2.0), "steps=10"), ((0, None), "steps=0"), ((None, -1), "minutes_per_cell=-1")]
)
def test_a_length_that_cannot_be_is_refused(given, named):
    with pytest.raises(UsageError, match=named):
        check_length(*given)


def test_four_minutes_are_the_default():
    assert check_length(None, None) == (None, 4.0)
