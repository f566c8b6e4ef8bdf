"""What a training starts from: the weights of another run, and layers that keep theirs."""

import fnmatch

from mcc_keras.errors import UsageError
from mcc_keras.models.transfer import copy_weights
from mcc_keras.runs.run import read_run
from mcc_keras.segmentation.segmenter import load_model


def load_weights(model, run):
    """Copy the weights of a finished run into a model, wherever path and shape agree; return the `Transfer`.

    Args:
        model: Keras model.
        run: Folder of the run, whose network may have other classes or channels.

    Raises:
        RunError: The run is not finished, or damaged.
        UsageError: The run has another kind of network.
    """
    source, weights = load_model(read_run(run))
    return copy_weights({variable.path: value for variable, value in weights}, model, source=f"{source.name} in {run}")


def freeze_layers(model, patterns):
    """Keep the weights of layers as they are.

    Args:
        model: Keras model.
        patterns: Names of layers, with `*` and `?` as wildcards. Batch normalization in a frozen layer uses its moving
            statistics, as always in Keras.

    Raises:
        UsageError: A pattern freezes nothing, or nothing is left to train.

    Example:

    >>> import keras
    >>> layers = [keras.Input((4, 4, 4, 1)), keras.layers.Conv3D(2, 3, name="first"), keras.layers.Conv3D(1, 1)]
    >>> model = keras.Sequential(layers)
    >>> freeze_layers(model, ["fir*"])
    >>> len(model.trainable_weights)
    2
    """
    for pattern in patterns:
        before = len(model.trainable_weights)
        layers = model._flatten_layers(include_self=False)
        for layer in [layer for layer in layers if fnmatch.fnmatchcase(layer.name, pattern)]:
            layer.trainable = False
        if len(model.trainable_weights) == before:
            names = ", ".join(layer.name for layer in model.layers if layer.weights)
            raise UsageError(
                f"`freeze` must name layers with weights to train. Received: {pattern!r}. Layers: {names}."
            )
    if patterns and not model.trainable_weights:
        raise UsageError(f"`freeze` must leave weights to train. Received: freeze={tuple(patterns)!r}.")
