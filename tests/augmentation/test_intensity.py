import numpy as np
import pytest
import tensorflow as tf

from mcc_keras import augmentation
from mcc_keras.preprocessing.intensity import background_of


def volume(shape=(12, 10, 8), channels=1, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (*shape, channels)).astype(np.float32)


def test_gamma_contrast_and_brightness_by_hand():
    image = tf.constant([0.0, 0.25, 1.0, 0.0])[:, None, None, None]
    changed = augmentation.brightness(augmentation.gamma(image, 2.0), 0.5)
    assert changed.numpy().ravel() == pytest.approx([0.5, 0.5625, 1.5, 0.5], abs=1e-5)
    inverted = augmentation.gamma(image, 2.0, inverted=True)
    assert inverted.numpy().ravel() == pytest.approx([0.0, 1 - 0.75**2, 1.0, 0.0], abs=1e-5)
    changed = augmentation.contrast(image, 2.0).numpy().ravel()
    assert changed == pytest.approx(2 * (image.numpy().ravel() - 0.3125) + 0.3125, abs=1e-5)


def test_bias_field_multiplies_above_the_darkest_voxel():
    image = volume()
    found = augmentation.bias_field(tf.constant(image), tf.fill((5, 5, 5, 1), np.float32(np.log(2))))
    assert np.allclose(found, image.min() + 2 * (image - image.min()), rtol=1e-4, atol=1e-4)


def test_a_shifted_histogram_is_numpys_broken_line():
    image = volume(channels=2)
    knots = np.array([[0, 0.3, 0.4, 1], [0, 0.2, 0.9, 1]], np.float32).T
    found = augmentation.histogram_shift(tf.constant(image), tf.constant(knots)).numpy()
    for channel in range(2):
        values = image[..., channel]
        low, span = values.min(), np.ptp(values)
        expected = low + span * np.interp((values - low) / span, np.linspace(0, 1, 4), knots[:, channel])
        assert np.allclose(found[..., channel], expected, atol=1e-5)


def test_a_shifted_histogram_keeps_the_order_of_intensities():
    image = np.sort(volume().ravel()).reshape(12, 10, 8, 1)
    found = augmentation.random_histogram_shift((1, 2), tf.constant(image), 0.5).numpy().ravel()
    assert (np.diff(found) > -1e-5).all()
    assert not np.allclose(found, image.ravel(), atol=0.01)


def test_dropped_channels_become_background():
    image = volume(channels=3)
    found = augmentation.channel_dropout(tf.constant(image), [True, False, True]).numpy()
    assert np.array_equal(found[..., [0, 2]], image[..., [0, 2]])
    assert (found[..., 1] == np.sort(image[[0, -1]][:, [0, -1]][:, :, [0, -1]].reshape(8, 3), axis=0)[3, 1]).all()


def test_never_are_all_channels_dropped():
    image = tf.constant(volume((4, 4, 4), channels=3))
    for seed in range(10):
        changed = augmentation.random_channel_dropout((1, seed), image, 1.0) != image
        assert sum(changed.numpy().any((0, 1, 2))) == 2
    alone = image[..., :1]
    assert np.array_equal(augmentation.random_channel_dropout((1, 2), alone, 1.0), alone)


def test_background_is_what_preprocessing_takes_for_it():
    image = volume(channels=2)
    assert np.array_equal(augmentation.intensity.background_of(tf.constant(image)), background_of(image))


def test_brightness_is_counted_in_deviations_of_the_channel():
    image = volume((16, 16, 16), channels=2) * np.array([1, 50], np.float32)
    shifts = [(augmentation.random_brightness((1, s), tf.constant(image), 0.5) - image)[0, 0, 0] for s in range(20)]
    most = np.abs(shifts).max(axis=0) / image.std((0, 1, 2))
    assert (most < 0.501).all()
    assert (most > 0.3).all()
