"""Every loss, through every promise. A new loss is one line in `LOSSES`; it is tested here by itself.

Runs on the backend that KERAS_BACKEND names; tests/test_backends.py runs it on the others.
"""

import keras
import numpy as np
import pytest
from keras import ops

from mcc_keras.errors import UsageError
from mcc_keras.losses import LOSSES, get_loss

BACKEND = keras.backend.backend()
SIZE = (6, 5, 4)
every_loss = pytest.mark.parametrize("name", LOSSES)
every_channels = pytest.mark.parametrize("channels", [1, 3])


def batch(channels, *, seed=0):
    """Four samples: a mixed mask, an empty one, a full one, and one of a single voxel; labels and probabilities."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, max(channels, 2), (4, *SIZE, 1))
    labels[1], labels[2] = 0, max(channels, 2) - 1
    labels[3], labels[3, 2, 2, 2] = 0, 1
    if channels == 1:
        return labels.astype("float32"), generator.random((4, *SIZE, 1)).astype("float32")
    return labels.astype("int32"), generator.dirichlet(np.ones(channels), (4, *SIZE)).astype("float32")


def logits_from(channels, *, seed=1):
    """Logits over the whole range -30 ... 30 in every sample."""
    return np.random.default_rng(seed).uniform(-30, 30, (4, *SIZE, channels)).astype("float32")


def value_and_gradient(loss, y_true, y_pred, *, compiled=None):
    """Return the sum of the values and its gradient, in NumPy, eager or compiled ("graph", "xla")."""

    def total(p):
        return ops.sum(loss(y_true, p))

    if BACKEND == "tensorflow":
        import tensorflow as tf

        def step(p):
            with tf.GradientTape() as tape:
                tape.watch(p)
                value = total(p)
            return value, tape.gradient(value, p)

        if compiled:
            step = tf.function(step, jit_compile=compiled == "xla")
        value, gradient = step(tf.constant(y_pred))
    elif BACKEND == "jax":
        import jax

        step = jax.value_and_grad(total)
        value, gradient = (jax.jit(step) if compiled else step)(jax.numpy.asarray(y_pred))
    else:
        import torch

        p = torch.tensor(y_pred, requires_grad=True)
        value = total(p)
        (gradient,) = torch.autograd.grad(value, p)
        value = value.detach()
    return float(value), ops.convert_to_numpy(gradient)


def perfect(labels, channels):
    return labels if channels == 1 else np.eye(channels, dtype="float32")[labels[..., 0]]


@every_loss
@every_channels
def test_there_is_one_value_for_each_sample_and_samples_do_not_mix(name, channels):
    loss = get_loss(name, reduction=None)
    y_true, y_pred = batch(channels)
    together = np.array(loss(y_true, y_pred))
    assert together.shape == (4,)
    apart = [float(loss(y_true[i : i + 1], y_pred[i : i + 1])[0]) for i in range(4)]
    np.testing.assert_allclose(together, apart, atol=1e-6)


@every_loss
@every_channels
def test_a_perfect_prediction_is_the_minimum_and_is_zero(name, channels):
    loss = get_loss(name, reduction=None)
    y_true, y_pred = batch(channels)
    best = np.array(loss(y_true, perfect(y_true, channels)))
    np.testing.assert_allclose(best, 0, atol=3e-6)
    assert (np.array(loss(y_true, y_pred)) > best).all()


@every_loss
@every_channels
def test_value_and_gradient_are_finite_for_logits_far_out_and_the_same_in_a_graph(name, channels):
    loss = get_loss(name, from_logits=True)
    y_true, logits = batch(channels)[0], logits_from(channels)
    value, gradient = value_and_gradient(loss, y_true, logits)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    if BACKEND != "torch":
        other, other_gradient = value_and_gradient(loss, y_true, logits, compiled="graph")
        assert other == pytest.approx(value, rel=1e-5)
        np.testing.assert_allclose(other_gradient, gradient, rtol=1e-3, atol=1e-7)


@every_loss
@pytest.mark.skipif(BACKEND != "tensorflow", reason="JAX compiles with XLA anyway, torch never does")
def test_xla_gives_the_same_value_and_gradient(name):
    loss = get_loss(name, from_logits=True)
    y_true, logits = batch(3)[0], logits_from(3)
    value, gradient = value_and_gradient(loss, y_true, logits)
    compiled, compiled_gradient = value_and_gradient(loss, y_true, logits, compiled="xla")
    assert compiled == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(compiled_gradient, gradient, rtol=1e-3, atol=1e-7)


@every_loss
@every_channels
def test_the_gradient_is_that_of_finite_differences(name, channels):
    loss = get_loss(name, from_logits=True, dtype="float64")
    y_true = batch(channels)[0]
    logits = np.random.default_rng(2).normal(size=(4, *SIZE, channels))
    direction = np.random.default_rng(3).normal(size=logits.shape)
    if BACKEND != "tensorflow":
        pytest.skip("float32, which is what other backends take an array for, is too coarse for finite differences")
    _, gradient = value_and_gradient(loss, y_true, logits)
    step = 1e-6
    shifted = (ops.convert_to_tensor(logits + s * direction, dtype="float64") for s in (step, -step))
    above, below = (float(loss(y_true, p)) for p in shifted)
    assert (gradient * direction).sum() == pytest.approx((above - below) / (2 * step), rel=1e-4, abs=1e-8)


@every_loss
def test_a_step_down_the_gradient_helps_on_empty_full_and_mixed_masks(name):
    loss = get_loss(name, from_logits=True, reduction=None)
    y_true, logits = batch(1)[0], np.zeros((4, *SIZE, 1), "float32")
    _, gradient = value_and_gradient(loss, y_true, logits)
    before, after = (np.array(loss(y_true, x)) for x in (logits, logits - 0.1 * gradient / np.abs(gradient).max()))
    assert (after < before).all()


@every_loss
@every_channels
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_predictions_give_the_value_of_float32(name, channels, dtype):
    loss = get_loss(name)
    y_true, y_pred = batch(channels)
    half = ops.cast(y_pred, dtype)
    assert float(loss(y_true, half)) == pytest.approx(float(loss(y_true, ops.cast(half, "float32"))), rel=1e-6)


@every_loss
def test_it_comes_back_from_its_config(name):
    loss = get_loss(name, reduction="sum", from_logits=True, pool="batch", ignore_label=9, name="mine")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config()
    y_true, y_pred = batch(1)
    assert float(again(y_true, y_pred)) == float(loss(y_true, y_pred))


@every_loss
@every_channels
def test_a_voxel_of_weight_zero_or_of_the_ignored_label_is_as_if_cut_out(name, channels):
    y_true, y_pred = batch(channels)
    weight = np.ones((4, *SIZE, 1), "float32")
    weight[:, 3:] = 0
    expected = np.array(get_loss(name, reduction=None)(y_true[:, :3], y_pred[:, :3]))
    weighted = get_loss(name, reduction=None)
    np.testing.assert_allclose(weighted(y_true, y_pred, sample_weight=weight), expected, atol=2e-6)
    np.testing.assert_allclose(weighted(y_true, y_pred, sample_weight=weight[..., 0]), expected, atol=2e-6)
    ignoring = get_loss(name, reduction=None, ignore_label=9)
    np.testing.assert_allclose(ignoring(np.where(weight > 0, y_true, 9), y_pred), expected, atol=2e-6)


@every_loss
def test_a_sample_of_weight_zero_has_no_part_and_a_batch_of_them_is_finite(name):
    y_true, y_pred = batch(1)
    for pool in ("sample", "batch"):
        loss = get_loss(name, pool=pool, reduction="sum")
        kept = float(loss(y_true[:3], y_pred[:3])) * (4 / 3 if pool == "batch" else 1)
        assert float(loss(y_true, y_pred, sample_weight=np.array([1, 1, 1, 0]))) == pytest.approx(kept, rel=1e-5)
        assert np.isfinite(float(loss(y_true, y_pred, sample_weight=np.zeros(4))))


@every_loss
@every_channels
def test_pooled_the_batch_is_one_sample(name, channels):
    y_true, y_pred = batch(channels)
    one = get_loss(name)(*(x.reshape(1, 4 * SIZE[0], *SIZE[1:], -1) for x in (y_true, y_pred)))
    pooled = get_loss(name, pool="batch", reduction=None)(y_true, y_pred)
    np.testing.assert_allclose(pooled, [float(one)] * 4, atol=2e-6)


@every_loss
def test_labels_with_and_without_a_channel_axis_and_one_hot_are_the_same(name):
    loss = get_loss(name, reduction=None)
    labels, y_pred = batch(3)
    expected = np.array(loss(np.eye(3, dtype="float32")[labels[..., 0]], y_pred))
    np.testing.assert_allclose(loss(labels, y_pred), expected, atol=1e-6)
    np.testing.assert_allclose(loss(labels[..., 0].astype("uint8"), y_pred), expected, atol=1e-6)


@every_loss
def test_nan_in_one_sample_is_nan_there_and_nowhere_else(name):
    if BACKEND == "torch" and ("cross_entropy" in name or name == "focal"):
        pytest.skip("torch itself raises on NaN in a binary cross-entropy")
    y_true, y_pred = batch(1)
    y_pred[1, 0, 0, 0] = np.nan
    np.testing.assert_array_equal(np.isnan(get_loss(name, reduction=None)(y_true, y_pred)), [0, 1, 0, 0])


@every_loss
@pytest.mark.parametrize(
    ("true_shape", "pred_shape"),
    [((2, 4, 4, 4), (2, 4, 4, 4, 1)), ((2, 4, 4, 5, 1), (2, 4, 4, 4, 1)), ((2, 4, 4, 4, 2), (2, 4, 4, 4, 3))],
)
def test_shapes_that_do_not_fit_are_refused_with_both(name, true_shape, pred_shape):
    with pytest.raises(UsageError) as error:
        get_loss(name)(np.zeros(true_shape, "float32"), np.zeros(pred_shape, "float32"))
    assert str(true_shape) in str(error.value) and str(pred_shape) in str(error.value)


@every_loss
def test_a_weight_that_fits_nothing_is_refused(name):
    y_true, y_pred = batch(1)
    with pytest.raises(UsageError, match=r"sample_weight.shape=\(4, 6\)"):
        get_loss(name)(y_true, y_pred, sample_weight=np.ones((4, 6)))


@every_loss
def test_a_label_beyond_the_channels_is_an_error_or_nan_in_a_compiled_graph(name):
    labels, y_pred = batch(3)
    labels[0, 0, 0, 0] = 3
    with pytest.raises(UsageError, match="labels from 0 to 3"):
        get_loss(name)(labels, y_pred)
    if BACKEND != "torch":
        assert np.isnan(value_and_gradient(get_loss(name), labels, y_pred, compiled="graph")[0])
