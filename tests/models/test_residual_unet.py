"""The residual U-Net beside MONAI's, with the same weights.

MONAI needs torch, so it runs in a process of its own: in this environment if it has it, or in the one whose interpreter
MCC_KERAS_PEERS_PYTHON names.
"""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from mcc_keras.models import ResidualUNet

PYTHON = os.environ.get("MCC_KERAS_PEERS_PYTHON", sys.executable)
SHAPE = (24, 16, 8)
MONAI = """
import sys
import numpy as np, torch
from monai.networks.nets import UNet
given = dict(np.load(sys.argv[1]))
image = torch.from_numpy(given.pop("image"))
classes, normalization = int(given.pop("classes")), str(given.pop("normalization"))
kind = "batch" if normalization == "batch" else ("instance", {"affine": True})
model = UNet(3, image.shape[1], classes, (16, 32, 64, 128), (2, 2, 2), num_res_units=2, norm=kind).eval()
state = {name: value for name, value in model.state_dict().items() if not name.endswith("tracked")}
assert set(state) == set(given), set(state) ^ set(given)
model.load_state_dict({name: torch.from_numpy(value) for name, value in given.items()}, strict=False)
with torch.no_grad():
    np.savez(sys.argv[2], output=model(image), parameters=sum(weight.numel() for weight in model.parameters()))
"""
# What a Keras weight is called in torch.
VARIABLES = {"kernel": "weight", "gamma": "weight", "alpha": "weight", "bias": "bias", "beta": "bias"}
VARIABLES |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
PARTS = {"conv": "conv", "norm": "adn.N", "prelu": "adn.A"}


def name_in_monai(path):
    """Return what MONAI calls a weight: its levels lie in one another, from the outside to the inside."""
    layer, variable = path.split("/")
    place, part = layer.rsplit("_", 1)
    if place == "final":
        return f"model.2.1.conv.unit0.conv.{VARIABLES[variable]}"
    level = 4 if place.startswith("bottom") else int(place.removesuffix("_layer1").removesuffix("_layer2")[-1])
    inside = "model." + "1.submodule." * (level - 1)
    if place.startswith("up"):
        return f"{inside}2.0.{PARTS[part]}.{VARIABLES[variable]}"
    if place.startswith("right"):
        return f"{inside}2.1.conv.unit0.{PARTS[part]}.{VARIABLES[variable]}"
    inside += "" if level == 4 else "0."
    if part == "shortcut":
        return f"{inside}residual.{VARIABLES[variable]}"
    return f"{inside}conv.unit{int(place[-1]) - 1}.{PARTS[part]}.{VARIABLES[variable]}"


def in_order(path, value):
    """Return a weight with torch's order of axes; kernels are mirrored, as the docstring of the network says."""
    return value[::-1, ::-1, ::-1].transpose(4, 3, 0, 1, 2) if path.endswith("kernel") else value.reshape(-1)


@pytest.mark.parametrize(("classes", "channels", "normalization"), [(1, 1, "batch"), (3, 2, "instance")])
def test_outputs_are_those_of_monai_with_the_same_weights(classes, channels, normalization, tmp_path):
    keras.utils.set_random_seed(7)
    model = ResidualUNet((*SHAPE, channels), classes, activation=None, normalization=normalization)
    generator = np.random.default_rng(0)
    for weight in model.weights:
        if "kernel" not in weight.path:  # biases, slopes and statistics without a special value
            weight.assign(weight.value + 0.3 * generator.uniform(size=weight.shape))
    image = generator.normal(size=(2, *SHAPE, channels)).astype("float32")
    given = {name_in_monai(w.path): np.ascontiguousarray(in_order(w.path, w.numpy())) for w in model.weights}
    mirrored = np.ascontiguousarray(np.moveaxis(image[:, ::-1, ::-1, ::-1], -1, 1))
    np.savez(tmp_path / "given.npz", image=mirrored, classes=classes, normalization=normalization, **given)

    command = [PYTHON, "-c", MONAI, tmp_path / "given.npz", tmp_path / "theirs.npz"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "ModuleNotFoundError" in done.stderr:
        pytest.skip(f"no MONAI in {PYTHON}; set MCC_KERAS_PEERS_PYTHON to an interpreter that has it")
    assert done.returncode == 0, done.stderr
    theirs = np.load(tmp_path / "theirs.npz")
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == theirs["parameters"]
    expected = np.moveaxis(theirs["output"], 1, -1)[:, ::-1, ::-1, ::-1]
    np.testing.assert_allclose(model.predict_on_batch(image), expected, atol=1e-4 * np.abs(expected).max())


def test_full_size_holds_no_more_channels_than_classes():
    model = ResidualUNet((16, 16, 16, 1), 3)
    wide = [layer.name for layer in model.layers if layer.output.shape[1] == 16 and layer.output.shape[-1] > 3]
    assert wide == []


@pytest.mark.parametrize("sides", [(1, 4, 4), (2, 2, 2)])
def test_the_bfloat16_gradient_of_a_transposed_convolution_is_right_on_thin_grids(sides):
    arguments = {"filters": 8, "kernel_size": 3, "strides": 2, "padding": "same"}
    x = np.random.default_rng(0).normal(size=(2, *sides, 24)).astype("float32")
    halves = keras.layers.Conv3DTranspose(**arguments, dtype="mixed_bfloat16")
    whole = keras.layers.Conv3DTranspose(**arguments)
    halves.build(x.shape), whole.build(x.shape)
    whole.set_weights(halves.get_weights())
    found = []
    for layer in (halves, whole):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.cast(layer(x), "float32") ** 2)
        found.append(np.asarray(tape.gradient(loss, layer.kernel.value)))
    assert np.linalg.norm(found[0] - found[1]) < 0.05 * np.linalg.norm(found[1])
