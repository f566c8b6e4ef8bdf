"""Cost and receptive field of a network, computed from its layers without running it."""

import dataclasses
import math

import keras

from mcc_keras.errors import UsageError
from mcc_keras.models.arguments import check_count, is_count
from mcc_keras.models.deconvolution import Deconvolution
from mcc_keras.models.dense_block import DenseBlock
from mcc_keras.models.resampling import TrilinearUpsampling

BYTES_PER_VALUE = 4


@dataclasses.dataclass(frozen=True)
class Description:
    """Result of `describe`; `print` shows one line per figure."""

    name: str
    input_shape: tuple
    trainable_parameters: int
    parameters: int
    multiply_adds: int
    activation_bytes: int
    receptive_field: int

    def __str__(self):
        sides = " x ".join(map(str, self.input_shape))
        return (
            f"{self.name} on {sides}\n"
            f"  parameters         {self.trainable_parameters:,} trainable, {self.parameters:,} in all\n"
            f"  multiply-adds      {self.multiply_adds / 1e9:.2f} G per volume, forward\n"
            f"  activation memory  {self.activation_bytes / 2**30:.2f} GiB for the batch in float32\n"
            f"  receptive field    {self.receptive_field} voxels per side"
        )


def describe(model, input_shape=None, *, batch_size=1):
    """Describe a network of this package: parameters, multiply-adds, activation memory and receptive field.

    Multiply-adds are those of the convolutions. Activation memory is the sum of the input and all layer outputs in
    float32, with the intermediate values of dense blocks and trilinear passes: a training step without gradients and
    optimizer, if nothing is fused or freed. The receptive field is that of the longest path through the network, where
    each window of k voxels adds `(k - 1)` times the distance of its voxels, as in the papers. Behind a finer grid the
    true extent depends on the position and differs by less than one voxel of the coarsest grid.

    Args:
        model: A network of this package.
        input_shape: `(x, y, z)` or `(x, y, z, channels)` to compute for; by default the sides the model was built with.
        batch_size: Volumes that are counted in the activation memory.

    Returns:
        A `Description`; `print` it.

    Raises:
        UsageError: A side is unknown, not a positive integer, or shorter than the network accepts; or `batch_size` is
            not an integer of at least 1.

    Example:

    >>> from mcc_keras.models import DenseVNet
    >>> round(describe(DenseVNet((64, 64, 64, 1), 2)).multiply_adds / 1e9, 1)
    2.5
    """
    check_count("batch_size", batch_size)
    sides = _sides(model, input_shape)
    shapes, reach = {}, {}
    multiply_adds = values = 0
    for layer in model.layers:
        outputs = _tensors(layer.output)
        if isinstance(layer, keras.layers.InputLayer):
            shapes[id(outputs[0])], reach[id(outputs[0])] = (1, *sides, layer.output.shape[-1]), (1, 1.0)
            values += math.prod(shapes[id(outputs[0])])
            continue
        inputs = [shapes[id(tensor)] for tensor in _tensors(layer.input)]
        output = tuple(layer.compute_output_shape(inputs if len(inputs) > 1 else inputs[0]))
        shapes[id(outputs[0])] = output
        ways = [reach[id(tensor)] for tensor in _tensors(layer.input)]
        reach[id(outputs[0])] = _reach(layer, max(ways))
        multiply_adds += _multiply_adds(layer, inputs[0], output)
        values += _values(layer, inputs[0], output)
    return Description(
        model.name,
        (*sides, model.input_shape[-1]),
        sum(math.prod(weight.shape) for weight in model.trainable_weights),
        model.count_params(),
        multiply_adds,
        round(values) * batch_size * BYTES_PER_VALUE,
        max(field for field, _ in reach.values()),
    )


def _sides(model, input_shape):
    """Return the three sides to compute for: the given ones, or those of the model."""
    channels = model.input_shape[-1]
    shape = model.input_shape[1:] if input_shape is None else input_shape
    shape = tuple(shape) if isinstance(shape, (tuple, list)) else ()
    if len(shape) not in (3, 4) or not all(map(is_count, shape[:3])) or shape[3:] not in ((), (channels,)):
        raise UsageError(
            f"`input_shape` must give three sides, each a positive integer, and no channels or {channels}; without it "
            f"the model must have been built with sides that are known. Received: input_shape={input_shape!r}, "
            f"model.input_shape={model.input_shape}"
        )
    return shape[:3]


def _tensors(tensors):
    return list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]


def _multiply_adds(layer, input_shape, output_shape):
    if isinstance(layer, DenseBlock):
        return math.prod(output_shape[1:4]) * sum(math.prod(kernel.shape) for kernel in layer.kernels)
    if isinstance(layer, Deconvolution | keras.layers.Conv3DTranspose):
        return math.prod(input_shape[1:4]) * math.prod(layer.kernel.shape)
    if isinstance(layer, keras.layers.Conv3D):
        return math.prod(output_shape[1:4]) * math.prod(layer.kernel.shape)
    return 0


def _values(layer, input_shape, output_shape):
    if isinstance(layer, DenseBlock):
        # Each layer makes a convolution, its normalized form, its positive part, and joins it to all before it.
        new, known = layer.growth_rate, input_shape[4]
        return math.prod(output_shape[1:4]) * sum(known + (3 + i) * new for i in range(1, layer.depth + 1))
    if isinstance(layer, TrilinearUpsampling) and layer.factor > 1:
        # One axis after the other, the last axis first.
        return math.prod(output_shape[1:]) * (1 + 1 / layer.factor + 1 / layer.factor**2)
    return math.prod(output_shape[1:])


def _reach(layer, way):
    """Carry (receptive field, distance of neighboring voxels), both in voxels of the input, through a layer."""
    field, step = way
    if isinstance(layer, DenseBlock):
        return field + round(2 * layer.dilation * layer.depth * step), step
    if isinstance(layer, TrilinearUpsampling):
        return field + (round(step) if layer.factor > 1 else 0), step / layer.factor
    if isinstance(layer, Deconvolution):
        step = step / layer.factor
        return field + round((layer.factor - 1) * step), step
    if isinstance(layer, keras.layers.Conv3DTranspose):
        step = step / layer.strides[0]
        return field + round((layer.kernel_size[0] - 1) * step), step
    if isinstance(layer, keras.layers.Conv3D):
        return field + round((layer.kernel_size[0] - 1) * layer.dilation_rate[0] * step), step * layer.strides[0]
    if isinstance(layer, (keras.layers.AveragePooling3D, keras.layers.MaxPooling3D)):
        return field + round((layer.pool_size[0] - 1) * step), step * layer.strides[0]
    return field, step
