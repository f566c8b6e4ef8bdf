"""Every network keeps every promise; a new network is one line in NETWORKS.

Runs on the backend that KERAS_BACKEND names; tests/models/test_model_backends.py runs it on the others.
"""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from mcc_keras.errors import UsageError
from mcc_keras.models import DenseVNet, ResidualUNet, UNet3D, VNet, VoxResNet
from mcc_keras.processors import find_processor, has_bfloat16

# (builder, keywords that make it thin, smallest side)
NETWORKS = {
    "dense_vnet": (DenseVNet, {"depths": (2, 2, 2)}, 8),
    "vnet": (VNet, {"width": 0.125}, 16),
    "voxresnet": (VoxResNet, {"width": 0.125}, 8),
    "voxresnet_deep": (VoxResNet, {"width": 0.125, "deep_supervision": True}, 8),
    "unet3d": (UNet3D, {"width": 0.0625}, 8),
    "residual_unet": (ResidualUNet, {"width": 0.25}, 8),
}
ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("MCC_KERAS_PEERS_PYTHON", sys.executable)
BACKEND = keras.backend.backend()
# XLA need not optimize what runs once.
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="SavedModel and reload are tested with TensorFlow")
STEPS = 60
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
# The supervised VoxResNet stands for the plain one, whose layers it has, under the halves.
PAIRS = [(name, policy) for name in NETWORKS for policy in POLICIES if name != "voxresnet" or policy == "float32"]
# JAX compiles for a minute what it then runs once: small volumes keep that short.
SIDE = 8 if BACKEND == "jax" else 16


@pytest.fixture(params=NETWORKS)
def network(request):
    keras.utils.set_random_seed(7)
    return NETWORKS[request.param]


def cube(network):
    return (max(SIDE, network[2]),) * 3


def build(network, sides=None, classes=1, **keywords):
    builder, thin, _ = network
    return builder((*(sides or cube(network)), 1), classes, **thin, **keywords)


@functools.cache
def trained(name, policy):
    """Return a network and its loss after one step under a policy."""
    keras.config.set_dtype_policy(policy)
    try:
        keras.utils.set_random_seed(7)
        network = NETWORKS[name]
        model, sides = build(network), cube(network)
        # Graphs take seconds to trace; bfloat16 is the policy whose kernels differ between the two.
        model.compile("adam", "binary_crossentropy", run_eagerly=BACKEND != "jax" and policy != "mixed_bfloat16")
        model.optimizer.build(model.trainable_variables)
        return model, model.train_on_batch(volume(sides), np.repeat(ball(sides), 2, axis=0), return_dict=True)["loss"]
    finally:
        keras.config.set_dtype_policy("float32")


def gradients(model, image):
    """Return the gradient of a loss to every trainable variable, in NumPy."""

    def loss_of(output):
        return ops.mean((output - 0.3) ** 2)

    values = [variable.value for variable in model.trainable_variables]
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = loss_of(model(image, training=True))
        found = tape.gradient(loss, values)
    elif BACKEND == "jax":
        import jax

        rest = [variable.value for variable in model.non_trainable_variables]
        found = jax.jit(jax.grad(lambda w: loss_of(model.stateless_call(w, rest, image, training=True)[0])))(values)
    else:
        loss_of(model(image, training=True)).backward()
        found = [value.grad for value in values]
    return [None if gradient is None else ops.convert_to_numpy(gradient) for gradient in found]


def answer(model, image):
    """Return what a model answers at inference; JAX compiles it as a whole, which beats compiling each operation."""
    return model.predict_on_batch(image) if BACKEND == "jax" else array(model(image, training=False))


def volume(sides=(16, 16, 16), batch=2, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, *sides, 1)).astype("float32")


def array(tensor, dtype=None):
    return ops.convert_to_numpy(tensor).astype(dtype or "float32")


def ball(sides=(16, 16, 16)):
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, side) for side in sides], indexing="ij"))
    return (np.linalg.norm(grid, axis=0) < 0.6).astype("float32")[None, ..., None]


@pytest.mark.parametrize("classes", [1, 3])
def test_the_output_is_a_distribution_over_the_classes_of_each_voxel(network, classes):
    output = answer(build(network, classes=classes), volume(cube(network)))
    assert output.shape == (2, *cube(network), classes)
    assert (output >= 0).all() and (output <= 1).all()
    if classes > 1:
        np.testing.assert_allclose(output.sum(-1), 1, atol=1e-5)


def test_without_an_activation_the_output_is_logits(network):
    keras.utils.set_random_seed(1)
    logits = answer(build(network, activation=None), volume(cube(network))).astype("float64")
    keras.utils.set_random_seed(1)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), answer(build(network), volume(cube(network))), atol=1e-5)


def test_every_trainable_variable_gets_a_finite_gradient(network):
    model = build(network)
    for variable, gradient in zip(model.trainable_variables, gradients(model, volume(cube(network))), strict=True):
        assert gradient is not None and np.isfinite(gradient).all(), variable.path


def test_volumes_of_a_batch_do_not_mix_at_inference(network):
    model, batch = build(network), volume(cube(network))
    other = np.stack([batch[0], volume(cube(network), seed=1)[1]])
    first, second = answer(model, batch), answer(model, other)
    np.testing.assert_allclose(first[0], second[0], atol=1e-6)
    assert np.abs(first[1] - second[1]).max() > 1e-3


@pytest.mark.parametrize(("name", "policy"), PAIRS)
def test_it_takes_a_step_under_every_policy_and_answers_in_float32(name, policy):
    if policy == "mixed_bfloat16" and BACKEND == "tensorflow" and not has_bfloat16(find_processor()[1]):
        pytest.skip("TensorFlow emulates bfloat16 on this processor, for minutes; `train` refuses it")
    model, loss = trained(name, policy)
    output = answer(model, volume(cube(NETWORKS[name])))
    assert np.isfinite(float(loss)) and model.output.dtype == "float32" and output.dtype == "float32"
    assert np.isfinite(output).all()
    assert all(np.isfinite(ops.convert_to_numpy(weight.value)).all() for weight in model.weights)


def test_any_side_works_fixed_or_open_eagerly_and_in_a_graph(network):
    sides = (16, 17, 21)
    fixed, open_sides = build(network, sides), build(network, (None, None, None))
    open_sides.set_weights(fixed.get_weights())
    batch = volume(sides, batch=1)
    expected = array(fixed(batch, training=False))
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
    message = re.escape(f"Received: sides=(16, {smallest - 1}, 16). The smallest size that works is {(smallest,) * 3}")
    with pytest.raises(UsageError, match=message):
        build(network, (16, smallest - 1, 16))
    assert build(network, (smallest,) * 3).output is not None


def test_open_sides_refuse_a_volume_too_small_when_they_see_it(network):
    model, smallest = build(network, (None, None, None)), network[2]
    with pytest.raises(UsageError, match=re.escape(f"The smallest size that works is {(smallest,) * 3}")):
        model(volume((16, 16, smallest - 1)))
    with pytest.raises(UsageError, match=re.escape(f"The smallest size that works is {(smallest,) * 3}")):
        model.predict(volume((16, 16, smallest - 1)), verbose=0)


def test_it_overfits_one_tiny_volume(network):
    model, mask = build(network), ball(cube(network))
    # The rate falls to 0, so that the moving statistics, which inference uses, catch up with the weights.
    rate = keras.optimizers.schedules.CosineDecay(
        {"vnet": 3e-3, "unet3d": 3e-2, "residual_unet": 3e-2}.get(model.name, 1e-2), STEPS
    )
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy")
    model.optimizer.build(model.trainable_variables)  # a step that makes its variables is traced twice
    image = (mask + 0.3 * volume(cube(network), batch=1)).astype("float32")
    # One epoch of equal steps, since what lies between epochs costs more than a step.
    model.fit(*(np.repeat(x, STEPS, axis=0) for x in (image, mask)), batch_size=1, verbose=0)
    output = np.clip(answer(model, image).astype("float64"), 1e-7, 1 - 1e-7)
    loss = -np.mean(np.where(mask > 0, np.log(output), np.log(1 - output)))
    share = mask.mean()
    constant = -share * np.log(share) - (1 - share) * np.log(1 - share)
    assert loss < 0.5 * constant, "no better than half the loss of a constant answer"


@pytest.mark.parametrize("normalization", ["batch", "group", "instance"])
def test_every_normalization_trains(network, normalization):
    model = build(network, normalization=normalization)
    model.compile("sgd", "binary_crossentropy")
    assert np.isfinite(model.train_on_batch(volume(batch=1), ball(), return_dict=True)["loss"])


def test_the_bias_starts_the_output_at_the_foreground_fraction(network):
    nothing = np.zeros((1, *cube(network), 1), "float32")
    one, four = (answer(build(network, classes=n, foreground_fraction=0.03), nothing) for n in (1, 4))
    np.testing.assert_allclose(one, 0.03, rtol=1e-4)
    np.testing.assert_allclose(four, np.broadcast_to([0.97, 0.01, 0.01, 0.01], four.shape), rtol=1e-4)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with the networks under the policies, trained for a step, as `.keras` file, and its output."""
    folder = tmp_path_factory.mktemp("models")
    np.save(folder / "image.npy", volume())
    for name, policy in PAIRS:
        model, _ = trained(name, policy)
        model.save(folder / f"{name}-{policy}.keras")
        np.save(folder / f"{name}-{policy}.npy", array(model(volume(), training=False)))
    return folder


OPEN = """
import pathlib, sys
import mcc_keras, keras, numpy as np
folder, pattern, tolerance = pathlib.Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
paths = sorted(folder.glob(pattern))
for path in paths:
    model = keras.saving.load_model(path)
    output = keras.ops.convert_to_numpy(model(np.load(folder / "image.npy"), training=False))
    np.testing.assert_allclose(output, np.load(path.with_suffix(".npy")), atol=tolerance, err_msg=path.name)
print(len(paths))
"""


@on_tensorflow
def test_a_fresh_process_reloads_every_network_under_every_policy_without_custom_objects(saved):
    command = [sys.executable, "-c", OPEN, saved, "*.keras", "1e-6"]
    done = subprocess.run(command, check=True, timeout=300, capture_output=True, text=True)
    assert int(done.stdout) == len(PAIRS)


@on_tensorflow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_same_file_gives_the_same_output_on(backend, saved):
    flags = {"KERAS_BACKEND": backend, "XLA_FLAGS": QUICK}
    environment = {**os.environ, **flags, "PYTHONPATH": str(ROOT)}
    probe = subprocess.run(
        [PYTHON, "-c", f"import {backend}, keras"], env=environment, capture_output=True, check=False
    )
    if probe.returncode:
        pytest.skip(f"no {backend} in {PYTHON}; set MCC_KERAS_PEERS_PYTHON to an interpreter that has it")
    command = [PYTHON, "-c", OPEN, saved, "*-float32.keras", "1e-4"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) == len(NETWORKS)


# Under the halves one network stands for all: what differs is the head, which they share.
@on_tensorflow
@pytest.mark.parametrize(("name", "policy"), [pair for pair in PAIRS if "dense_vnet" in pair or "float32" in pair])
def test_the_exported_savedmodel_gives_the_same_output(name, policy, tmp_path):
    import tensorflow as tf

    model, _ = trained(name, policy)
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    # Against the model's own graph for the same signature: another graph fuses other operations, and an eager call
    # none, so that they round halves at other places (as much as 0.007 and 0.02 apart; 0.0 here).
    graph = tf.function(lambda image: model(image, training=False), [tf.TensorSpec((None, 16, 16, 16, 1))])
    np.testing.assert_allclose(served.serve(volume()), graph(volume()), rtol=0, atol=1e-6)
