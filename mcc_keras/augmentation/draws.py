"""Stateless random numbers, and changes that happen with a probability or along an axis drawn at random."""

import tensorflow as tf


def uniform(seed, shape, low=0.0, high=1.0):
    """Return uniform draws; under XLA, Philox is many times faster than TensorFlow's default."""
    return low + (high - low) * tf.random.stateless_uniform(shape, seed, alg="philox")


def normal(seed, shape):
    """Return standard normal draws."""
    return tf.random.stateless_normal(shape, seed, alg="philox")


def split(seed, count):
    """Return a list of independent seeds."""
    return tf.unstack(tf.random.split(seed, count))


def perhaps(seed, probability, change, value):
    """Return `change(value)` with a probability, else value; only the chosen branch is computed."""
    if probability >= 1:
        return change(value)
    return tf.cond(uniform(seed, ()) < probability, lambda: change(value), lambda: value)


def along_any_axis(seed, change):
    """Return `change(axis)` for one of the three axes; only that branch is computed."""
    axis = tf.random.stateless_uniform((), seed, 0, 3, tf.int32, alg="philox")
    return tf.switch_case(axis, [lambda axis=axis: change(axis) for axis in range(3)])
