"""The order of the cases in an epoch: a pure function of seed and epoch, so that a rerun and a resume agree.

Contract: case numbers int64; seed an integer; epoch an int64 scalar tensor; everything runs inside a TensorFlow graph.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from mcc_keras.errors import UsageError

_BALANCE = -1  # folded into the seed of balanced draws; the draws of a case fold in its number, which is never negative


def order_cases(seed, epoch, *, num_cases, length, shuffle, groups=None):
    """Return the case at each position of an epoch, and how often it occurred in that epoch before.

    With groups: a group, then one of its cases, each with equal probability. Else with shuffle: the epochs walk over an
    endless row of permutations, so that no case comes again before all others came, whatever the length of an epoch.
    Else the first cases, in their order.

    Args:
        seed: Integer.
        epoch: Number of the epoch.
        num_cases: Number of cases.
        length: Cases per epoch.
        shuffle: Another order in every epoch.
        groups: Sequences of case numbers; a case may be in several.

    Returns:
        cases and visits: int64 (length,).

    Example:

    >>> cases, visits = order_cases(0, 1, num_cases=2, length=5, shuffle=False)
    >>> cases.numpy().tolist(), visits.numpy().tolist()
    ([0, 1, 0, 1, 0], [0, 0, 1, 1, 2])
    """
    if groups is not None:
        cases = _balanced(seed, epoch, length, groups)
    elif shuffle:
        cases = _walk(seed, epoch, length, num_cases)
    else:
        cases = tf.range(length, dtype=tf.int64) % num_cases
    return cases, count_earlier(cases)


def count_earlier(cases):
    """Return for each entry of an int64 vector the number of equal entries before it.

    Example:

    >>> count_earlier(tf.constant([7, 3, 7, 7], tf.int64)).numpy().tolist()
    [0, 0, 1, 2]
    """
    places = tf.argsort(cases, stable=True)
    ordered = tf.gather(cases, places)
    earlier = tf.range(tf.size(cases)) - tf.searchsorted(ordered, ordered)
    return tf.cast(tf.scatter_nd(places[:, None], earlier, tf.shape(cases)), tf.int64)


def class_groups(present):
    """Return the cases of each class that occurs, and last, if there are any, the cases without foreground.

    Args:
        present: Boolean (cases, classes): whether a case has voxels of the class.

    Example:

    >>> [group.tolist() for group in class_groups([[True, False], [True, True], [False, False]])]
    [[0, 1], [1], [2]]
    """
    present = np.asarray(present, bool)
    members = [*(np.flatnonzero(column) for column in present.T), np.flatnonzero(~present.any(axis=1))]
    return [cases for cases in members if cases.size]


def named_groups(balance, case_ids):
    """Return the case numbers of each group of a mapping case id → group, in the order of the groups' first cases.

    Example:

    >>> [group.tolist() for group in named_groups({"a": "site 1", "b": "site 2", "c": "site 1"}, ["a", "b", "c"])]
    [[0, 2], [1]]
    """
    if not isinstance(balance, Mapping):
        raise UsageError(f"`balance` must be None, 'class' or a dict case id → group. Received: balance={balance!r}.")
    missing = [case_id for case_id in case_ids if case_id not in balance]
    if missing:
        shown = ", ".join(missing[:5])
        rule = "`balance` must give a group to each case."
        raise UsageError(f"{rule} Received: balance without {len(missing)} of them ({shown}).")
    members = {}
    for number, case_id in enumerate(case_ids):
        members.setdefault(balance[case_id], []).append(number)
    return [np.array(numbers) for numbers in members.values()]


def _balanced(seed, epoch, length, groups):
    sizes = np.array([len(group) for group in groups])
    starts, members = np.cumsum(sizes) - sizes, np.concatenate(groups)
    key = tf.random.fold_in(tf.stack([tf.cast(seed, tf.int64), epoch]), tf.constant(_BALANCE, tf.int64))
    draws = tf.random.stateless_uniform((2, length), key, dtype=tf.float64, alg="philox")
    group = tf.cast(draws[0] * len(groups), tf.int64)
    place = tf.gather(starts, group) + tf.cast(draws[1] * tf.cast(tf.gather(sizes, group), tf.float64), tf.int64)
    return tf.gather(tf.constant(members, tf.int64), place)


def _walk(seed, epoch, length, num_cases):
    begin = epoch * length
    rounds = begin // num_cases + tf.range(2 + (length - 1) // num_cases, dtype=tf.int64)
    cases = tf.range(num_cases, dtype=tf.int64)
    permutations = tf.map_fn(
        lambda number: tf.random.experimental.stateless_shuffle(cases, tf.stack([tf.cast(seed, tf.int64), number])),
        rounds,
    )
    start = begin % num_cases
    return tf.reshape(permutations, (-1,))[start : start + length]
