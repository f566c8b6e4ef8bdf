"""Every change of intensities goes through every promise; a new one is one more name."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from mcc_keras import augmentation
from mcc_keras.augmentation.changes import INTENSITIES
from mcc_keras.augmentation.kernel import _INTENSITIES
from mcc_keras.augmentation.policy import LIMITS

STRENGTH = {"motion_mm": 3.0, "spike": 1.0, "low_resolution": 2.0, "blur": 1.5, "channel_dropout": 0.7}


def change_of(name):
    more = {"spacing_mm": tf.constant([1.0, 1.5, 2.0])} if name == "motion_mm" else {}
    return functools.partial(_INTENSITIES[name], **more)


def volume(shape=(9, 8, 7), channels=2):
    return tf.constant(np.random.default_rng(0).normal(0, 1, (*shape, channels)).astype(np.float32))


def strength(name):
    return min(STRENGTH.get(name, 0.4), LIMITS.get(name, np.inf))


@pytest.mark.parametrize("name", INTENSITIES)
def test_the_same_seed_draws_the_same_and_others_something_else(name):
    change, image = change_of(name), volume()
    first, again = (change((1, 2), image, strength(name)) for _ in range(2))
    assert first.shape == image.shape
    assert first.dtype == tf.float32
    assert np.array_equal(first, again)
    others = {change((1, seed), image, strength(name)).numpy().tobytes() for seed in range(8)}
    assert len(others) > 1


@pytest.mark.parametrize("name", INTENSITIES)
def test_little_strength_changes_little_and_much_changes_more(name):
    image, change = volume(), change_of(name)
    assert np.allclose(change((1, 2), image, 1e-4), image, atol=0.01)
    assert max(np.abs(change((1, seed), image, strength(name)) - image).max() for seed in range(16)) > 0.1


@pytest.mark.parametrize("name", INTENSITIES)
def test_a_constant_image_stays_finite(name):
    found = change_of(name)((1, 2), tf.fill((6, 5, 4, 1), 3.0), strength(name))
    assert np.isfinite(found).all()


def controls(shape, seed=1):
    return np.random.default_rng(seed).uniform(0.1, 0.4, shape).astype(np.float32)


GIVEN = {
    "motion": lambda image: augmentation.motion(image, controls((9, 3)), axis=0),
    "bias_field": lambda image: augmentation.bias_field(image, controls((5, 5, 5, 2))),
    "ghosting": lambda image: augmentation.ghosting(image, 0.4, count=3, axis=1),
    "spike": lambda image: augmentation.spike(image, 0.5, frequency=(1, -2, 3), phase=0.3),
    "blur": lambda image: augmentation.blur(image, 0.8, most=1.0),
    "low_resolution": lambda image: augmentation.low_resolution(image, 1.7),
    "noise": lambda image: augmentation.noise(image, controls((9, 8, 7, 2))),
    "rician_noise": lambda image: augmentation.rician_noise(image, controls((9, 8, 7, 2)), controls((9, 8, 7, 2), 2)),
    "brightness": lambda image: augmentation.brightness(image, 0.3),
    "contrast": lambda image: augmentation.contrast(image, 1.2),
    "histogram_shift": lambda image: augmentation.histogram_shift(image, np.sort(controls((6, 2)), axis=0)),
    "gamma": lambda image: augmentation.gamma(image, 1.3),
    "inverted_gamma": lambda image: augmentation.gamma(image, 1.3, inverted=True),
    "channel_dropout": lambda image: augmentation.channel_dropout(image, (True, False)),
}


@pytest.mark.parametrize("name", GIVEN)
def test_the_compiled_form_computes_the_same(name):
    image = volume()
    eager = GIVEN[name](image)
    assert np.abs(eager - image).max() > 0.1
    assert np.allclose(tf.function(GIVEN[name], jit_compile=True)(image), eager, atol=1e-4)
