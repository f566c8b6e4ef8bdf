"""Intensity transforms that simulate scanner settings and windows: one value in, one value out."""

import tensorflow as tf

from mcc_keras.augmentation.draws import normal, uniform
from mcc_keras.augmentation.linear import smooth_field
from mcc_keras.preprocessing.graph import background_of

CONTROL_POINTS = 5  # of a bias field, along each axis
KNOTS = 10  # of a shifted histogram
SPACE = (0, 1, 2)


def gamma(image, exponent, *, inverted=False):
    """Return low + range · ((image - low) / range)^γ, or the same of the negative; one γ, or one per channel."""
    low, high = range_of(image)
    span = tf.maximum(high - low, 1e-6)
    share = (high - image if inverted else image - low) / span
    changed = span * tf.pow(tf.clip_by_value(share, 1e-6, 1.0), exponent)
    return high - changed if inverted else low + changed


def random_gamma(seed, image, most, *, inverted=False):
    """Draw the logarithm of γ from ± `most`, for every channel."""
    return gamma(image, tf.exp(uniform(seed, image.shape[-1:], -most, most)), inverted=inverted)


def contrast(image, factor):
    """Return the image multiplied about its mean; one factor, or one per channel."""
    mean = tf.reduce_mean(image, axis=SPACE)
    return (image - mean) * factor + mean


def random_contrast(seed, image, most):
    """Draw the factor from 1 ± `most`, for every channel."""
    return contrast(image, uniform(seed, image.shape[-1:], 1 - most, 1 + most))


def brightness(image, shift):
    """Return the image plus a number, or one per channel."""
    return image + shift


def random_brightness(seed, image, most):
    """Draw the shift from ± `most` standard deviations, for every channel."""
    return brightness(image, uniform(seed, image.shape[-1:], -most, most) * deviation_of(image))


def bias_field(image, controls):
    """Return image times exp of a smooth field: controls (n, n, n, channels); the darkest voxel stays as it is."""
    low, _ = range_of(image)
    return low + (image - low) * tf.exp(smooth_field(controls, image.shape[:3]))


def random_bias_field(seed, image, most):
    """Draw normal control values of standard deviation `most`, one field per channel."""
    return bias_field(image, normal(seed, (CONTROL_POINTS,) * 3 + image.shape[-1:]) * most)


def histogram_shift(image, knots):
    """Map intensities by a piecewise linear function: `knots` (n, channels) are the values, in [0, 1], at n even steps.

    References:
        Nyul and Udupa, "On standardizing the MR image intensity scale", Magn. Reson. Med. 42, 1999, inverted.
    """
    low, high = range_of(image)
    pieces = knots.shape[0] - 1
    place = (image - low) / tf.maximum(high - low, 1e-6) * pieces
    share = knots[0] + sum((knots[k + 1] - knots[k]) * tf.clip_by_value(place - k, 0.0, 1.0) for k in range(pieces))
    return low + (high - low) * share


def random_histogram_shift(seed, image, most):
    """Move the inner knots by ± `most` steps; up to half a step the line never falls."""
    channels = image.shape[-1]
    inner = uniform(seed, (KNOTS - 2, channels), -most, most) / (KNOTS - 1)
    steps = tf.broadcast_to(tf.linspace(0.0, 1.0, KNOTS)[:, None], (KNOTS, channels))
    return histogram_shift(image, steps + tf.pad(inner, ((1, 1), (0, 0))))


def channel_dropout(image, kept):
    """Return the image with the background's value everywhere in the channels that are not `kept` (channels,)."""
    return tf.where(kept, image, background_of(image))


def random_channel_dropout(seed, image, most):
    """Drop each channel with probability `most`, but never all of them."""
    draws = uniform(seed, image.shape[-1:])
    return channel_dropout(image, (draws >= most) | (draws == tf.reduce_max(draws)))


def range_of(image):
    """Return the smallest and the largest value per channel."""
    return tf.reduce_min(image, axis=SPACE), tf.reduce_max(image, axis=SPACE)


def deviation_of(image):
    """Return the standard deviation per channel."""
    return tf.math.reduce_std(image, axis=SPACE)
