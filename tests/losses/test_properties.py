"""What holds for any mask and any prediction."""

import functools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from sklearn.metrics import matthews_corrcoef

from mcc_keras.losses import MCCLoss

quick = settings(max_examples=25)
# One shape, so that no backend compiles again for each example.
seeds = st.integers(0, 2**32 - 1)
shares = st.sampled_from([0.0, 0.02, 0.3, 0.5, 0.98, 1.0])
smooths = st.sampled_from([0.0, 1.0, 10.0])


def pair(seed, share, *, hard=False):
    generator = np.random.default_rng(seed)
    y = (generator.random((2, 4, 4, 4, 1)) < share).astype("float32")
    p = generator.random(y.shape).astype("float32")
    return y, np.round(p) if hard else p


def mcc(y, p, **kwargs):
    return 1 - ops.convert_to_numpy(compiled_loss(**kwargs)(y, p))


@functools.cache
def compiled_loss(**kwargs):
    """Return the loss of each sample; compiled on JAX, which compiles each operation of each call otherwise."""
    loss = MCCLoss(reduction=None, **kwargs)
    if keras.backend.backend() != "jax":
        return loss
    import jax

    return jax.jit(lambda y, p: loss(y, p))


@pytest.fixture(scope="session")
def mcc_gradient(gradient_step):
    """Return a function (y, p, **kwargs) → value and gradient of `MCCLoss`."""
    compiled = "graph" if keras.backend.backend() == "jax" else None
    step = functools.cache(lambda **kwargs: gradient_step(MCCLoss(reduction=None, **kwargs), compiled=compiled))
    return lambda y, p, **kwargs: step(**kwargs)(y, p)


@quick
@given(seeds, shares)
def test_the_published_form_changes_its_sign_with_the_prediction_turned(seed, share):
    y, p = pair(seed, share)
    np.testing.assert_allclose(mcc(y, 1 - p, smooth=0.0), -mcc(y, p, smooth=0.0), atol=1e-6)


@quick
@given(seeds, shares)
def test_the_published_form_does_not_change_with_tiling(seed, share):
    y, p = pair(seed, share)
    tiled = (np.tile(x, (1, 2, 2, 2, 1)) for x in (y, p))
    # Eight times the voxels are summed in another order, by some compilers one after the other in float32.
    np.testing.assert_allclose(mcc(*tiled, smooth=0.0), mcc(y, p, smooth=0.0), atol=5e-6)


@quick
@given(seeds, shares)
def test_the_published_form_on_hard_masks_is_that_of_scikit_learn(seed, share):
    y, p = pair(seed, share, hard=True)
    expected = [matthews_corrcoef(a.ravel(), b.ravel()) for a, b in zip(y, p, strict=True)]
    np.testing.assert_allclose(mcc(y, p, smooth=0.0), expected, atol=1e-6)


@quick
@given(seeds, shares, smooths)
def test_the_complement_of_both_is_the_same(seed, share, smooth):
    y, p = pair(seed, share)
    np.testing.assert_allclose(mcc(1 - y, 1 - p, smooth=smooth), mcc(y, p, smooth=smooth), atol=1e-6)


@quick
@given(seeds, smooths)
def test_target_and_prediction_can_change_places(seed, smooth):
    y, p = pair(seed, 0.3)
    np.testing.assert_allclose(mcc(p, y, smooth=smooth), mcc(y, p, smooth=smooth), atol=1e-6)


@quick
@given(seeds, shares, smooths)
def test_the_order_of_voxels_has_no_effect(seed, share, smooth):
    y, p = pair(seed, share)
    order = np.random.default_rng(seed).permutation(64)
    shuffled = (x.reshape(2, 64, 1)[:, order].reshape(x.shape) for x in (y, p))
    np.testing.assert_allclose(mcc(*shuffled, smooth=smooth), mcc(y, p, smooth=smooth), atol=1e-6)


@quick
@given(seeds, st.permutations(range(4)), smooths)
def test_the_order_of_classes_has_no_effect(seed, order, smooth):
    generator = np.random.default_rng(seed)
    y = np.eye(4, dtype="float32")[generator.integers(0, 4, (2, 4, 4, 4))]
    p = generator.dirichlet(np.ones(4), (2, 4, 4, 4)).astype("float32")
    np.testing.assert_allclose(mcc(y[..., order], p[..., order], smooth=smooth), mcc(y, p, smooth=smooth), atol=1e-6)


@quick
@given(seeds, shares)
def test_a_perfect_prediction_is_the_minimum_and_zero_on_any_mask(seed, share):
    y, p = pair(seed, share)
    np.testing.assert_allclose(mcc(y, y), 1, atol=1e-6)
    assert (mcc(y, p) < 1).all()


@quick
@given(seeds, shares, smooths)
def test_the_gradient_is_the_formula_of_the_specification(mcc_gradient, seed, share, smooth):
    y, p = pair(seed, share)
    _, gradient = mcc_gradient(y, p, smooth=smooth)
    y, p = y.astype("float64"), p.astype("float64")
    total = 64 + 2 * smooth
    a, b, c = ((x.sum((1, 2, 3, 4), keepdims=True) + smooth) / total for x in (y, p, y * p))
    if smooth == 0 and ((a == 0) | (a == 1)).any():
        assert np.isfinite(gradient).all()
        return
    root = np.sqrt(a * (1 - a) * b * (1 - b))
    m = (c - a * b) / root
    np.testing.assert_allclose(gradient, -((y - a) / root - m * (1 - 2 * b) / (2 * b * (1 - b))) / total, atol=1e-6)


@quick
@given(seeds, shares, st.sampled_from([0.0, 1.0]))
def test_loss_and_gradient_are_finite_for_logits_from_minus_30_to_30_on_any_mask(mcc_gradient, seed, share, smooth):
    y, p = pair(seed, share)
    value, gradient = mcc_gradient(y, 60 * p - 30, from_logits=True, smooth=smooth)
    assert 0 <= value <= 2 * len(y)
    assert np.isfinite(gradient).all()


def test_small_volumes_of_foreground_keep_their_digits_near_empty_and_near_full():
    y = (np.random.default_rng(0).random((1, 128, 128, 128, 1)) < 2e-5).astype("float32")
    p = np.clip(0.9 * y + 1e-5 * np.random.default_rng(1).random(y.shape), 0, 1).astype("float32")
    for turned in (False, True):
        u, v = (1 - y, 1 - p) if turned else (y, p)
        a, b, c = (x.mean(dtype="float64") for x in (u, v, u.astype("float64") * v))
        expected = (c - a * b) / np.sqrt(a * (1 - a) * b * (1 - b))
        assert mcc(u, v, smooth=0.0)[0] == pytest.approx(expected, abs=3e-6)


def test_half_precision_volumes_that_overflow_a_float16_sum_give_the_float32_value():
    y = (np.random.default_rng(0).random((1, 64, 64, 64, 1)) < 0.6).astype("float16")
    p = np.random.default_rng(1).random(y.shape).astype("float16")
    expected = mcc(y.astype("float32"), p.astype("float32"))
    np.testing.assert_allclose(mcc(y, p), expected, atol=1e-7)


class FreeLogits(keras.layers.Layer):
    """A prediction that does not look at its input: every voxel is a weight of its own."""

    def build(self, shape):
        self.logits = self.add_weight(shape=shape[1:], initializer=keras.initializers.RandomNormal(stddev=0.1, seed=0))

    def call(self, image):
        return self.logits + ops.zeros_like(image)


@pytest.mark.parametrize(("smooth", "low", "high"), [(1.0, 0.0, 1e-4), (0.0, 0.49, 0.51)])
def test_300_steps_of_adam_clear_an_empty_patch_with_ours_and_not_with_the_published_form(smooth, low, high):
    empty = np.zeros((300, 16, 16, 16, 1), "float32")
    free = FreeLogits()
    model = keras.Sequential([keras.Input(empty.shape[1:]), free])
    model.compile(keras.optimizers.Adam(0.1), loss=MCCLoss(from_logits=True, smooth=smooth))
    model.fit(empty, empty, batch_size=1, verbose=0)
    assert model.optimizer.iterations == 300
    assert low <= float(ops.mean(ops.sigmoid(free.logits))) <= high
