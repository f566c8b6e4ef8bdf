import numpy as np
import pytest
import scipy.stats

from mcc_keras.comparison.paired import (
    compare_patients,
    false_claim_of_summary,
    false_claim_probability,
    hodges_lehmann,
    signed_rank,
)

# Hamilton depression scale of nine patients before and after therapy, in Hollander and Wolfe, Nonparametric Statistical
# Methods, 1973, table 3.1. R's `wilcox.test(paired=TRUE, conf.int=TRUE)` prints p = 0.01953 one-sided, shift 0.46.
BEFORE = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
AFTER = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])


@pytest.fixture
def scores():
    """Scores of 30 patients by two networks, the second better by 0.02."""
    rng = np.random.default_rng(0)
    patient = rng.normal(0.8, 0.1, 30)
    return patient + rng.normal(0, 0.03, 30), patient + 0.02 + rng.normal(0, 0.03, 30)


def test_shift_and_signed_rank_are_those_of_a_published_example():
    assert hodges_lehmann(BEFORE - AFTER) == pytest.approx(0.46, abs=1e-9)
    assert signed_rank(BEFORE - AFTER) == pytest.approx(2 * 0.01953, abs=1e-5)


def test_signed_rank_leaves_out_equal_patients_and_finds_nothing_where_all_are_equal():
    assert signed_rank([0.0, 0.0, *(BEFORE - AFTER)]) == signed_rank(BEFORE - AFTER)
    assert signed_rank(np.zeros(5)) == 1.0


def test_a_false_claim_is_the_tail_of_the_paired_t_test_of_scipy(scores):
    reference, rival = scores
    expected = scipy.stats.ttest_rel(rival, reference, alternative="greater").pvalue
    assert false_claim_probability(rival, reference) == pytest.approx(expected, rel=1e-9)
    assert false_claim_probability(reference, rival) == pytest.approx(1 - expected, rel=1e-9)


def test_a_false_claim_follows_from_what_a_paper_reports(scores):
    reference, rival = scores
    found = false_claim_of_summary(
        (rival.mean(), reference.mean()),
        (rival.std(ddof=1), reference.std(ddof=1)),
        n=30,
        correlation=np.corrcoef(rival, reference)[0, 1],
    )
    assert found == pytest.approx(false_claim_probability(rival, reference), rel=1e-9)


def test_a_difference_without_spread_leaves_no_doubt_and_none_at_all_leaves_it_open():
    scores = np.array([0.25, 0.5, 0.75])
    assert false_claim_probability(scores + 0.125, scores) == 0.0
    assert false_claim_probability(scores, scores) == 0.5


def test_the_interval_is_that_of_scipy_over_patients(scores):
    found = compare_patients(*scores)
    theirs = scipy.stats.bootstrap((scores[1] - scores[0],), np.mean, method="percentile", random_state=0)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval), abs=2e-3)
    assert found.mean == pytest.approx((scores[1] - scores[0]).mean())


def test_the_claim_is_always_about_the_one_with_the_better_mean(scores):
    reference, rival = scores
    there, back = compare_patients(reference, rival), compare_patients(rival, reference)
    assert there.false_claim == back.false_claim < 0.5
    assert there.shift == pytest.approx(-back.shift)


def test_a_patient_with_one_score_is_left_out_and_nobody_left_is_no_error():
    found = compare_patients([0.5, None, 0.7], [0.6, 0.9, float("nan")])
    assert (found.n, round(found.mean, 9), found.low, found.false_claim) == (1, 0.1, None, None)
    assert compare_patients([None], [0.5]).mean is None
