"""Whether a network takes patches and windows of some size."""

import tensorflow as tf

from mcc_keras.errors import UsageError

LARGEST_STEP = 128  # voxels that a voxel of the coarsest level may stand for


def refuse_sizes(model, recipe):
    """Refuse a recipe whose patches or window the network cannot take.

    Args:
        model: Keras model.
        recipe: `Recipe`.

    Raises:
        UsageError: With the nearest size that works, where one is found.
    """
    for name, option, value in (("patches", "patch", recipe.patches), ("window", "window", recipe.window)):
        if value and not takes(model, value.size):
            nearest = nearest_size(model, value.size)
            way_out = "Give another network."
            if nearest:
                text, call = ",".join(map(str, nearest)), f"mk.{type(value).__name__}(size={nearest})"
                way_out = f"The nearest that works is --{option}-size {text} (mk.train({name}={call}))."
            raise UsageError(
                f"`{name}` must have a size that {model.name} takes and returns. Received: size={value.size}. {way_out}"
            )


def takes(model, size):
    """Return whether a network takes images of a size (x, y, z) and returns as many voxels; nothing is computed."""
    sides = model.input_shape[1:4]
    if any(known not in (None, n) for known, n in zip(sides, size, strict=True)):
        return False
    image = tf.TensorSpec((1, *size, model.input_shape[-1]), tf.float32)
    try:  # traced, since Keras' own shapes do not see that two inputs of a layer differ
        found = tf.function(lambda image: model(image, training=False), autograph=False).get_concrete_function(image)
    except Exception:  # each layer refuses in its own way
        return False
    return tuple(found.output_shapes[1:4]) == tuple(size)


def nearest_size(model, size):
    """Return the size that a network takes which has the least difference in voxels, or `None` if none is found.

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
    return next((each for each in ordered if takes(model, each)), None)
