import numpy as np
import pytest
import tensorflow as tf

from mcc_keras.errors import UsageError
from mcc_keras.pipeline.order import class_groups, count_earlier, named_groups, order_cases


def order(seed, epoch, **settings):
    arguments = {"num_cases": 7, "length": 7, "shuffle": True} | settings
    return [part.numpy().tolist() for part in order_cases(seed, tf.constant(epoch, tf.int64), **arguments)]


def test_short_epochs_walk_over_permutations_so_that_no_case_comes_again_before_all_others():
    walked = [case for epoch in range(7) for case in order(3, epoch, length=3)[0]]
    assert [sorted(walked[start : start + 7]) for start in (0, 7, 14)] == [list(range(7))] * 3


def test_long_epochs_do_so_too_and_count_the_visits():
    cases, visits = order(3, 4, length=17)
    assert np.bincount(cases).max() - np.bincount(cases).min() <= 2
    assert visits == [cases[:place].count(case) for place, case in enumerate(cases)]


def test_another_epoch_or_seed_is_another_order_and_the_same_is_the_same():
    assert order(1, 1) == order(1, 1)
    assert order(1, 1)[0] != order(1, 2)[0] != order(2, 2)[0]


def test_earlier_visits_are_counted_as_python_counts_them():
    cases = np.random.default_rng(0).integers(0, 5, 50).tolist()
    expected = [cases[:place].count(case) for place, case in enumerate(cases)]
    assert count_earlier(tf.constant(cases, tf.int64)).numpy().tolist() == expected


def test_groups_come_equally_often_and_so_do_the_cases_in_each():
    groups = [np.array([0]), np.array([1, 2, 3, 4]), np.array([5, 6])]
    cases, visits = order(0, 5, length=6000, groups=groups)
    shares = np.bincount(cases, minlength=7) / 6000
    assert shares == pytest.approx([1 / 3, *[1 / 12] * 4, *[1 / 6] * 2], abs=0.02)  # 3 standard errors: 0.018
    assert max(visits) == max(cases.count(case) for case in range(7)) - 1
    assert order(0, 6, length=6000, groups=groups)[0] != cases


def test_a_case_of_several_classes_is_in_the_group_of_each_and_an_absent_class_has_none():
    present = [[True, False, True], [False, False, True], [False, False, False]]
    assert [group.tolist() for group in class_groups(present)] == [[0], [0, 1], [2]]


def test_a_balance_that_is_no_mapping_or_lacks_cases_is_refused():
    with pytest.raises(UsageError, match="balance='site'"):
        named_groups("site", ["a"])
    with pytest.raises(UsageError, match=r"balance without 1 of them \(b\)"):
        named_groups({"a": 1}, ["a", "b"])
