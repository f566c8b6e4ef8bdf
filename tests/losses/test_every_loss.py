"""Every loss, through every promise. A new loss is one line in `LOSSES`; it is tested here by itself.

Runs on the backend that KERAS_BACKEND names; tests/test_backends.py runs it on the others.
"""

import itertools

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


def in_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def perfect(labels, channels):
    return labels if channels == 1 else np.eye(channels, dtype="float32")[labels[..., 0]]


@every_loss
@every_channels
def test_there_is_one_value_for_each_sample_and_samples_do_not_mix(name, channels):
    loss = get_loss(name, reduction=None)
    y_true, y_pred = batch(channels)
    together = in_numpy(loss(y_true, y_pred))
    assert together.shape == (4,)
    apart = [float(loss(y_true[i : i + 1], y_pred[i : i + 1])[0]) for i in range(4)]
    np.testing.assert_allclose(together, apart, atol=1e-6)


@every_loss
@every_channels
def test_a_perfect_prediction_is_the_minimum_and_is_zero(name, channels):
    loss = get_loss(name, reduction=None)
    y_true, y_pred = batch(channels)
    best = in_numpy(loss(y_true, perfect(y_true, channels)))
    np.testing.assert_allclose(best, 0, atol=3e-6)
    assert (in_numpy(loss(y_true, y_pred)) > best).all()


@every_loss
@every_channels
def test_value_and_gradient_are_finite_for_logits_far_out_and_the_same_in_a_graph(name, channels, gradient_step):
    loss = get_loss(name, from_logits=True)
    y_true, logits = batch(channels)[0], logits_from(channels)
    value, gradient = gradient_step(loss)(y_true, logits)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    if BACKEND != "torch":  # torch has no graph here
        other, other_gradient = gradient_step(loss, compiled="graph")(y_true, logits)
        assert other == pytest.approx(value, rel=1e-5)
        np.testing.assert_allclose(other_gradient, gradient, rtol=1e-3, atol=1e-7)


@every_loss
@pytest.mark.skipif(BACKEND != "tensorflow", reason="JAX compiles with XLA anyway, torch never does")
def test_xla_gives_the_same_value_and_gradient(name, gradient_step):
    loss = get_loss(name, from_logits=True)
    y_true, logits = batch(3)[0], logits_from(3)
    value, gradient = gradient_step(loss)(y_true, logits)
    compiled, compiled_gradient = gradient_step(loss, compiled="xla")(y_true, logits)
    assert compiled == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(compiled_gradient, gradient, rtol=1e-3, atol=1e-7)


@every_loss
@every_channels
def test_the_gradient_is_that_of_finite_differences(name, channels, gradient_step):
    # Keras computes means and maxima in float32 on JAX and torch, whatever it is given.
    dtype, shift, tolerance = ("float64", 1e-6, 1e-6) if BACKEND == "tensorflow" else ("float32", 1e-2, 2e-3)
    loss = get_loss(name, from_logits=True, dtype=dtype)
    step = gradient_step(loss, compiled="graph" if BACKEND == "jax" else None)
    y_true, generator = batch(channels)[0], np.random.default_rng(2)
    logits = generator.normal(size=(4, *SIZE, channels)).astype(dtype)
    _, gradient = step(y_true, logits)
    # Any lengths, but uphill in every voxel, so that no contribution cancels another.
    direction = (generator.random(logits.shape) * np.sign(gradient)).astype(dtype)
    above, below = (step(y_true, logits + sign * shift * direction)[0] for sign in (1, -1))
    assert gradient.dtype == dtype
    assert (gradient * direction).sum() == pytest.approx((above - below) / (2 * shift), rel=tolerance)


@every_loss
def test_a_step_down_the_gradient_helps_on_empty_full_and_mixed_masks(name, gradient_step):
    loss = get_loss(name, from_logits=True, reduction=None)
    y_true, logits = batch(1)[0], np.zeros((4, *SIZE, 1), "float32")
    _, gradient = gradient_step(loss)(y_true, logits)
    shifted = logits - (0.1 * gradient / np.abs(gradient).max()).astype("float32")
    before, after = (in_numpy(loss(y_true, x)) for x in (logits, shifted))
    assert (after < before).all()


@every_loss
@every_channels
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_predictions_give_the_value_of_float64(name, channels, dtype):
    # 48 x 48 x 48 voxels: a sum of them in half precision would be off by more than a hundredth.
    generator = np.random.default_rng(5)
    labels = generator.integers(0, max(channels, 2), (1, 48, 48, 48, 1))
    p = (
        generator.dirichlet(9 * np.ones(channels), labels.shape[:-1])
        if channels > 1
        else generator.uniform(0.02, 0.98, labels.shape)
    )
    half = ops.cast(ops.convert_to_tensor(p.astype("float32")), dtype)
    in_full = in_numpy(ops.cast(half, "float32")).astype("float64")
    exact = get_loss(name, dtype="float64") if BACKEND == "tensorflow" else get_loss(name)
    y_true = labels.astype("float32") if channels == 1 else labels
    assert float(get_loss(name)(y_true, half)) == pytest.approx(float(exact(y_true, in_full)), rel=2e-5)


def fit_one_step(policy):
    """Train a network with a head for each loss and number of channels; return each one's loss and what it learned."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    try:
        inputs, heads = keras.Input((*SIZE, 1)), {}
        features = keras.layers.Conv3D(3, 3, padding="same", activation="relu")(inputs)
        for name, channels in itertools.product(LOSSES, (1, 3)):
            last = {"activation": "softmax" if channels > 1 else "sigmoid", "dtype": "float32"}
            heads[name, channels] = keras.layers.Conv3D(channels, 1, name=f"{name}_{channels}", **last)
        model = keras.Model(inputs, {head.name: head(features) for head in heads.values()})
    finally:
        keras.config.set_dtype_policy("float32")
    losses = {head.name: get_loss(name) for (name, _), head in heads.items()}
    model.compile(keras.optimizers.SGD(0.1), loss=losses)
    before = {key: in_numpy(head.kernel) for key, head in heads.items()}
    image = np.random.default_rng(4).normal(size=(4, *SIZE, 1)).astype("float32")
    targets = {head.name: batch(channels)[0] for (_, channels), head in heads.items()}
    model.compute_loss(image, targets, model(image))  # the state of the losses; a step that makes it is traced twice
    history = model.fit(image, targets, batch_size=4, verbose=0).history
    return {key: (history[f"{head.name}_loss"][0], in_numpy(head.kernel) - before[key]) for key, head in heads.items()}


@pytest.fixture(scope="module")
def fitted():
    return {policy: fit_one_step(policy) for policy in ("float32", "mixed_float16", "mixed_bfloat16")}


@every_loss
@every_channels
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_fit_under_mixed_precision_does_what_it_does_in_float32(name, channels, policy, fitted):
    # bfloat16 has 8 bits of precision.
    (value, change), (expected, expected_change) = (fitted[p][name, channels] for p in (policy, "float32"))
    assert value == pytest.approx(expected, rel=1e-2)
    largest = np.abs(expected_change).max()
    assert largest > 0
    np.testing.assert_allclose(change, expected_change, atol=0.05 * largest)


@every_loss
def test_it_comes_back_from_its_config(name):
    loss = get_loss(name, reduction="sum", from_logits=True, pool="batch", ignore_class=9, name="mine")
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
    expected = in_numpy(get_loss(name, reduction=None)(y_true[:, :3], y_pred[:, :3]))
    weighted = get_loss(name, reduction=None)
    np.testing.assert_allclose(in_numpy(weighted(y_true, y_pred, sample_weight=weight)), expected, atol=2e-6)
    np.testing.assert_allclose(in_numpy(weighted(y_true, y_pred, sample_weight=weight[..., 0])), expected, atol=2e-6)
    ignoring = get_loss(name, reduction=None, ignore_class=9)
    np.testing.assert_allclose(in_numpy(ignoring(np.where(weight > 0, y_true, 9), y_pred)), expected, atol=2e-6)


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
    np.testing.assert_allclose(in_numpy(pooled), [float(one)] * 4, atol=2e-6)


@every_loss
def test_labels_with_and_without_a_channel_axis_and_one_hot_are_the_same(name):
    loss = get_loss(name, reduction=None)
    labels, y_pred = batch(3)
    expected = in_numpy(loss(np.eye(3, dtype="float32")[labels[..., 0]], y_pred))
    np.testing.assert_allclose(in_numpy(loss(labels, y_pred)), expected, atol=1e-6)
    np.testing.assert_allclose(in_numpy(loss(labels[..., 0].astype("uint8"), y_pred)), expected, atol=1e-6)


@every_loss
def test_nan_in_one_sample_is_nan_there_and_nowhere_else(name):
    if BACKEND == "torch" and ("cross_entropy" in name or name == "focal"):
        pytest.skip("torch itself raises on NaN in a binary cross-entropy")
    y_true, y_pred = batch(1)
    y_pred[1, 0, 0, 0] = np.nan
    np.testing.assert_array_equal(np.isnan(in_numpy(get_loss(name, reduction=None)(y_true, y_pred))), [0, 1, 0, 0])


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
def test_a_label_beyond_the_channels_is_an_error_or_nan_in_a_compiled_graph(name, gradient_step):
    labels, y_pred = batch(3)
    labels[0, 0, 0, 0] = 3
    with pytest.raises(UsageError, match="labels from 0 to 3"):
        get_loss(name)(labels, y_pred)
    if BACKEND != "torch":
        assert np.isnan(gradient_step(get_loss(name), compiled="graph")(labels, y_pred)[0])


@every_loss
@every_channels
def test_logits_in_place_of_probabilities_are_an_error_or_nan_in_a_compiled_graph(name, channels, gradient_step):
    y_true, y_pred = batch(channels)
    for value in (-0.01, 1.01):
        y_pred[2, 1, 1, 1, 0] = value
        with pytest.raises(UsageError, match=rf"`y_pred` must lie in \[0, 1\].*{value}.*from_logits=True"):
            get_loss(name)(y_true, y_pred)
        if BACKEND != "torch":
            assert np.isnan(gradient_step(get_loss(name), compiled="graph")(y_true, y_pred)[0])
    y_pred[2, 1, 1, 1, 0] = 1.0009  # what half precision may leave
    assert np.isfinite(float(get_loss(name)(y_true, y_pred)))


@every_loss
def test_overlapping_classes_are_an_error_or_nan_in_a_compiled_graph_unless_their_voxels_have_no_weight(
    name, gradient_step
):
    labels, y_pred = batch(3)
    overlapping = perfect(labels, 3)
    overlapping[0, 0, 0, 0] = [0, 1, 1]
    overlapping[0, 0, 0, 1] = [0, 0, 0]
    with pytest.raises(UsageError, match=r"sum to 1.*sums from 0 to 2"):
        get_loss(name)(overlapping, y_pred)
    if BACKEND != "torch":
        assert np.isnan(gradient_step(get_loss(name), compiled="graph")(overlapping, y_pred)[0])
    weight = np.ones((4, *SIZE, 1), "float32")
    weight[0, 0, 0, :2] = 0
    expected = float(get_loss(name)(labels, y_pred, sample_weight=weight))
    assert float(get_loss(name)(overlapping, y_pred, sample_weight=weight)) == pytest.approx(expected, abs=1e-6)


@every_loss
def test_single_samples_without_voxels_are_refused_with_the_way_out(name):
    y_true, y_pred = np.array([[1.0], [0.0]], "float32"), np.array([[0.8], [0.3]], "float32")
    with pytest.raises(UsageError, match=r"axis of voxels.*y_pred.shape=\(2, 1\).*pool='batch'"):
        get_loss(name)(y_true, y_pred)
    as_voxels = get_loss(name)(y_true[None], y_pred[None])
    assert float(get_loss(name, pool="batch")(y_true, y_pred)) == pytest.approx(float(as_voxels), abs=1e-6)
