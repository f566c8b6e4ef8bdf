"""Transfer learning: carry the weights of one network into another, with a list of what stayed behind."""

import dataclasses
from pathlib import Path

import keras


@dataclasses.dataclass(frozen=True)
class Transfer:
    """The paths of the weights that were copied, and those of the target that were left, each with its reason."""

    copied: tuple
    left: dict

    def __str__(self):
        lines = [f"copied {len(self.copied)} weights, left {len(self.left)}"]
        return "\n".join([*lines, *(f"  {path}: {reason}" for path, reason in self.left.items())])


def transfer_weights(source, model):
    """Copy every weight of `source` that has the same path and shape in `model`.

    A network with another number of classes takes everything but its classifier.

    Args:
        source: A model, or the path of a `.keras` file.
        model: The model to copy into; its other weights keep their values.

    Returns:
        A `Transfer` with `copied` and `left`; `print` it.

    Example:

    >>> from mcc_keras.models import DenseVNet
    >>> print(transfer_weights(DenseVNet((16, 16, 16, 1), 1), DenseVNet((16, 16, 16, 1), 3)))
    copied 159 weights, left 2
      final_conv/kernel: shape (3, 3, 3, 61, 3), in the source (3, 3, 3, 61, 1)
      final_conv/bias: shape (3,), in the source (1,)
    """
    if isinstance(source, (str, Path)):
        source = keras.saving.load_model(source, compile=False)
    weights = {weight.path: weight for weight in source.weights}
    copied, left = [], {}
    for weight in model.weights:
        found = weights.get(weight.path)
        if found is None:
            left[weight.path] = "not in the source"
        elif tuple(found.shape) != tuple(weight.shape):
            left[weight.path] = f"shape {tuple(weight.shape)}, in the source {tuple(found.shape)}"
        else:
            weight.assign(found.value)
            copied.append(weight.path)
    return Transfer(tuple(copied), left)
