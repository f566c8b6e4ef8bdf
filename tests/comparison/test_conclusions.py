import pytest
from planted_results import design, plan, planted

from mcc_keras.comparison.analysis import analyze
from mcc_keras.comparison.conclusions import conclude, describe_failures, describe_noise

SIX = (0.001, -0.001, 0.0005, -0.0005, 0.0, 0.0)


def sentences(effects, **changes):
    asked = design(folds=len(effects), **changes)
    made = plan(asked)
    analysis = analyze(made, planted(asked, {"mcc": (0.0,) * len(effects), "dice": effects}, noise=0.01))
    networks, arms, limits = conclude(made, analysis)
    return " ".join(networks), " ".join(arms), " ".join(limits), " ".join(describe_noise(made, analysis))


def test_a_sure_difference_is_claimed_of_both():
    networks, arms, _, _ = sentences((0.10, 0.11, 0.09))
    assert "dice scored +0.100 Dice against mcc on 12 patients" in networks
    assert "wrong with probability below 0.001: it may be made" in networks
    assert "The difference holds for dice as such" in arms


def test_an_unsure_difference_is_not_claimed_and_no_equality_either():
    networks, arms, _, _ = sentences((0.10, -0.05, 0.0))
    assert "it may not be made" in networks
    assert "No difference may be concluded, nor that there is none" in arms


def test_two_that_agree_in_every_fold_are_called_equivalent():
    _, arms, _, _ = sentences(SIX)
    assert "equivalent within ± 0.01 with probability" in arms


def test_one_split_supports_nothing_on_the_loss():
    _, arms, limits, _ = sentences((0.1,))
    assert arms == "Nothing may be concluded of the loss: the scores come from fewer than two folds."
    assert "another split may give another winner" in limits


def test_the_limits_name_one_rate_and_one_seed():
    _, _, limits, noise = sentences((0.1, 0.1), seeds=(0,))
    assert "All had one learning rate" in limits and "the luck of that seed" in limits
    assert noise.startswith("Noise between seeds: unknown")
    _, _, limits, noise = sentences((0.1, 0.1), sweep=("learning_rate", ("x1", "x3")))
    assert "one learning rate" not in limits and "luck" not in limits
    assert "mcc: two seeds differ by 0.020" in noise


def test_a_comparison_without_failures_says_so():
    asked = design()
    analysis = analyze(plan(asked), planted(asked, {"mcc": (0.0, 0.0), "dice": (0.0, 0.0)}))
    assert describe_failures(analysis) == ["No cell failed, became NaN or collapsed, and none is missing."]


@pytest.mark.parametrize(("vary", "noun"), [({}, "loss"), ({"batch_size": (1, 2)}, "arm")])
def test_arms_are_called_losses_where_nothing_else_differs(vary, noun):
    from mcc_keras.comparison.arms import build_arms

    assert design(arms=build_arms(losses=("mcc", "dice"), vary=vary)).noun == noun
