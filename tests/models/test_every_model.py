"""Every network keeps every promise; a new network is one line in NETWORKS."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from mcc_keras.errors import UsageError
from mcc_keras.models import DenseVNet, UNet3D, VNet, VoxResNet, transfer_weights

# (builder, keywords that make it thin, smallest side)
NETWORKS = {
    "dense_vnet": (DenseVNet, {"depths": (2, 2, 2)}, 8),
    "vnet": (VNet, {"width": 0.125}, 16),
    "voxresnet": (VoxResNet, {"width": 0.125}, 8),
    "voxresnet_deep": (VoxResNet, {"width": 0.125, "deep_supervision": True}, 8),
    "unet3d": (UNet3D, {"width": 0.0625}, 8),
}
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


@pytest.fixture(params=NETWORKS)
def network(request):
    keras.utils.set_random_seed(7)
    return NETWORKS[request.param]


@pytest.fixture
def policy(request):
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


def build(network, sides=(16, 16, 16), classes=1, **keywords):
    builder, thin, _ = network
    return builder((*sides, 1), classes, **thin, **keywords)


def volume(sides=(16, 16, 16), batch=2, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, *sides, 1)).astype("float32")


def ball(sides=(16, 16, 16)):
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, side) for side in sides], indexing="ij"))
    return (np.linalg.norm(grid, axis=0) < 0.6).astype("float32")[None, ..., None]


@pytest.mark.parametrize("classes", [1, 3])
def test_the_output_is_a_distribution_over_the_classes_of_each_voxel(network, classes):
    output = np.asarray(build(network, classes=classes)(volume(), training=False))
    assert output.shape == (2, 16, 16, 16, classes)
    assert (output >= 0).all() and (output <= 1).all()
    if classes > 1:
        np.testing.assert_allclose(output.sum(-1), 1, atol=1e-5)


def test_without_an_activation_the_output_is_logits(network):
    keras.utils.set_random_seed(1)
    logits = np.asarray(build(network, activation=None)(volume(), training=False), "float64")
    keras.utils.set_random_seed(1)
    output = np.asarray(build(network)(volume(), training=False))
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), output, atol=1e-5)


def test_every_trainable_variable_gets_a_finite_gradient(network):
    model = build(network)
    with tf.GradientTape() as tape:
        output = model(volume(), training=True)
        outputs = output.values() if isinstance(output, dict) else [output]
        loss = sum(tf.reduce_mean((output - 0.3) ** 2) for output in outputs)
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None and np.isfinite(gradient).all(), variable.path


def test_volumes_of_a_batch_do_not_mix_at_inference(network):
    model, batch = build(network), volume()
    alone = np.concatenate([np.asarray(model(batch[i : i + 1], training=False)) for i in range(2)])
    np.testing.assert_allclose(np.asarray(model(batch, training=False)), alone, atol=1e-5)


@pytest.mark.parametrize("policy", POLICIES, indirect=True)
def test_it_trains_and_reloads_under_every_policy(network, policy, tmp_path):
    model = build(network)
    model.compile("adam", "binary_crossentropy")
    batch, mask = volume(), np.repeat(ball(), 2, axis=0)
    history = model.fit(batch, mask, epochs=2, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    output = model.predict(batch, verbose=0)
    assert output.dtype == np.float32
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(reloaded.predict(batch, verbose=0), output)


def test_the_exported_savedmodel_gives_the_same_output(network, tmp_path):
    model, batch = build(network), volume()
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    np.testing.assert_allclose(served.serve(batch), model(batch, training=False), atol=1e-5)


def test_any_side_works_fixed_or_open_eagerly_and_in_a_graph(network):
    sides = (16, 17, 21)
    fixed, open_sides = build(network, sides), build(network, (None, None, None))
    open_sides.set_weights(fixed.get_weights())
    batch = volume(sides, batch=1)
    expected = np.asarray(fixed(batch, training=False))
    assert expected.shape == batch.shape
    np.testing.assert_allclose(open_sides(batch, training=False), expected, atol=1e-5)
    for model in (fixed, open_sides):
        np.testing.assert_allclose(model.predict(batch, verbose=0), expected, atol=1e-5)


def test_padding_inside_is_zeros_at_the_far_end(network):
    short, long = build(network, (16, 17, 16)), build(network, (16, 32, 16))
    long.set_weights(short.get_weights())
    batch = volume((16, 17, 16), batch=1)
    multiple = network[2]
    padded = np.pad(batch, [(0, 0), (0, 0), (0, 15), (0, 0), (0, 0)])
    if multiple == 8:
        long = build(network, (16, 24, 16))
        long.set_weights(short.get_weights())
        padded = padded[:, :, :24]
    np.testing.assert_allclose(short(batch, training=False), long(padded, training=False)[:, :, :17], atol=1e-5)


def test_a_side_too_small_is_refused_with_the_smallest_that_works(network):
    smallest = network[2]
    with pytest.raises(UsageError, match=rf"\({smallest}, {smallest}, {smallest}\)"):
        build(network, (smallest - 1, 16, 16))
    assert build(network, (smallest,) * 3).output is not None


def test_it_overfits_one_tiny_volume(network):
    model, mask = build(network), ball()
    rate = {"vnet": 3e-3, "unet3d": 3e-2}.get(model.name, 1e-2)
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy")
    image = (mask + 0.3 * volume(batch=1)).astype("float32")
    loss = model.fit(image, mask, epochs=30, verbose=0).history["loss"][-1]
    share, losses = mask.mean(), 5 if isinstance(model.output, dict) else 1
    constant = -share * np.log(share) - (1 - share) * np.log(1 - share)
    assert loss < 0.5 * losses * constant, "no better than half the loss of a constant answer"


def test_a_network_with_more_classes_takes_all_but_the_classifier(network):
    source, target = build(network), build(network, classes=3)
    transfer = transfer_weights(source, target)
    assert set(transfer.copied) | set(transfer.left) == {weight.path for weight in target.weights}
    assert all("_conv/" in path for path in transfer.left)
    assert 2 <= len(transfer.left) <= 8


@pytest.mark.parametrize("normalisation", ["batch", "group", "instance"])
def test_every_normalisation_trains(network, normalisation):
    model = build(network, normalisation=normalisation)
    model.compile("sgd", "binary_crossentropy")
    assert np.isfinite(model.train_on_batch(volume(batch=1), ball()))


def test_the_bias_starts_the_output_at_the_foreground_fraction(network):
    output = np.asarray(
        build(network, foreground_fraction=0.01)(np.zeros((1, 16, 16, 16, 1), "float32"), training=False)
    )
    np.testing.assert_allclose(output, 0.01, rtol=1e-3)


@pytest.mark.parametrize(
    "keywords",
    [
        {"input_shape": (16, 16, 1)},
        {"input_shape": (16, 16, 16, 0)},
        {"input_shape": 16},
        {"num_classes": 0},
        {"num_classes": 1.5},
        {"activation": "no such"},
        {"normalisation": "no such"},
        {"width": 0},
        {"foreground_fraction": 1},
    ],
)
def test_bad_arguments_are_refused_with_what_was_received(network, keywords):
    ((name, value),) = keywords.items()
    with pytest.raises(UsageError, match=f"Received: .*{name}=") as caught:
        network[0](**{"input_shape": (16, 16, 16, 1), "num_classes": 1, **keywords})
    assert repr(value) in str(caught.value)


def test_a_fresh_process_reloads_every_network_without_being_told_its_classes(tmp_path):
    image = volume(batch=1)
    for name, network in NETWORKS.items():
        model = build(network)
        model.save(tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.npy", np.asarray(model(image, training=False)))
    np.save(tmp_path / "image.npy", image)
    code = (
        "import pathlib, sys, numpy, mcc_keras, keras\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "for path in folder.glob('*.keras'):\n"
        "    output = keras.saving.load_model(path)(numpy.load(folder / 'image.npy'), training=False)\n"
        "    numpy.testing.assert_allclose(output, numpy.load(path.with_suffix('.npy')), atol=1e-6)\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, timeout=120)
