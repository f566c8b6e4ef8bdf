import numpy as np
import tensorflow as tf
from scipy.interpolate import BSpline

from mcc_keras.augmentation.linear import along_axis, smooth_field, spline_weights


def test_the_smooth_field_is_a_cubic_b_spline():
    weights = spline_weights(6, 11)
    place = 1 + (np.arange(11) + 0.5) / 11 * 3
    for k in range(6):
        element = BSpline.basis_element(np.arange(k - 2, k + 3), extrapolate=False)
        assert np.allclose(weights[:, k], np.nan_to_num(element(place)), atol=1e-6)


def test_a_matrix_acts_on_every_line_of_an_axis():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(4, 5, 6, 2)).astype(np.float32)
    for axis in range(3):
        matrix = rng.normal(size=(3, image.shape[axis])).astype(np.float32)
        expected = np.moveaxis(np.tensordot(matrix, image, (1, axis)), 0, axis)
        assert np.allclose(along_axis(tf.constant(image), tf.constant(matrix), axis), expected, atol=1e-5)


def test_equal_controls_make_a_constant_field():
    assert np.allclose(smooth_field(tf.fill((5, 5, 5, 1), 2.5), (4, 7, 1)), 2.5, atol=1e-5)
