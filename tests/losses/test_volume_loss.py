import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from mcc_keras.errors import UsageError
from mcc_keras.losses import LOSSES, MCCLoss, get_loss
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


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("channels", "value"), [(1, 255.0), (1, -1.0), (3, 2.0)])
def test_a_target_outside_0_and_1_is_an_error_and_nan_in_a_compiled_graph(name, channels, value):
    y_true, y_pred = np.zeros((2, 3, 3, 3, channels), "float32"), np.full((2, 3, 3, 3, channels), 1 / 3, "float32")
    y_true[1, 2, 2, 2] = value
    loss = get_loss(name)
    with pytest.raises(UsageError, match=r"in \[0, 1\].*values from"):
        loss(y_true, y_pred)
    assert np.isnan(tf.function(loss)(tf.constant(y_true), tf.constant(y_pred)))


def test_what_interpolation_leaves_outside_0_and_1_is_no_error():
    y_true, y_pred = np.float32([[[1 + 1e-6], [-1e-6], [1]]]), np.float32([[[0.9], [0.2], [0.6]]])
    assert float(tf.function(MCCLoss())(y_true, y_pred)) == pytest.approx(
        float(MCCLoss()(np.round(y_true), y_pred)), abs=1e-5
    )


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pool", ["sample", "batch"])
def test_a_weight_of_n_is_the_voxel_n_times_over_in_value_and_gradient(name, channels, pool):
    generator = np.random.default_rng(3)
    times = np.array([3, 1, 0, 2, 5, 1, 0, 4])
    labels = np.array([[0, 1, 1, 0, 0, 1, 0, 0], [1, 1, 0, 0, 0, 0, 0, 1]])[..., None]
    y_true = labels.astype("float64") if channels == 1 else labels
    logits = generator.normal(size=(2, 8, channels))
    loss = get_loss(name, from_logits=True, pool=pool, dtype="float64")

    def step(y_true, logits, weight=None):
        with tf.GradientTape() as tape:
            x = tf.constant(logits)
            tape.watch(x)
            value = loss(y_true, x, sample_weight=weight)
        return float(value), tape.gradient(value, x).numpy()

    weight = np.broadcast_to(times.astype("float64"), (2, 8))[..., None]
    weighted, gradient = step(y_true, logits, weight)
    repeated, of_copies = step(np.repeat(y_true, times, axis=1), np.repeat(logits, times, axis=1))
    assert weighted == pytest.approx(repeated, rel=1e-9)
    voxel = np.repeat(np.arange(8), times)
    expected = np.stack([of_copies[:, voxel == i].sum(axis=1) for i in range(8)], axis=1)
    np.testing.assert_allclose(gradient, expected, atol=1e-12)


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "dice", "generalized_dice", "tversky", "auc"])
@pytest.mark.parametrize("channels", [1, 3])
def test_class_weights_by_class_are_those_in_order(name, channels):
    generator = np.random.default_rng(4)
    labels = generator.integers(0, max(channels, 2), (2, 4, 4, 4, 1))
    y_pred = generator.dirichlet(np.ones(4), (2, 4, 4, 4))[..., :channels] if channels == 1 else None
    y_pred = generator.dirichlet(np.ones(channels), (2, 4, 4, 4)) if y_pred is None else y_pred
    count = 3 if channels == 3 else 2 if name in ("cross_entropy", "focal") else 1
    in_order = get_loss(name, class_weights=[1.0, 20.0, 3.0][:count])
    by_class = get_loss(
        name, class_weights={2: 3.0, 0: 1.0, 1: 20.0} if count == 3 else dict([(0, 1.0), (1, 20.0)][:count])
    )
    assert by_class.get_config() == in_order.get_config()
    assert float(by_class(labels, y_pred)) == float(in_order(labels, y_pred))


@pytest.mark.parametrize(
    "weights", [{1: 2.0}, {0: 1.0, 2: 1.0}, {"a": 1.0}, "12a", 3.0, [1.0, None], {0: 1.0, 1: -1.0}]
)
def test_class_weights_that_leave_a_class_out_or_are_no_numbers_are_refused(weights):
    with pytest.raises(UsageError, match="`class_weights` must.*Received: class_weights="):
        get_loss("cross_entropy", class_weights=weights)
