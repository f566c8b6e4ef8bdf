"""The variables of a training as plain arrays: weights, optimizer, seeds, metrics; captured and restored by path."""

import re

import keras
import numpy as np

from mcc_keras.errors import RunError

_COUNTER = re.compile(r"_\d+(?=[/_]|$)")  # Keras counts the names of layers up in a process


def find_variables(model):
    """Return every variable that a step of a compiled model reads or writes, by a unique name.

    Keras' `model.variables` holds weights, statistics of batch normalization and states of seeds; the optimizer holds
    its slots, its step and the scale of the loss.
    """
    groups = {"model": model.variables, "optimizer": model.optimizer.variables, "metrics": model.metrics_variables}
    found = {}
    for group, variables in groups.items():
        for number, variable in enumerate(variables):
            path = _COUNTER.sub("", variable.path)
            found[f"{group}/{number:05d}/{path}"] = variable
    return found


def capture(model):
    """Return the value of each variable as a NumPy array."""
    return {name: np.asarray(variable) for name, variable in find_variables(model).items()}


def restore(model, arrays, *, path):
    """Assign arrays that `capture` returned.

    Args:
        model: Compiled Keras model whose optimizer and metrics are built.
        arrays: Dict of arrays.
        path: Where they come from, for errors.

    Raises:
        RunError: They belong to another network, optimizer or set of metrics.
    """
    variables = find_variables(model)
    if variables.keys() != arrays.keys():
        other = sorted(variables.keys() ^ arrays.keys())[:3]
        raise RunError(path, f"expected the variables of this training, found differences: {', '.join(other)}")
    for name, variable in variables.items():
        if tuple(variable.shape) != arrays[name].shape:
            problem = f"expected shape {tuple(variable.shape)} for {name}, found {arrays[name].shape}"
            raise RunError(path, problem)
    for name, variable in variables.items():
        variable.assign(arrays[name])


def build_metrics(model, image_shape):
    """Create the variables of metrics, which exist only once a batch has been seen; no weight changes.

    Args:
        model: Compiled Keras model.
        image_shape: (x, y, z, channels) of a volume.
    """
    image, mask = np.zeros((1, *image_shape), np.float32), np.zeros((1, *image_shape[:3], 1), np.float32)
    model.evaluate(image, mask, verbose=0)
    model.optimizer.build(model.trainable_variables)


class Restored(keras.callbacks.Callback):
    """Restores the metrics of an epoch that is continued, after Keras has reset them; once.

    Args:
        arrays: What `capture` returned, or `None` for a training from its beginning.
    """

    def __init__(self, arrays):
        super().__init__()
        self.arrays = arrays

    def on_epoch_begin(self, epoch, logs=None):
        if self.arrays is not None:
            variables = find_variables(self.model)
            for name in (name for name in variables if name.startswith("metrics/")):
                variables[name].assign(self.arrays[name])
        self.arrays = None
