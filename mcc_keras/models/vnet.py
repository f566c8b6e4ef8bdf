"""V-Net (Milletari et al. 2016), which brought the Dice loss to volumes."""

import keras
from keras import ops

from mcc_keras.models.arguments import check_count, check_counts, check_network, check_rate, scaled
from mcc_keras.models.blocks import conv, cropped, normalize, padded
from mcc_keras.models.deconvolution import Deconvolution
from mcc_keras.models.head import classifier, output_activation
from mcc_keras.models.resampling import PACKAGE

MULTIPLE = 16
LEFT_DEPTHS, RIGHT_DEPTHS = (1, 2, 3, 3, 3), (3, 3, 2, 1)


@keras.saving.register_keras_serializable(package=PACKAGE)
class TileChannels(keras.layers.Layer):
    """Repeat the channels of a volume up to a given number, so that it can be added to a wider one.

    Example:

    >>> import numpy as np
    >>> TileChannels(16)(np.ones((1, 2, 2, 2, 1), "float32")).shape
    TensorShape([1, 2, 2, 2, 16])
    """

    def __init__(self, channels, **kwargs):
        super().__init__(**kwargs)
        check_count("channels", channels)
        self.channels = channels

    def call(self, x):
        repeats = -(-self.channels // x.shape[-1])
        return ops.concatenate([x] * repeats, axis=-1)[..., : self.channels]

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.channels)

    def get_config(self):
        return {**super().get_config(), "channels": self.channels}


def VNet(
    input_shape,
    num_classes=1,
    *,
    activation="auto",
    channels=(16, 32, 64, 128, 256),
    dropout=0.0,
    normalization=None,
    width=1.0,
    foreground_fraction=None,
    name="vnet",
):
    """Build V-Net: five levels of 5³ convolutions, each stage learning what to add to its input.

    Args:
        input_shape: `(x, y, z, channels)`; a side may be None; any side of at least 16 voxels works.
        num_classes: 1 for one sigmoid channel, more for a softmax over as many channels.
        activation: `"auto"`, None for logits, or the name of a Keras activation.
        channels: Channels of the five levels, from fine to coarse.
        dropout: Fraction of the values set to zero after each stage in training.
        normalization: None as in the paper, `"batch"`, `"group"` or `"instance"`.
        width: Factor on the channel counts.
        foreground_fraction: Initial output of the network, by the bias of its head; None for a bias of 0.
        name: Name of the model.

    Returns:
        A functional `keras.Model`: `(batch, x, y, z, channels)` to `(batch, x, y, z, num_classes)` in float32.

    Raises:
        UsageError: An argument is out of range, or a side is shorter than 16 voxels.

    Example:

    >>> VNet((16, 16, 16, 1), 2, width=0.25).count_params()
    4075142

    References:
        Milletari, Navab, Ahmadi, *V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image
        Segmentation*, 3DV 2016.
    """
    input_shape = check_network(
        input_shape,
        num_classes,
        multiple=MULTIPLE,
        activation=activation,
        normalization=normalization,
        foreground_fraction=foreground_fraction,
        width=width,
    )
    check_rate("dropout", dropout)
    channels = scaled(check_counts("channels", channels, 5), width)
    stage = _Stages(dropout, normalization)

    volume = keras.Input(input_shape, name="image")
    x = padded(volume, MULTIPLE)
    lefts = []
    for level, (filters, depth) in enumerate(zip(channels, LEFT_DEPTHS, strict=True), 1):
        if level > 1:
            x = conv(x, filters, name=f"down{level - 1}_conv", kernel_size=2, strides=2, use_bias=True)
            x = stage.activate(x, f"down{level - 1}")
        x = stage(x, filters, depth, name=f"left{level}")
        lefts.append(x)
    for level, depth in zip((4, 3, 2, 1), RIGHT_DEPTHS, strict=True):
        x = Deconvolution(channels[level - 1], 2, name=f"up{level}_conv")(x)
        x = stage.activate(x, f"up{level}")
        x = keras.layers.Concatenate(name=f"right{level}_concat")([x, lefts[level - 1]])
        x = stage(x, x.shape[-1], depth, name=f"right{level}")
    x = classifier(x, num_classes, foreground_fraction=foreground_fraction)
    return keras.Model(volume, output_activation(cropped(x, volume, MULTIPLE), activation), name=name)


class _Stages:
    """Builds the stages of a V-Net, all with the same dropout and normalization."""

    def __init__(self, dropout, normalization):
        self.dropout, self.normalization = dropout, normalization

    def __call__(self, x, filters, depth, *, name):
        first = x if x.shape[-1] == filters else TileChannels(filters, name=f"{name}_tile")(x)
        for layer in range(1, depth + 1):
            x = conv(x, filters, name=f"{name}_layer{layer}_conv", kernel_size=5, use_bias=True)
            if layer == depth:
                x = keras.layers.Add(name=f"{name}_add")([x, first])
            x = self.activate(x, f"{name}_layer{layer}")
        return keras.layers.Dropout(self.dropout, name=f"{name}_dropout")(x) if self.dropout else x

    def activate(self, x, name):
        if self.normalization is not None:
            x = normalize(x, self.normalization, name=f"{name}_norm")
        return keras.layers.PReLU(shared_axes=(1, 2, 3), name=f"{name}_prelu")(x)
