"""Trilinear upsampling against torch, in compiled graphs and on the other backends; padding around an identity body."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from mcc_keras.models.blocks import cropped, padded
from mcc_keras.models.resampling import TrilinearUpsampling

ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("MCC_KERAS_PEERS_PYTHON", sys.executable)
FACTORS = (1, 2, 3, 4)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with a volume, and what the layer makes of it here with each factor."""
    folder = tmp_path_factory.mktemp("upsampling")
    np.save(folder / "x.npy", noise(2, 3, 4, 5, 2))
    for factor in FACTORS:
        np.save(folder / f"{factor}.npy", TrilinearUpsampling(factor)(noise(2, 3, 4, 5, 2)))
    return folder


def run(code, folder, *, needs, backend):
    """Run code in an interpreter that has what it needs, or skip."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    probe = subprocess.run([PYTHON, "-c", f"import {needs}"], env=environment, capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"no {needs} in {PYTHON}; set MCC_KERAS_PEERS_PYTHON to an interpreter that has it")
    done = subprocess.run([PYTHON, "-c", code, folder], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()


TORCH = """
import pathlib, sys
import numpy as np, torch
folder = pathlib.Path(sys.argv[1])
x = torch.from_numpy(np.load(folder / "x.npy")).permute(0, 4, 1, 2, 3)
for factor in map(int, "1234"):
    y = torch.nn.functional.interpolate(x, scale_factor=factor, mode="trilinear", align_corners=False)
    np.testing.assert_allclose(np.load(folder / f"{factor}.npy"), y.permute(0, 2, 3, 4, 1).numpy(), rtol=0, atol=1e-5)
    print(factor)
"""


def test_upsampling_equals_that_of_torch(written):
    assert run(TORCH, written, needs="torch", backend="torch") == list("1234")


LAYER = """
import pathlib, sys
import keras, numpy as np
from mcc_keras.models.resampling import TrilinearUpsampling
folder = pathlib.Path(sys.argv[1])
x = np.load(folder / "x.npy")
for factor in map(int, "1234"):
    layer = TrilinearUpsampling(factor)
    if keras.backend.backend() == "jax":
        import jax
        layer = jax.jit(layer)
    y = keras.ops.convert_to_numpy(layer(x))
    np.testing.assert_allclose(y, np.load(folder / f"{factor}.npy"), rtol=0, atol=1e-5)
    print(factor)
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_upsampling_is_the_same_on(backend, written):
    assert run(LAYER, written, needs=f"{backend}, keras", backend=backend) == list("1234")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_xla_compiles_upsampling_to_the_same_values_and_gradients(dtype):
    layer, x, y = TrilinearUpsampling(2, dtype=dtype), noise(1, 3, 4, 5, 2), noise(1, 6, 8, 10, 2, seed=1)

    def value_and_gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = layer(x)
            total = tf.reduce_sum(tf.cast(value, "float32") * y)
        return tf.cast(value, "float32"), tf.cast(tape.gradient(total, x), "float32")

    tolerance = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 2e-2}[dtype]
    compiled = tf.function(value_and_gradient, jit_compile=True)
    for found, expected in zip(compiled(tf.cast(x, dtype)), value_and_gradient(tf.cast(x, dtype)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_the_gradient_of_upsampling_is_that_of_finite_differences():
    layer, x, y = TrilinearUpsampling(3), noise(1, 2, 3, 2, 1), noise(1, 6, 9, 6, 1, seed=1)
    variable = tf.Variable(x)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(variable) ** 2 * y)
    differences = np.empty(x.size)
    for index in range(x.size):
        step = np.zeros(x.size, "float32")
        step[index] = 0.125
        # A central difference of a quadratic function is exact.
        up, down = (float(tf.reduce_sum(layer(x + sign * step.reshape(x.shape)) ** 2 * y)) for sign in (1, -1))
        differences[index] = (up - down) / 0.25
    np.testing.assert_allclose(np.ravel(tape.gradient(total, variable)), differences, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("multiple", [8, 16])
@pytest.mark.parametrize("sides", [(16, 17, 31), (32, 16, 16), (25, 23, 29)])
def test_around_an_identity_body_padding_and_cropping_return_every_voxel_bit_for_bit(sides, multiple):
    x = noise(2, *sides, 3)
    for built in (sides, (None, None, None)):
        volume = keras.Input((*built, 3))
        body = keras.layers.Identity()(padded(volume, multiple))
        model = keras.Model(volume, cropped(body, volume, multiple))
        np.testing.assert_array_equal(model(x), x)
        np.testing.assert_array_equal(model.predict(x, verbose=0), x)
