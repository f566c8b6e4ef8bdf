"""3D U-Net (Çiçek et al. 2016)."""

import keras

from mcc_keras.models.arguments import check_counts, check_network, scaled
from mcc_keras.models.blocks import conv_norm_relu, cropped, padded
from mcc_keras.models.deconvolution import Deconvolution
from mcc_keras.models.head import classifier, output_activation
from mcc_keras.models.resampling import Float32MaxPooling

MULTIPLE = 8


def UNet3D(
    input_shape,
    num_classes=1,
    *,
    activation="auto",
    channels=(64, 128, 256, 512),
    normalization="batch",
    width=1.0,
    foreground_fraction=None,
    name="unet3d",
):
    """Build 3D U-Net: four levels of two 3³ convolutions down, three up, joined level by level.

    Args:
        input_shape: `(x, y, z, channels)`; a side may be None; any side of at least 8 voxels works.
        num_classes: 1 for one sigmoid channel, more for a softmax over as many channels.
        activation: `"auto"`, None for logits, or the name of a Keras activation.
        channels: Channels of the four levels, from fine to coarse; the first of two convolutions on the way down has
            half of them.
        normalization: `"batch"`, `"group"` or `"instance"`.
        width: Factor on the channel counts.
        foreground_fraction: Initial output of the network, by the bias of its head; None for a bias of 0.
        name: Name of the model.

    Returns:
        A functional `keras.Model`: `(batch, x, y, z, channels)` to `(batch, x, y, z, num_classes)` in float32.

    Raises:
        UsageError: An argument is out of range, or a side is shorter than 8 voxels.

    Example:

    >>> UNet3D((16, 16, 16, 1), 2, width=0.25).name
    'unet3d'

    References:
        Çiçek et al., *3D U-Net: Learning Dense Volumetric Segmentation from Sparse Annotation*, MICCAI 2016.
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
    for level, filters in enumerate(channels, 1):
        if level > 1:
            x = Float32MaxPooling(2, name=f"down{level - 1}_pool")(x)
        x = _pair(x, (max(1, filters // 2), filters), normalization, name=f"left{level}")
        skips.append(x)
    for level in (3, 2, 1):
        x = Deconvolution(x.shape[-1], 2, name=f"up{level}_conv")(x)
        x = keras.layers.Concatenate(name=f"right{level}_concat")([x, skips[level - 1]])
        x = _pair(x, (channels[level - 1],) * 2, normalization, name=f"right{level}")
    x = classifier(x, num_classes, foreground_fraction=foreground_fraction)
    return keras.Model(volume, output_activation(cropped(x, volume, MULTIPLE), activation), name=name)


def _pair(x, filters, normalization, *, name):
    for layer, count in enumerate(filters, 1):
        x = conv_norm_relu(x, count, name=f"{name}_layer{layer}", normalization=normalization, use_bias=True)
    return x
