import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage
from scipy.interpolate import BSpline
from scipy.spatial.transform import Rotation

from mcc_keras import augmentation
from mcc_keras.augmentation import Augmentation
from mcc_keras.errors import UsageError

SPACING = (1.0, 1.5, 2.0)
NOTHING = Augmentation(
    flip=(False, False, False),
    rotation_degrees=0,
    scaling=0,
    translation=0,
    elastic=0,
    gamma=0,
    contrast=0,
    brightness=0,
    bias_field=0,
    noise=0,
)


def volume(shape=(12, 10, 8), channels=1, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (*shape, channels)).astype(np.float32)


def ball(shape=(24, 24, 24), centre=(9, 13, 12), radius=5):
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return (np.linalg.norm(grid - np.array(centre), axis=-1, keepdims=True) <= radius).astype(np.uint8)


def test_linear_sampling_is_scipys():
    image, rng = volume(), np.random.default_rng(1)
    points = rng.uniform(-2, 14, (5, 6, 7, 3)).astype(np.float32)
    found = augmentation.resample(tf.constant(image), tf.constant(points))[..., 0]
    expected = ndimage.map_coordinates(image[..., 0], np.moveaxis(points, -1, 0), order=1, mode="nearest")
    assert np.allclose(found, expected, atol=1e-5)


def test_nearest_sampling_is_scipys():
    mask, rng = volume().astype(np.int32), np.random.default_rng(1)
    points = rng.uniform(-2, 14, (5, 6, 7, 3)).astype(np.float32)
    found = augmentation.resample_nearest(tf.constant(mask), tf.constant(points))[..., 0]
    expected = ndimage.map_coordinates(mask[..., 0], np.moveaxis(points, -1, 0), order=0, mode="nearest")
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("shape", [(12, 10, 8), (1, 5, 1)])
def test_identity_points_return_the_volume_bit_for_bit(shape):
    image, points = volume(shape, channels=2), augmentation.identity_points(shape)
    assert np.array_equal(augmentation.resample(tf.constant(image), points), image)
    assert np.array_equal(augmentation.resample_nearest(tf.constant(image), points), image)


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2)])
def test_flip_is_numpys(axes):
    image = volume()
    points = augmentation.flip(augmentation.identity_points(image.shape[:3]), [axis in axes for axis in range(3)])
    assert np.array_equal(augmentation.resample(tf.constant(image), points), np.flip(image, axes))


def test_random_flip_turns_allowed_axes_half_of_the_time():
    image, points = np.arange(2.0, dtype=np.float32).reshape(2, 1, 1, 1), augmentation.identity_points((2, 1, 1))
    first = [
        float(augmentation.resample(tf.constant(image), augmentation.random_flip((3, i), points, (0,)))[0, 0, 0, 0])
        for i in range(200)
    ]
    assert 70 < sum(first) < 130
    assert np.array_equal(augmentation.random_flip((3, 4), points, ()), points)


def test_rotation_is_scipys():
    angles = (0.3, -0.2, 0.5)
    expected = Rotation.from_euler("xyz", angles).as_matrix()
    assert np.allclose(augmentation.spatial.rotation(tf.constant(angles)), expected, atol=1e-6)


def test_affine_is_scipys_about_the_centre():
    image, matrix = volume((15, 15, 15)), Rotation.from_euler("z", 30, degrees=True).as_matrix()
    points = augmentation.affine(
        augmentation.identity_points((15, 15, 15)), tf.constant(matrix, tf.float32), tf.constant([1.0, 0.0, -0.5])
    )
    offset = np.full(3, 7) - matrix @ np.full(3, 7) + (1, 0, -0.5)
    expected = ndimage.affine_transform(image[..., 0], matrix, offset, order=1, mode="nearest")
    assert np.allclose(augmentation.resample(tf.constant(image), points)[..., 0], expected, atol=1e-4)


def test_rotation_keeps_lengths_in_millimetres():
    points = augmentation.identity_points((9, 9, 9))
    moved = augmentation.random_affine(
        (1, 2), points, tf.constant(SPACING), rotation_degrees=40, scaling=0, translation=0
    ).numpy()
    edge = (moved[8, 0, 0] - moved[0, 0, 0]) * SPACING
    assert np.linalg.norm(edge) == pytest.approx(8 * SPACING[0], rel=1e-4)


def test_a_strongly_anisotropic_volume_turns_in_its_plane_only():
    points = augmentation.identity_points((9, 9, 5))
    moved = augmentation.random_affine(
        (1, 2), points, tf.constant([1.0, 1.0, 4.0]), rotation_degrees=30, scaling=0, translation=0
    )
    assert np.allclose(moved[..., 2], points[..., 2], atol=1e-4)
    assert not np.allclose(moved[..., :2], points[..., :2], atol=0.1)


def test_the_smooth_field_is_a_cubic_b_spline():
    weights = augmentation.linear.spline_weights(6, 11)
    place = 1 + (np.arange(11) + 0.5) / 11 * 3
    for k in range(6):
        element = BSpline.basis_element(np.arange(k - 2, k + 3), extrapolate=False)
        assert np.allclose(weights[:, k], np.nan_to_num(element(place)), atol=1e-6)


def test_equal_shifts_of_all_control_points_are_a_translation():
    points = augmentation.identity_points((8, 9, 10))
    shifts = tf.broadcast_to(tf.constant([1.0, 2.0, -3.0]), (5, 5, 5, 3))
    assert np.allclose(augmentation.elastic(points, shifts) - points, [1, 2, -3], atol=1e-5)


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


def test_noise_has_at_most_the_given_deviation():
    image = tf.constant(5 * volume((20, 20, 20)))
    added = [augmentation.random_noise((1, i), image, 0.2) - image for i in range(10)]
    deviations = [float(tf.math.reduce_std(values)) / 5 for values in added]
    assert 0.1 < max(deviations) < 0.21
    assert min(deviations) < 0.1


def test_a_policy_that_allows_nothing_is_the_identity():
    image, mask = volume(), ball((12, 10, 8), (6, 5, 4), 3)
    same, same_mask = NOTHING((1, 2), image, mask, spacing_mm=SPACING)
    assert np.array_equal(same, image)
    assert np.array_equal(same_mask, mask)


@pytest.mark.parametrize("seed", range(6))
def test_image_and_mask_move_together(seed):
    mask = ball()
    policy = Augmentation(gamma=0, contrast=0, brightness=0, bias_field=0, noise=0)
    image, moved = policy((5, seed), mask.astype(np.float32), mask, spacing_mm=(1.0, 1.0, 1.0))
    # Voxels that lie within half a voxel of the surface may fall on either side; none beyond it.
    assert not ((image.numpy() > 0.5) & (ndimage.binary_dilation(moved[..., 0])[..., None] == 0)).any()
    assert not ((image.numpy() < 0.5) & (ndimage.binary_erosion(moved[..., 0])[..., None] == 1)).any()
    assert not np.array_equal(moved, mask)


def test_the_same_seed_draws_the_same_and_another_seed_something_else():
    image, mask = volume(), ball((12, 10, 8), (6, 5, 4), 3)
    first, again, other = (
        Augmentation()(seed, image, mask, spacing_mm=SPACING)[0] for seed in [(1, 2), (1, 2), (1, 3)]
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize(
    "settings",
    [{"flip": (True,)}, {"rotation_degrees": -1}, {"rotation_degrees": 181}, {"scaling": 5}, {"elastic": 0.5}],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(UsageError, match=next(iter(settings))):
        Augmentation(**settings)
