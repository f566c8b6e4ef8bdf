import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from mcc_keras.losses import get_loss
from mcc_keras.losses.volume_loss import VolumeLoss

LOGITS = np.random.default_rng(0).normal(scale=10, size=(2, 3, 3, 3, 4))


def softmax_and_gradient(logits, upstream):
    with tf.GradientTape() as tape:
        x = tf.constant(logits)
        tape.watch(x)
        p = VolumeLoss(from_logits=True).probabilities(x)
    return p.numpy(), tape.gradient(p, x, upstream).numpy()


def test_logits_of_several_classes_become_the_softmax_of_scipy():
    p, _ = softmax_and_gradient(LOGITS, None)
    np.testing.assert_allclose(p, scipy.special.softmax(LOGITS, axis=-1), rtol=1e-13)
    far, _ = softmax_and_gradient(np.array([[1000.0, 0.0, -1000.0], [-np.inf, 1e4, 1e4]], "float32"), None)
    np.testing.assert_array_equal(far, [[1, 0, 0], [0, 0.5, 0.5]])


def test_the_gradient_of_the_softmax_is_its_jacobian():
    upstream = np.random.default_rng(1).normal(size=LOGITS.shape)
    p, gradient = softmax_and_gradient(LOGITS, upstream)
    jacobian = p[..., :, None] * (np.eye(4) - p[..., None, :])
    np.testing.assert_allclose(gradient, np.einsum("...kl,...k->...l", jacobian, upstream), atol=1e-14)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("name", "channels"), [("mcc", 1), ("mcc", 3), ("dice", 1), ("gwd", 3), ("cross_entropy", 1)])
def test_a_second_derivative_is_that_of_finite_differences_although_gradients_are_written_by_hand(
    name, channels, compiled
):
    generator = np.random.default_rng(2)
    labels = generator.integers(0, max(channels, 2), (2, 3, 3, 3, 1))
    y_true = labels.astype("float64") if channels == 1 else labels
    x, direction = (tf.constant(generator.normal(size=(2, 3, 3, 3, channels))) for _ in range(2))
    loss = get_loss(name, from_logits=True, dtype="float64")

    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(y_true, x)
        return tf.reduce_sum(tape.gradient(value, x) * direction)

    def curvature(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = slope(x)
        return tf.reduce_sum(tape.gradient(value, x) * direction)

    expected = (slope(x + 1e-5 * direction) - slope(x - 1e-5 * direction)) / 2e-5
    assert float((tf.function(curvature) if compiled else curvature)(x)) == pytest.approx(float(expected), rel=1e-6)
