import numpy as np
import pytest
import scipy.stats

from mcc_keras.evaluation.statistics import agree, summarize


def test_a_confidence_interval_equals_that_of_scipy_where_each_patient_has_one_case():
    values = np.random.default_rng(0).normal(0.8, 0.1, 40)
    spread = summarize(values, range(40))
    theirs = scipy.stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, random_state=0)
    assert (spread.low, spread.high) == pytest.approx(theirs.confidence_interval, abs=2e-3)


def test_scans_of_one_patient_do_not_narrow_the_interval():
    values = np.random.default_rng(0).normal(0.8, 0.1, 20)
    once, often = summarize(values, range(20)), summarize(np.repeat(values, 10), np.repeat(range(20), 10))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    assert (once.n, often.n) == (20, 200)


def test_blanks_are_in_no_number_and_one_patient_has_no_interval():
    spread = summarize([0.5, None, 0.9], ["a", "b", "a"])
    assert (spread.n, spread.mean, spread.median, spread.low) == (2, pytest.approx(0.7), pytest.approx(0.7), None)
    assert summarize([None], ["a"]).mean is None


def test_limits_of_agreement_are_those_of_bland_and_altman():
    rng = np.random.default_rng(1)
    true = rng.uniform(10, 50, 30)
    predicted = true + rng.normal(1, 2, 30)
    found, difference = agree(true, predicted), predicted - true
    assert found.bias_ml == pytest.approx(difference.mean())
    assert found.high_ml - found.low_ml == pytest.approx(2 * 1.96 * difference.std(ddof=1))
    assert agree([], []) is None
