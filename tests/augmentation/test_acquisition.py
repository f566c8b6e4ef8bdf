import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from mcc_keras import augmentation


def volume(shape=(12, 10, 8), channels=1, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (*shape, channels)).astype(np.float32)


def test_noise_has_at_most_the_given_deviation():
    image = tf.constant(5 * volume((20, 20, 20)))
    added = [augmentation.random_noise((1, i), image, 0.2) - image for i in range(10)]
    deviations = [float(tf.math.reduce_std(values)) / 5 for values in added]
    assert 0.1 < max(deviations) < 0.21
    assert min(deviations) < 0.1


def test_rician_noise_is_the_magnitude_of_a_complex_signal():
    image, real, imaginary = (volume(seed=seed) for seed in range(3))
    found = augmentation.rician_noise(tf.constant(image), real, imaginary)
    expected = image.min() + np.abs(image - image.min() + real + 1j * imaginary)
    assert np.allclose(found, expected, atol=1e-5)


def test_the_mean_square_grows_by_twice_the_variance():
    image = np.zeros((24, 24, 24, 1), np.float32)
    image[::2] = 4  # a standard deviation of 2
    image[1, 0, 0] = -1e-3
    found = augmentation.random_rician_noise((3, 4), tf.constant(image), 0.5).numpy()
    variance = np.var((found - image)[image == 4])
    for level in (0, 4):
        here = image == level
        assert np.mean(found[here] ** 2) == pytest.approx(level**2 + 2 * variance, rel=0.03)


@pytest.mark.parametrize("deviation", [0.3, 0.7, 1.0])
def test_blur_is_scipys(deviation):
    image = volume((12, 9, 1))
    found = augmentation.blur(tf.constant(image), deviation, most=1.0)
    expected = ndimage.gaussian_filter(image[..., 0], deviation, mode="nearest", radius=4)
    assert np.allclose(found[..., 0], expected, atol=1e-5)


def test_no_blur_is_the_identity_bit_for_bit():
    image = volume()
    assert np.array_equal(augmentation.blur(tf.constant(image), 0.0, most=1.0), image)
    assert np.array_equal(augmentation.low_resolution(tf.constant(image), 1.0), image)


@pytest.mark.parametrize("factor", [2.0, 3.0, 1.7, 5.3])
def test_thick_slices_are_means_that_are_read_linearly(factor):
    image = volume((4, 3, 12))
    found = augmentation.low_resolution(tf.constant(image), factor, axes=(2,)).numpy()
    edges = np.minimum(np.arange(np.ceil(12 / factor) + 1) * factor, 12)
    for line, result in zip(image.reshape(-1, 12), found.reshape(-1, 12), strict=True):
        total = np.interp(edges, np.arange(13), np.concatenate([[0], np.cumsum(line)]))
        means = np.diff(total) / np.diff(edges)
        centers = (np.arange(len(means)) + 0.5) * factor - 0.5
        assert np.allclose(result, np.interp(np.arange(12), centers, means), atol=1e-5)


@pytest.mark.parametrize(("axis", "count"), [(0, 2), (1, 3), (2, 5)])
def test_ghosts_are_weaker_lines_of_k_space(axis, count):
    image = volume((12, 9, 11), channels=2)
    found = augmentation.ghosting(tf.constant(image), 0.6, count=count, axis=axis)
    n = image.shape[axis]
    line = np.abs(np.round(np.fft.fftfreq(n) * n)).astype(int)
    weight = np.where((line % count == 0) & (line > 0), 0.4, 1.0)
    spectrum = np.fft.fft(image, axis=axis) * np.expand_dims(weight, [a for a in range(4) if a != axis])
    assert np.allclose(found, np.fft.ifft(spectrum, axis=axis).real, atol=1e-5)
    assert np.allclose(np.mean(found, (0, 1, 2)), image.mean((0, 1, 2)), atol=1e-5)


def test_a_spike_is_one_point_of_k_space_and_its_mirror():
    image = volume((8, 9, 10))
    found = augmentation.spike(tf.constant(image), 0.7, frequency=(2, -1, 3), phase=0.4)
    spectrum = np.fft.fftn(image[..., 0])
    spectrum[2, -1, 3] += 0.35 * np.exp(0.4j) * spectrum.size
    spectrum[-2, 1, -3] += 0.35 * np.exp(-0.4j) * spectrum.size
    assert np.allclose(found[..., 0], np.fft.ifftn(spectrum).real, atol=1e-4)


def test_a_patient_who_lies_elsewhere_is_elsewhere():
    image = volume((6, 7, 8), channels=2)
    shifts = np.tile(np.array([1, -2, 3], np.float32), (7, 1))
    found = augmentation.motion(tf.constant(image), shifts, axis=1)
    assert np.allclose(found, np.roll(image, (1, -2, 3), (0, 1, 2)), atol=1e-4)


def test_motion_puts_lines_of_k_space_of_several_places_together():
    image, shifts = volume((6, 5, 8)), np.random.default_rng(2).uniform(-2, 2, (5, 3)).astype(np.float32)
    found = augmentation.motion(tf.constant(image), shifts, axis=1)
    low, waves = image.min(), np.meshgrid(*map(np.fft.fftfreq, (6, 5, 8)), indexing="ij")
    spectrum = np.fft.fftn(image[..., 0] - low)
    for line in range(5):
        turn = sum(wave * shift for wave, shift in zip(waves, shifts[line], strict=True))
        spectrum[:, line] *= np.exp(-2j * np.pi * turn[:, line])
    assert np.allclose(found[..., 0], low + np.abs(np.fft.ifftn(spectrum)), atol=1e-4)


def test_motion_leaves_the_middle_of_the_patient_where_it_was():
    image = np.zeros((24, 24, 24, 1), np.float32)
    image[9:15, 8:17, 10:14] = 1
    for seed in range(8):
        found = augmentation.random_motion((1, seed), tf.constant(image), 4.0, spacing_mm=tf.ones(3)).numpy()
        assert np.allclose(ndimage.center_of_mass(found[..., 0] > 0.5), (11.5, 12, 11.5), atol=1.5)
