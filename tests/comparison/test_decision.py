"""The rule by which a loss is said to differ from another, on scores whose truth is known."""

import numpy as np
import pytest

from mcc_keras.comparison.correlated import corrected_t
from mcc_keras.comparison.decision import LEVEL, holm, judge_rivals

SETS = 2000
PATIENT, NOISE = 0.08, 0.03  # standard deviations of a patient, and of a network on a patient
FOLD, SEED = 0.02, 0.01  # of a loss on a fold, and of a seed


def ratio_of(folds):
    """Test by training patients where a fifth of the others validate."""
    return (1 / folds) / (0.8 * (1 - 1 / folds))


def simulate(*, folds, seeds, shared, effect=0.0, fold=FOLD, seed=SEED, arms=3):
    """Return cells (sets, arms, folds, seeds), means of eight patients a fold, all rivals better by `effect`.

    `shared` is the share of the variance of a loss on a fold that all folds have in common, since most of their
    training patients are the same; it belongs to this data set and not to the loss.
    """
    rng, size = np.random.default_rng(0), (SETS, arms, folds, seeds, 8)
    scores = 0.8 + rng.normal(0, PATIENT, (SETS, 1, folds, 1, 8)) + rng.normal(0, NOISE, (SETS, arms, folds, 1, 8))
    scores = scores + rng.normal(0, fold * shared**0.5, (SETS, arms, 1, 1, 1))
    scores = scores + rng.normal(0, fold * (1 - shared) ** 0.5, (SETS, arms, folds, 1, 1))
    scores = np.broadcast_to(scores + rng.normal(0, seed, (*size[:-1], 1)), size).copy()
    scores[:, 1:] += effect
    return scores.mean(axis=-1)


def share_of_claims(cells, folds):
    return float((judge_rivals(cells, ratio=ratio_of(folds)) < LEVEL).any(axis=-1).mean())


@pytest.mark.parametrize(("folds", "seeds"), [(2, 5), (3, 2), (5, 1), (5, 2), (10, 1)])
@pytest.mark.parametrize("shares", [False, True], ids=["nothing shared", "training patients shared"])
def test_at_most_six_per_cent_of_2000_data_sets_without_a_difference_end_in_a_claim(folds, seeds, shares):
    ratio = ratio_of(folds)
    shared = ratio / (1 + ratio) if shares else 0.0  # what Nadeau and Bengio correct for
    assert share_of_claims(simulate(folds=folds, seeds=seeds, shared=shared), folds) <= 0.06


def test_where_only_the_fold_or_only_the_seed_matters_no_more_is_claimed():
    for fold, seed in ((0.03, 0.001), (0.0, 0.03)):
        assert share_of_claims(simulate(folds=5, seeds=2, shared=0.2, fold=fold, seed=seed), 5) <= 0.06


def test_seeds_as_units_of_their_own_or_no_correction_would_claim_too_much():
    cells = simulate(folds=5, seeds=2, shared=0.2, fold=0.03, seed=0.001)
    units = cells.reshape(SETS, 3, -1)
    seeds = holm(corrected_t(units[:, 1:] - units[:, :1], ratio=ratio_of(5))[1])
    means = cells.mean(axis=-1)
    plain = holm(corrected_t(means[:, 1:] - means[:, :1], ratio=0)[1])
    assert min((seeds < LEVEL).any(axis=-1).mean(), (plain < LEVEL).any(axis=-1).mean()) > 0.1


def test_the_power_on_5_folds_and_2_seeds_is_about_a_quarter_for_0_05_and_nearly_full_for_0_15():
    def power(effect):
        cells = simulate(folds=5, seeds=2, shared=0.2, effect=effect)
        return float((judge_rivals(cells, ratio=ratio_of(5))[:, 0] < LEVEL).mean())

    assert [power(effect) for effect in (0.02, 0.05, 0.15)] == pytest.approx([0.05, 0.3, 0.98], abs=0.05)


def test_holm_is_that_of_r():
    # p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")
    np.testing.assert_allclose(holm([0.01, 0.02, 0.03, 0.04, 0.05]), [0.05, 0.08, 0.09, 0.09, 0.09])
    np.testing.assert_allclose(holm([[0.5, 0.001], [0.9, 0.8]]), [[0.5, 0.002], [1.0, 1.0]])
