"""Residual U-Net (Kerfoot et al. 2019), which halves the grid at its first convolution."""

import keras

from mcc_keras.models.arguments import check_counts, check_network, scaled
from mcc_keras.models.blocks import KERNEL_INITIALIZER, conv, cropped, normalize, padded
from mcc_keras.models.head import bias_initializer, output_activation

MULTIPLE = 8
SLOPE = 0.25


def ResidualUNet(
    input_shape,
    num_classes=1,
    *,
    activation="auto",
    channels=(16, 32, 64, 128),
    normalization="batch",
    width=1.0,
    foreground_fraction=None,
    name="residual_unet",
):
    """Build the residual U-Net of MONAI's tutorials: strided convolutions down, transposed ones up, residual units.

    Nothing is computed at full size but the classes themselves, which makes a step fast on a CPU. Weights and values
    are those of `monai.networks.nets.UNet(3, channels, num_classes, (16, 32, 64, 128), (2, 2, 2), num_res_units=2)`
    on mirrored volumes with mirrored kernels: SAME padding puts the odd voxel at the far end, torch at the near one.

    Args:
        input_shape: `(x, y, z, channels)`; a side may be None; any side of at least 8 voxels works.
        num_classes: 1 for one sigmoid channel, more for a softmax over as many channels.
        activation: `"auto"`, None for logits, or the name of a Keras activation.
        channels: Channels of the grids at 1/2, 1/4 and 1/8, and of the unit between the ways down and up, at 1/8.
        normalization: `"batch"`, `"group"` or `"instance"`.
        width: Factor on the channel counts.
        foreground_fraction: Initial output of the network, by the bias of its head; None for a bias of 0.
        name: Name of the model.

    Returns:
        A functional `keras.Model`: `(batch, x, y, z, channels)` to `(batch, x, y, z, num_classes)` in float32.

    Raises:
        UsageError: An argument is out of range, or a side is shorter than 8 voxels.

    Example:

    >>> ResidualUNet((16, 16, 16, 1), 2, width=0.25).count_params()
    75513

    References:
        Kerfoot et al., *Left-Ventricle Quantification Using Residual U-Net*, STACOM 2018, LNCS 11395, 2019.
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
    channels = scaled(check_counts("channels", channels, 4), width)

    volume = keras.Input(input_shape, name="image")
    x = padded(volume, MULTIPLE)
    skips = []
    for level, filters in enumerate(channels[:3], 1):
        x = _unit(x, filters, normalization, strides=2, name=f"left{level}")
        skips.append(x)
    x = _unit(x, channels[3], normalization, name="bottom")
    for level, filters in zip((3, 2, 1), (channels[1], channels[0], num_classes), strict=True):
        x = keras.layers.Concatenate(name=f"right{level}_concat")([skips[level - 1], x])
        x = _enlarged(x, filters, normalization, name=f"up{level}")
        if level > 1:
            y = _layer(x, filters, normalization, name=f"right{level}")
            x = keras.layers.Add(name=f"right{level}_add")([y, x])
    head = keras.layers.Conv3D(
        num_classes,
        3,
        padding="same",
        kernel_initializer=KERNEL_INITIALIZER,
        bias_initializer=bias_initializer(foreground_fraction),
        dtype="float32",
        name="final_conv",
    )
    x = keras.layers.Add(dtype="float32", name="final_add")([head(x), x])
    return keras.Model(volume, output_activation(cropped(x, volume, MULTIPLE), activation), name=name)


def _unit(x, filters, normalization, *, strides=1, name):
    """Add the output of two convolutions to that of a single one, which is 1³ where the grid stays."""
    y = _layer(x, filters, normalization, strides=strides, name=f"{name}_layer1")
    y = _layer(y, filters, normalization, name=f"{name}_layer2")
    kernel_size = 3 if strides > 1 else 1
    x = conv(x, filters, name=f"{name}_shortcut", kernel_size=kernel_size, strides=strides, use_bias=True)
    return keras.layers.Add(name=f"{name}_add")([y, x])


def _layer(x, filters, normalization, *, strides=1, name):
    """Convolve, normalize and activate."""
    return _activated(conv(x, filters, name=f"{name}_conv", strides=strides, use_bias=True), normalization, name=name)


def _enlarged(x, filters, normalization, *, name):
    """Double the grid by a transposed convolution, normalize and activate."""
    layer = keras.layers.Conv3DTranspose(
        filters, 3, strides=2, padding="same", kernel_initializer=KERNEL_INITIALIZER, name=f"{name}_conv"
    )
    return _activated(layer(x), normalization, name=name)


def _activated(x, normalization, *, name):
    """Normalize and apply a PReLU with one slope for all channels."""
    x = normalize(x, normalization, name=f"{name}_norm")
    slope = keras.initializers.Constant(SLOPE)
    return keras.layers.PReLU(slope, shared_axes=(1, 2, 3, 4), name=f"{name}_prelu")(x)
