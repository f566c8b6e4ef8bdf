import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mcc_keras import augmentation

SPACING = (1.0, 1.5, 2.0)


def volume(shape=(12, 10, 8), channels=1, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (*shape, channels)).astype(np.float32)


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


def test_inverse_is_numpys():
    matrix = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    assert np.allclose(augmentation.spatial.inverse(tf.constant(matrix)), np.linalg.inv(matrix), atol=1e-4)


def test_affine_is_scipys_about_the_center():
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
    edge = (moved[:, 8, 0, 0] - moved[:, 0, 0, 0]) * SPACING
    assert np.linalg.norm(edge) == pytest.approx(8 * SPACING[0], rel=1e-4)


def test_a_strongly_anisotropic_volume_turns_in_its_plane_only():
    points = augmentation.identity_points((9, 9, 5))
    moved = augmentation.random_affine(
        (1, 2), points, tf.constant([1.0, 1.0, 4.0]), rotation_degrees=30, scaling=0, translation=0
    )
    assert np.allclose(moved[2], points[2], atol=1e-4)
    assert not np.allclose(moved[:2], points[:2], atol=0.1)


def test_equal_shifts_of_all_control_points_are_a_translation():
    points = augmentation.identity_points((8, 9, 10))
    shifts = tf.reshape(tf.constant([1.0, 2.0, -3.0]), (3, 1, 1, 1))
    moves = augmentation.elastic(points, tf.broadcast_to(shifts, (3, 5, 5, 5))) - points
    assert np.allclose(moves, shifts, atol=1e-5)


def test_shifts_in_millimetres_and_in_shares_add_up():
    points = augmentation.identity_points((10, 10, 10))
    kinds = [{"translation_mm": 3.0}, {"translation": 0.2}, {"translation_mm": 3.0, "translation": 0.2}]
    by_mm, by_share, by_both = (
        (augmentation.random_affine((1, 2), points, tf.constant(SPACING), **kind) - points)[:, 0, 0, 0].numpy()
        for kind in kinds
    )
    assert (np.abs(by_mm * SPACING) <= 3).all()
    assert np.abs(by_mm * SPACING).max() > 0.3
    assert (np.abs(by_share) <= 2).all()
    assert np.allclose(by_mm + by_share, by_both, atol=1e-4)


def test_a_shift_in_millimetres_is_as_long_in_voxels_of_any_size():
    points = augmentation.identity_points((10, 10, 10))
    of_one_mm, of_two_mm = (
        augmentation.random_affine((1, 2), points, tf.constant([side] * 3), translation_mm=3.0) - points
        for side in (1.0, 2.0)
    )
    assert np.allclose(of_one_mm, 2 * of_two_mm, atol=1e-5)


def matrix_of(**settings):
    """The affine map that was drawn, in millimetres, read from what it does to the axes."""
    points = augmentation.identity_points((3, 3, 3))
    moved = augmentation.random_affine((7, 8), points, tf.constant(SPACING), **settings).numpy()
    moved = np.moveaxis(moved, 0, -1) * SPACING
    ahead = [moved[2, 1, 1] - moved[0, 1, 1], moved[1, 2, 1] - moved[1, 0, 1], moved[1, 1, 2] - moved[1, 1, 0]]
    return np.stack(ahead, axis=1) / (2 * np.array(SPACING))


def test_scaling_is_one_factor_or_three():
    one, three = (matrix_of(scaling=0.5, scaling_per_axis=per_axis) for per_axis in (False, True))
    assert np.allclose(one, one[0, 0] * np.eye(3), atol=1e-5)
    assert np.allclose(three, np.diag(np.diag(three)), atol=1e-5)
    assert len(set(np.diag(three).round(3))) == 3
    for factor in (one[0, 0], *np.diag(three)):
        assert 1 / 1.5 <= factor <= 1.5


def test_shear_leans_every_axis_by_at_most_its_angle():
    shear = matrix_of(shear_degrees=20)
    assert np.allclose(np.diag(shear), 1, atol=1e-5)
    lean = np.abs(shear[~np.eye(3, dtype=bool)])
    assert (lean <= np.tan(np.radians(20))).all()
    assert (lean > 1e-3).all()


@pytest.mark.parametrize(("spacing", "still"), [((4.0, 4.0, 1.0), 2), ((1.0, 4.0, 1.0), 1), ((1.0, 1.2, 3.7), 2)])
def test_nothing_turns_or_leans_between_axes_of_very_different_voxel_size(spacing, still):
    points = augmentation.identity_points((7, 7, 7))
    moved = augmentation.random_affine((1, 2), points, tf.constant(spacing), rotation_degrees=30, shear_degrees=20)
    moves = np.abs(moved - points).max((1, 2, 3))
    assert moves[still] < 1e-5
    assert (np.delete(moves, still) > 0.05).all()


def test_the_inverse_matrix_brings_every_point_back():
    matrix = Rotation.from_euler("xyz", (20, -30, 40), degrees=True).as_matrix() @ np.diag([1.3, 0.8, 1.1])
    points, shift = augmentation.identity_points((7, 8, 9)), np.array([1.5, -2.0, 0.25])
    moved = augmentation.affine(points, tf.constant(matrix, tf.float32), tf.constant(shift, tf.float32))
    inverse = np.linalg.inv(matrix)
    back = augmentation.affine(moved, tf.constant(inverse, tf.float32), tf.constant(-inverse @ shift, tf.float32))
    assert np.allclose(back, points, atol=1e-4)
    assert np.array_equal(
        augmentation.flip(augmentation.flip(points, (True, False, True)), (True, False, True)), points
    )


def test_no_change_is_the_identity_bit_for_bit():
    points = augmentation.identity_points((12, 10, 8))
    moved = augmentation.random_affine((1, 2), points, tf.constant(SPACING))
    moved = augmentation.random_elastic((1, 2), augmentation.flip(moved, (False,) * 3), 0.0)
    image = tf.constant(volume(channels=2))
    assert np.array_equal(augmentation.resample(image, moved), image)
    assert np.array_equal(augmentation.resample(image, moved, interpolation="cubic"), image)
