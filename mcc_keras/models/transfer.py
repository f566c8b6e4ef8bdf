"""Transfer learning: copy weights from one network to another and list those left out."""

import dataclasses
from pathlib import Path

from mcc_keras.errors import DataError, UsageError
from mcc_keras.models.model_file import read_model, refuse_nonfinite


@dataclasses.dataclass(frozen=True)
class Transfer:
    """Paths of the weights that were copied, and of those of the target that were left, each with the reason."""

    copied: tuple
    left: dict

    def __str__(self):
        lines = [f"copied {len(self.copied)} weights, left {len(self.left)}"]
        return "\n".join([*lines, *(f"  {path}: {reason}" for path, reason in self.left.items())])


def transfer_weights(source, model):
    """Copy every weight of `source` that has the same path and shape in `model`.

    Between different numbers of classes, all weights but those of the classifier and the spatial prior are copied;
    between different numbers of channels, all but those of the layers that read the image.

    Args:
        source: A model, or the path of a `.keras` file.
        model: The model to copy into; its other weights keep their values.

    Returns:
        A `Transfer` with `copied` and `left`; `print` it.

    Raises:
        DataError: The file does not exist or is damaged, holds code or weights that are not finite, or takes far more
            memory than it has bytes.
        UsageError: No kernel fits, so that nothing would be transferred.

    Example:

    >>> from mcc_keras.models import DenseVNet
    >>> print(transfer_weights(DenseVNet((16, 16, 16, 1), 1), DenseVNet((16, 16, 16, 1), 3)))
    copied 159 weights, left 2
      final_conv/kernel: shape (3, 3, 3, 61, 3), in the source (3, 3, 3, 61, 1)
      final_conv/bias: shape (3,), in the source (1,)
    """
    if isinstance(source, (str, Path)):
        source = _read(Path(source))
    return copy_weights({weight.path: weight.value for weight in source.weights}, model, source=source.name)


def copy_weights(values, model, *, source):
    """Copy tensors into the weights of a model that have the same path and shape; see `transfer_weights`.

    Args:
        values: Dict path → tensor.
        model: The model to copy into.
        source: Name of the network that they come from, for errors.
    """
    fitting, left = [], {}
    for weight in model.weights:
        found = values.get(weight.path)
        if found is None:
            left[weight.path] = "not in the source"
        elif tuple(found.shape) != tuple(weight.shape):
            left[weight.path] = f"shape {tuple(weight.shape)}, in the source {tuple(found.shape)}"
        else:
            fitting.append((weight, found))
    # A bias of one class fits between any two networks.
    if not any(len(weight.shape) > 1 for weight, _ in fitting):
        raise UsageError(
            f"No kernel of `source` has the path and shape of one of `model`: they must be the same kind of network. "
            f"Received: source={source!r}, model={model.name!r}"
        )
    for weight, found in fitting:
        weight.assign(found)
    return Transfer(tuple(weight.path for weight, _ in fitting), left)


def _read(path):
    if not path.is_file():
        raise DataError(path, "expected a `.keras` file, found none")
    model = read_model(path)
    refuse_nonfinite([(weight, weight.value) for weight in model.weights], path)
    return model
