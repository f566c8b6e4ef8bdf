import numpy as np
import pytest
import scipy.stats

from mcc_keras.comparison.resampling import nested_interval, other_winner_share


def test_where_folds_are_single_patients_the_interval_is_that_of_scipy_over_folds():
    values = np.random.default_rng(0).normal(0.02, 0.05, 30)
    theirs = scipy.stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, random_state=0)
    found = nested_interval([np.array([[value]]) for value in values], resamples=20_000)
    assert found == pytest.approx(tuple(theirs.confidence_interval), abs=1e-3)


def test_where_folds_are_equal_what_is_left_is_the_spread_of_patients_in_them():
    values = np.random.default_rng(0).normal(0.02, 0.05, 40)
    low, high = nested_interval([values[None]] * 4, resamples=20_000)
    assert (high - low) / (2 * 1.96) == pytest.approx(values.std() / np.sqrt(4 * 40), rel=0.05)


def test_seeds_that_disagree_widen_the_interval():
    values = np.random.default_rng(0).normal(0.02, 0.01, (3, 1, 20))
    agree, apart = values.repeat(2, axis=1), values + np.array([-0.2, 0.2])[:, None]

    def width(folds):
        low, high = nested_interval(folds)
        return high - low

    assert width(apart) > 3 * width(agree)


def test_blanks_are_in_no_mean_and_one_fold_has_no_interval():
    folds = [np.array([[0.1, np.nan]]), np.array([[0.1, 0.1]])]
    assert nested_interval(folds, resamples=50)[1] == pytest.approx(0.1)
    assert nested_interval(folds[:1]) == (None, None)


def test_a_winner_everywhere_wins_in_every_part_and_a_coin_names_another_half_of_the_time():
    sure = np.array([[0.9] * 20, [0.8] * 20])
    assert other_winner_share(sure) == 0.0
    even = np.random.default_rng(0).normal(0.8, 0.1, (2, 1000))
    assert other_winner_share(even, share=0.002) == pytest.approx(0.5, abs=0.05)


def test_a_patient_without_a_score_is_in_no_part():
    assert other_winner_share([[0.9, np.nan, 0.9], [0.1, 1.0, 0.1]]) == 0.0
