import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from mcc_keras import augmentation


def volume(shape=(12, 10, 8), channels=1, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (*shape, channels)).astype(np.float32)


def keys(t):
    """Keys' kernel with a = -1/2, from the definition in his paper."""
    t = np.abs(t)
    near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t < 1, near, np.where(t < 2, far, 0))


def points_around(seed=1):
    return np.random.default_rng(seed).uniform(-2, 14, (3, 5, 6, 7)).astype(np.float32)


def test_linear_sampling_is_scipys():
    image, rng = volume(), np.random.default_rng(1)
    points = rng.uniform(-2, 14, (3, 5, 6, 7)).astype(np.float32)
    found = augmentation.resample(tf.constant(image), tf.constant(points))[..., 0]
    expected = ndimage.map_coordinates(image[..., 0], points, order=1, mode="nearest")
    assert np.allclose(found, expected, atol=1e-5)


def test_nearest_sampling_is_scipys():
    mask, rng = volume().astype(np.int32), np.random.default_rng(1)
    points = rng.uniform(-2, 14, (3, 5, 6, 7)).astype(np.float32)
    found = augmentation.resample_nearest(tf.constant(mask), tf.constant(points))[..., 0]
    expected = ndimage.map_coordinates(mask[..., 0], points, order=0, mode="nearest")
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("shape", [(12, 10, 8), (1, 5, 1)])
def test_identity_points_return_the_volume_bit_for_bit(shape):
    image, points = volume(shape, channels=2), augmentation.identity_points(shape)
    assert np.array_equal(augmentation.resample(tf.constant(image), points), image)
    assert np.array_equal(augmentation.resample_nearest(tf.constant(image), points), image)


def test_cubic_sampling_is_keys_kernel():
    image, points = volume(), np.clip(points_around(), 0, np.array([11, 9, 7], np.float32)[:, None, None, None])
    padded = np.pad(image[..., 0], 2, mode="edge")
    weights = [keys(points[axis, ..., None] - np.arange(-2, n + 2)) for axis, n in enumerate(image.shape[:3])]
    expected = np.einsum("xyzi,xyzj,xyzk,ijk->xyz", *weights, padded)
    found = augmentation.resample(tf.constant(image), tf.constant(points), interpolation="cubic")
    assert np.allclose(found[..., 0], expected, atol=1e-4)


def test_every_label_is_read_linearly_and_the_largest_share_wins():
    mask = np.random.default_rng(3).integers(0, 5, (12, 10, 8, 1)).astype(np.uint8)
    points = points_around()
    shares = [ndimage.map_coordinates(1.0 * (mask[..., 0] == k), points, order=1, mode="nearest") for k in range(5)]
    first, second = np.sort(shares, axis=0)[:-3:-1]
    found = augmentation.resample_labels(tf.constant(mask), tf.constant(points))[..., 0].numpy()
    sure = first - second > 1e-4
    assert sure.mean() > 0.9
    assert np.array_equal(found[sure], np.argmax(shares, axis=0)[sure])
    assert found.dtype == np.uint8


@pytest.mark.parametrize("padding", [-3.0, 0])
def test_what_lies_outside_is_what_was_chosen(padding):
    image, points = volume(channels=2), points_around()
    outside = ((points < -0.5) | (points > np.array([11.5, 9.5, 7.5])[:, None, None, None])).any(0)
    found = augmentation.resample(tf.constant(image), points, padding=padding).numpy()
    assert (found[outside] == padding).all()
    edge = augmentation.resample(tf.constant(image), points).numpy()
    assert np.array_equal(found[~outside], edge[~outside])
    mask = tf.ones((12, 10, 8, 1), tf.uint8)
    for read in (augmentation.resample_nearest, augmentation.resample_labels):
        assert np.array_equal(read(mask, points, padding=0)[..., 0] == 0, outside)
        assert (read(mask, points).numpy() == 1).all()


def test_each_channel_has_its_own_outside():
    found = augmentation.resample(tf.ones((2, 2, 2, 2)), tf.fill((3, 1, 1, 1), 9.0), padding=tf.constant([-1.0, 5.0]))
    assert found.numpy().ravel().tolist() == [-1, 5]
