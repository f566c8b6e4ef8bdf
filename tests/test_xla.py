"""`fit` and `evaluate` compiled by XLA, as Keras compiles them wherever there is a GPU."""

import json
import os
import subprocess
import sys

import pytest

# XLA need not optimize what runs once.
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
CODE = """
import json, sys
import mcc_keras as mk
import keras
import numpy as np
from mcc_keras import metrics
from mcc_keras.losses import LOSSES, get_loss

def scores():
    names = ("DiceScore", "JaccardScore", "Sensitivity", "Precision", "VolumetricSimilarity")
    pooled = [metrics.DiceScore(pool="all", name="pooled"), metrics.MatthewsCorrelationCoefficient()]
    return [getattr(metrics, name)() for name in names] + pooled

def head(channels):
    inputs = keras.Input((6, 5, 4, 1))
    features = keras.layers.Conv3D(2, 3, padding="same")(inputs)
    activation = "sigmoid" if channels == 1 else "softmax"
    classes = {path: name for name, (path, _) in reversed(LOSSES.items())}
    names = LOSSES if channels == 1 else classes.values()  # of several channels each class once
    heads = {name: keras.layers.Conv3D(channels, 1, activation=activation, name=name)(features) for name in names}
    model = keras.Model(inputs, heads)
    chosen = scores() if channels == 1 else scores()[-2:]
    return model, {name: get_loss(name) for name in names}, {"mcc": chosen}, (6, 5, 4, 1)

def network(build, side, **arguments):
    return build((side,) * 3 + (1,), **arguments), mk.MCCLoss(), [metrics.DiceScore(pool="all")], (side,) * 3 + (1,)

BUILD = {
    "1 channel": lambda: head(1),
    "3 channels": lambda: head(3),
    "dense_vnet": lambda: network(mk.DenseVNet, 8, depths=(1, 1, 1), width=0.125),
    "vnet": lambda: network(mk.VNet, 16, width=0.0625),
    "voxresnet": lambda: network(mk.VoxResNet, 8, width=0.0625, deep_supervision=True),
    "unet3d": lambda: network(mk.UNet3D, 8, width=0.03),
    "residual_unet": lambda: network(mk.ResidualUNet, 8, width=0.125),
}

def run(name, jit_compile):
    keras.utils.set_random_seed(3)
    model, loss, chosen, shape = BUILD[name]()
    how = {"jit_compile": jit_compile, "run_eagerly": not jit_compile}
    model.compile(keras.optimizers.SGD(0.01), loss, metrics=chosen, **how)
    generator = np.random.default_rng(0)
    image = generator.normal(size=(4, *shape)).astype("float32")
    mask = (image > 0.3).astype("int32") * (2 if name == "3 channels" else 1)
    mask = {key: mask for key in loss} if isinstance(loss, dict) else mask
    fitted = model.fit(image, mask, batch_size=2, shuffle=False, verbose=0).history
    found = {"fit " + key: float(values[0]) for key, values in fitted.items()}
    if name.endswith("channel"):  # once: compilation is what takes the time
        evaluated = model.evaluate(image, mask, batch_size=2, verbose=0, return_dict=True)
        found |= {"evaluate " + key: float(value) for key, value in evaluated.items()}
    return {"found": found, "jit_compile": model.jit_compile}

print(json.dumps({name: {"xla": run(name, True), "eager": run(name, False)} for name in sys.argv[1:]}))
"""
NAMES = ("1 channel", "3 channels", "dense_vnet", "vnet", "voxresnet", "unet3d", "residual_unet")


@pytest.fixture(scope="module")
def results():
    environment = {**os.environ, "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {QUICK}".strip()}
    command = [sys.executable, "-c", CODE, *NAMES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", NAMES)
def test_fit_and_evaluate_under_xla_find_what_they_find_eagerly(name, results):
    xla, eager = results[name]["xla"], results[name]["eager"]
    assert (xla["jit_compile"], eager["jit_compile"]) == (True, False)
    assert xla["found"] == pytest.approx(eager["found"], abs=1e-5)
