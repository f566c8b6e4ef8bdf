import pytest

from mcc_keras.comparison.arms import build_arms
from mcc_keras.comparison.sweep import check_sweep
from mcc_keras.errors import UsageError

ARMS = build_arms(losses=("mcc", "dice"), learning_rate=0.01)


def test_values_are_numbers_or_multiples():
    assert check_sweep(("learning_rate", ("x0.3", 0.5)), ARMS) == ("learning_rate", ("x0.3", "0.5"))
    assert check_sweep(None, ARMS) is None


@pytest.mark.parametrize(
    ("sweep", "named"),
    [
        ({"learning_rate": ("x1",)}, "two values or more"),
        ({"learning_rate": ("x1", "0.01")}, "two values or more"),  # one value for these arms
        ({"learning_rate": ()}, "two values or more"),
        ({"learning_rate": ("x0", "x1")}, "'x0'"),
        ({"learning_rate": ("fast", "x1")}, "'fast'"),
        ({"batch_size": ("1", "2")}, "learning_rate"),
        ({"learning_rate": ("x1", "x2"), "weight_decay": ("x1", "x2")}, "one of"),
    ],
)
def test_a_sweep_that_leaves_no_choice_is_refused(sweep, named):
    with pytest.raises(UsageError, match=named):
        check_sweep(sweep, ARMS)
