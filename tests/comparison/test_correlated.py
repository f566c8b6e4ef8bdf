import numpy as np
import pytest
import scipy.stats
from scipy.stats import nct

from mcc_keras.comparison.correlated import corrected_t, correlated_posterior, smallest_difference


@pytest.fixture
def differences():
    return np.random.default_rng(0).normal(0.01, 0.02, (6, 10))


def test_without_shared_patients_it_is_the_t_test_of_scipy(differences):
    t, p = corrected_t(differences, ratio=0)
    expected = scipy.stats.ttest_1samp(differences, 0, axis=-1)
    np.testing.assert_allclose(t, expected.statistic, rtol=1e-12)
    np.testing.assert_allclose(p, expected.pvalue, rtol=1e-9)


def test_shared_patients_widen_the_error_as_nadeau_and_bengio_say(differences):
    t, _ = corrected_t(differences, ratio=0.25)
    plain, _ = corrected_t(differences, ratio=0)
    np.testing.assert_allclose(t, plain * np.sqrt((1 / 10) / (1 / 10 + 0.25)), rtol=1e-12)


def test_the_posterior_is_that_of_baycomp(differences):
    baycomp = pytest.importorskip("baycomp", reason="compares with baycomp 1.0.3: pip install baycomp")
    for row in differences:
        theirs = baycomp.CorrelatedTTest(np.zeros(10), row, rope=0.01).probs()  # its ρ is 1 / 10, ρ / (1 − ρ) = 1 / 9
        np.testing.assert_allclose(correlated_posterior(row, ratio=1 / 9, rope=0.01), theirs, atol=1e-12)


def test_the_posterior_without_a_rope_is_the_one_sided_test(differences):
    _, p = corrected_t(differences, ratio=0.25)
    below, within, above = correlated_posterior(differences, ratio=0.25, rope=0.0).T
    np.testing.assert_allclose(np.minimum(below, above), p / 2, rtol=1e-9)
    np.testing.assert_allclose(within, 0, atol=1e-12)


def test_folds_that_all_differ_by_the_same_leave_no_doubt():
    t, p = corrected_t(np.array([[0.02] * 3, [0.0] * 3]), ratio=0.25)
    assert (t.tolist(), p.tolist()) == ([np.inf, 0.0], [0.0, 1.0])
    assert correlated_posterior(np.array([0.02] * 3), ratio=0.25).tolist() == [0, 0, 1]
    assert correlated_posterior(np.array([0.005] * 3), ratio=0.25).tolist() == [0, 1, 0]


@pytest.mark.parametrize("folds", [3, 5, 10])
def test_the_smallest_difference_is_found_with_the_power_of_the_noncentral_t_of_scipy(folds):
    effect = smallest_difference(1.0, folds=folds, ratio=0, power=0.8) * folds**0.5
    critical = scipy.stats.t.ppf(0.975, folds - 1)
    power = nct.sf(critical, folds - 1, effect) + nct.cdf(-critical, folds - 1, effect)
    assert power == pytest.approx(0.8, abs=1e-5)


def test_more_folds_find_smaller_differences_and_more_rivals_larger_ones():
    def smallest(folds, tests=1):
        return smallest_difference(0.01, folds=folds, ratio=0.25, tests=tests)

    assert smallest(10) < smallest(5) < smallest(5, tests=3) < smallest(2)
