"""Our side of benchmarks/window.py: a scan in windows with a `Segmenter`, as `segment` and an export compute it."""

import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

from mcc_keras import models  # before keras, so that it uses oneDNN on every processor
import keras
import numpy as np
import tensorflow as tf
from process import peak_kib, serve

from mcc_keras.preprocessing import Preprocessing
from mcc_keras.runs.window import Window
from mcc_keras.segmentation.segmenter import Segmenter
from mcc_keras.task import Task

AFFINE = np.eye(4, dtype=np.float32)
state = {}


def build(classes, *, one_layer):
    activation = "sigmoid" if classes == 1 else "softmax"
    if not one_layer:
        return models.DenseVNet((None, None, None, 1), classes, activation=activation)
    inputs = keras.Input((None, None, None, 1))
    return keras.Model(inputs, keras.layers.Conv3D(classes, 1, activation=activation)(inputs))


def write_check(path, window):
    """Write the weights of the network of one class, a window and its logits; return the number of parameters."""
    model, generator = models.DenseVNet((None, None, None, 1), 1, activation=None), np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) < 5:
            offset = weight.path.endswith(("gamma", "moving_variance"))
            weight.assign(offset + 0.5 * generator.uniform(size=weight.shape))
    image = generator.normal(size=(1, *window, 1)).astype("float32")
    weights = {weight.path.replace("/", "_").replace("_conv_", "_"): np.asarray(weight) for weight in model.weights}
    np.savez(path, image=image, logits=model.predict_on_batch(image), **weights)
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def prepare(shape, window, classes, *, one_layer=False):
    """Build the segmenter and run one window, after which `peak_kib` is that of one window."""
    task = Task() if classes == 1 else Task(labels=tuple((number,) for number in range(1, classes)))
    box = Preprocessing(size=tuple(shape), clip_percentiles=None)
    model = build(classes, one_layer=one_layer)
    segmenter = state["segmenter"] = Segmenter(model, box, task=task, window=Window(size=tuple(window)))
    state["image"] = np.random.default_rng(0).normal(100, 30, (*shape, 1)).astype(np.float32)
    state["box"] = tf.function(lambda image, affine: segmenter.graph.prepare(image, affine)[0][0].box)
    state["window"] = tf.function(segmenter.predict)
    state["part"] = tf.random.stateless_normal((*window, 1), (1, 2))
    state["window"](state["part"])
    return peak_kib()


def run(windows=0):
    """Seconds, and seconds of the processor, of a mask, of the preprocessing in it, and of the network on windows."""
    found = {
        "mask": timed(lambda: state["segmenter"].segment(state["image"], AFFINE)["mask"].numpy()),
        "preprocessing": timed(
            lambda: state["box"](tf.constant(state["image"]), tf.constant(AFFINE, tf.float64)).numpy()
        ),
        "network": timed(lambda: [state["window"](state["part"]).numpy() for _ in range(windows)]),
    }
    return {name: list(seconds) for name, seconds in found.items()}


def timed(work):
    start, start_of_processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - start_of_processor


if __name__ == "__main__":
    serve(write_check, prepare, run)
