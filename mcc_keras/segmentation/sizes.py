"""Which sizes of windows a network takes."""

import tensorflow as tf

LARGEST_STEP = 128  # voxels that a voxel of the coarsest level may stand for


def trace_network(model, size, *, predict=None):
    """Return the graph of a network on an image of a size (x, y, z); nothing is computed.

    Args:
        model: Keras model.
        size: (x, y, z).
        predict: Function of an image (x, y, z, channels) that calls the model; `None`: the model alone.

    Returns:
        `tf.Graph`; `None` where the network does not take such an image, or returns another number of voxels.
    """
    sides = model.input_shape[1:4]
    if any(known not in (None, n) for known, n in zip(sides, size, strict=True)):
        return None
    call = tf.function(predict or (lambda image: model(image[None], training=False)[0]), autograph=False)
    try:  # traced, since Keras' own shapes do not see that two inputs of a layer differ
        found = call.get_concrete_function(tf.TensorSpec((*size, model.input_shape[-1]), tf.float32))
    except Exception:  # each layer refuses in its own way
        return None
    return found.graph if tuple(found.output_shapes[:3]) == tuple(size) else None


def takes(model, size, *, predict=None):
    """Return whether a network takes images of a size (x, y, z) and returns as many voxels; see `trace_network`."""
    return trace_network(model, size, predict=predict) is not None


def nearest_size(model, size, *, predict=None):
    """Return the size that a network takes which has the least difference in voxels, or `None` if none is found.

    Args:
        model: Keras model.
        size: (x, y, z).
        predict: As for `trace_network`.

    Example:

    >>> from mcc_keras.models import DenseVNet
    >>> nearest_size(DenseVNet((None, None, None, 1)), (40, 37, 4))
    (40, 37, 8)
    """
    known = model.input_shape[1:4]
    steps = [2**power for power in range(LARGEST_STEP.bit_length())]
    rules = [lambda n, step: max(n, step), lambda n, step: -(-n // step) * step]
    rules += [lambda n, step: max(1, n // step) * step]
    found = {tuple(rule(n, step) for n in size) for step in steps for rule in rules}
    found = {tuple(n if fixed is None else fixed for n, fixed in zip(each, known, strict=True)) for each in found}
    ordered = sorted(found, key=lambda each: (sum(abs(a - b) for a, b in zip(each, size, strict=True)), each))
    return next((each for each in ordered if takes(model, each, predict=predict)), None)
