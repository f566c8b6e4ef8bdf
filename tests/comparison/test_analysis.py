import pytest
from planted_results import design, plan, planted, result, row

from mcc_keras.comparison.analysis import analyze, deviation_of
from mcc_keras.comparison.correlated import corrected_t
from mcc_keras.comparison.decision import holm

LOSSES = ("mcc", "dice", "cross_entropy")
EFFECTS = {"mcc": (0.0, 0.0, 0.0), "dice": (0.02, 0.03, 0.04), "cross_entropy": (-0.1, 0.1, 0.0)}


@pytest.fixture(scope="module")
def analysis():
    asked = design(LOSSES, folds=3)
    return analyze(plan(asked), planted(asked, EFFECTS, noise=0.015))


def test_the_claim_on_a_loss_takes_folds_as_units_and_corrects_for_the_rivals(analysis):
    dice, cross_entropy = analysis.claims
    assert dice.folds == pytest.approx(EFFECTS["dice"])
    expected = [float(corrected_t(EFFECTS[name], ratio=1 / 3)[1]) for name in LOSSES[1:]]
    assert [dice.p, cross_entropy.p] == pytest.approx(expected)
    assert [dice.p_holm, cross_entropy.p_holm] == pytest.approx(holm(expected).tolist())
    assert dice.low < dice.mean < dice.high
    assert dice.below + dice.within + dice.above == pytest.approx(1)


def test_the_claim_on_networks_pairs_patients_over_their_seeds(analysis):
    dice, _ = analysis.claims
    assert (dice.patients.n, dice.patients.mean) == (12, pytest.approx(0.03))
    assert dice.patients.false_claim < 1e-6


def test_the_noise_is_the_distance_of_two_seeds_of_an_arm(analysis):
    noise = analysis.arm("mcc").noise
    assert noise.pairs == 3
    assert (noise.mean, noise.largest, noise.of_patients) == pytest.approx((0.03, 0.03, 0.03))


def test_one_fold_supports_no_claim_on_a_loss_and_one_seed_has_no_noise():
    asked = design(folds=1, seeds=(0,))
    found = analyze(plan(asked), planted(asked, {"mcc": (0.0,), "dice": (0.1,)}))
    (claim,) = found.claims
    assert (claim.mean, claim.p, claim.findable) == (pytest.approx(0.1), None, None)
    assert claim.patients.mean == pytest.approx(0.1)
    assert found.arm("mcc").noise.pairs == 0


def test_failures_are_counted_and_a_collapse_stays_in_the_mean():
    asked = design(folds=2, seeds=(0,))
    results = planted(asked, {"mcc": (0.0, 0.0), "dice": (0.0, 0.0)})
    results |= [result("dice", 1, 0, *(row(f"p1{n}", 0.0, counted_as="missed") for n in range(4)))]
    results |= [result("dice", 0, 0, state="diverged")]
    found = analyze(plan(asked), results).arm("dice")
    assert (found.finished, found.diverged, found.collapsed, found.missed) == (1, 1, 1, 4)
    assert found.score.mean == 0.0


def test_cells_without_a_result_are_named_and_their_fold_is_in_no_comparison():
    asked = design(folds=2, seeds=(0,))
    results = planted(asked, {"mcc": (0.0, 0.0), "dice": (0.1, 0.1)})
    del results["dice", 1, 0]
    found = analyze(plan(asked), results)
    assert (found.missing, found.folds, found.cells) == (("dice, fold 1, seed 0",), 1, 4)


def test_the_reference_may_be_an_arm_that_is_another():
    asked = design(("mcc", "dice", "gwd"), folds=2, reference="gwd")
    found = analyze(plan(asked), planted(asked, {"mcc": (0.1, 0.1), "dice": (0.0, 0.0)}))
    assert [(claim.name, round(claim.mean, 6)) for claim in found.claims] == [("mcc", 0.1)]


def test_the_deviation_of_differences_is_pooled_over_pairs_of_arms():
    asked = design(folds=3)
    results = planted(asked, {"mcc": (0.0, 0.0, 0.0), "dice": (0.01, 0.02, 0.03)})
    assert deviation_of(plan(asked), results) == pytest.approx(0.01)
    assert deviation_of(plan(asked), {}) is None


def test_other_winners_in_small_parts_are_counted(analysis):
    assert 0 < analysis.other_winner < 1
