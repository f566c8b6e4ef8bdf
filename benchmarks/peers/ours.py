"""The Keras side of benchmarks/networks.py: the networks as a user trains and asks them, in graph mode."""

import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

from mcc_keras import models  # before keras, so that it uses oneDNN on every processor
import keras
import numpy as np
from process import serve

NETWORKS = {"dense_vnet": "DenseVNet", "vnet": "VNet", "voxresnet": "VoxResNet", "unet": "UNet3D"}
timed = {}


def build(network, side):
    return getattr(models, NETWORKS[network])((side, side, side, 1), 1, activation=None)


def write_check(network, path):
    """Write weights without a special value, an image, and the logits; return the number of trainable parameters."""
    model, generator = build(network, 32), np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) < 5 or weight.path.endswith("alpha"):
            offset = weight.path.endswith(("gamma", "moving_variance"))
            weight.assign(offset + 0.5 * generator.uniform(size=weight.shape))
    image = generator.normal(size=(1, 32, 32, 32, 1)).astype("float32")
    weights = {weight.path.replace("/", "_").replace("_conv_", "_"): np.asarray(weight) for weight in model.weights}
    np.savez(path, image=image, logits=model.predict_on_batch(image), **weights)
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def prepare(network, side, *, batch, work, policy="float32"):
    """Build what `run` will time: a training step as `fit` makes it, or inference."""
    keras.config.set_dtype_policy(policy)
    model = build(network, side)
    image = np.random.default_rng(0).normal(size=(batch, side, side, side, 1)).astype("float32")
    mask = (image > 1).astype("float32")
    image, mask = keras.ops.convert_to_tensor(image), keras.ops.convert_to_tensor(mask)
    if work == "infer":
        timed["run"] = lambda: model.predict_on_batch(image)
    else:
        model.compile(keras.optimizers.Adam(1e-3), keras.losses.BinaryCrossentropy(from_logits=True))
        timed["run"] = lambda: model.train_on_batch(image, mask)


def run():
    """Seconds of one run."""
    start = time.perf_counter()
    timed["run"]()
    return time.perf_counter() - start


if __name__ == "__main__":
    serve(write_check, prepare, run)
