"""The variables of a training as plain arrays: weights, optimizer, seeds, metrics; captured and restored by path."""

import re

import keras
import numpy as np

from mcc_keras.errors import RunError
from mcc_keras.training.callback_states import PREFIX

_COUNTER = re.compile(r"_\d+(?=[/_]|$)")  # Keras counts the names of layers up in a process


def find_variables(model, average=None):
    """Return every variable that a step of a compiled model reads or writes, by a unique name.

    Args:
        model: Compiled Keras model.
        average: Its `AveragedWeights`, or `None`.

    Keras' `model.variables` holds weights, statistics of batch normalization and states of seeds; the optimizer holds
    its slots, its step and the scale of the loss.
    """
    groups = {"model": model.variables, "optimizer": model.optimizer.variables, "metrics": model.metrics_variables}
    groups["average"] = average.variables if average else ()
    found = {}
    for group, variables in groups.items():
        for number, variable in enumerate(variables):
            path = _COUNTER.sub("", variable.path)
            found[f"{group}/{number:05d}/{path}"] = variable
    return found


def capture(model, average=None):
    """Return the value of each variable as a NumPy array; see `find_variables`."""
    return {name: np.asarray(variable) for name, variable in find_variables(model, average).items()}


def restore(model, arrays, average=None, *, path, metrics=True):
    """Assign arrays that `capture` returned.

    Args:
        model: Compiled Keras model whose optimizer and metrics are built.
        arrays: Dict of arrays.
        average: `AveragedWeights` of the model, or `None`.
        path: Where they come from, for errors.
        metrics: Whether metrics are restored, which count from the beginning of an epoch.

    Raises:
        RunError: They belong to another network, optimizer or set of metrics.
    """
    variables = find_variables(model, average)
    others = (PREFIX,) if metrics else (PREFIX, "metrics/")
    variables, arrays = (
        {name: value for name, value in values.items() if not name.startswith(others)} for values in (variables, arrays)
    )
    if variables.keys() != arrays.keys():
        other = sorted(variables.keys() ^ arrays.keys())[:3]
        raise RunError(path, f"expected the variables of this training, found differences: {', '.join(other)}")
    for name, variable in variables.items():
        if tuple(variable.shape) != arrays[name].shape:
            problem = f"expected shape {tuple(variable.shape)} for {name}, found {arrays[name].shape}"
            raise RunError(path, problem)
    for name, variable in variables.items():
        variable.assign(arrays[name])


def build_state(model, dataset):
    """Create the variables of metrics and optimizer, which Keras would create in the first step; no weight changes.

    A step that creates variables is traced twice.

    Args:
        model: Compiled Keras model.
        dataset: Its training data set, of which nothing is read.
    """
    x, y, *weight = (np.zeros((1, *part.shape[1:]), part.dtype.as_numpy_dtype) for part in dataset.element_spec)
    outputs = model.compute_output_spec(keras.KerasTensor((None, *x.shape[1:]), x.dtype))
    y_pred = keras.tree.map_structure(lambda output: np.zeros((1, *output.shape[1:]), "float32"), outputs)
    if len(keras.tree.flatten(outputs)) > 1:  # their losses are averaged one by one
        model.compute_loss(x, y, y_pred, *weight)
    model.compute_metrics(x, y, y_pred, *weight)
    model.reset_metrics()
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
