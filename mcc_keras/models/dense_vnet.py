"""Dense V-Net (Gibson et al. 2018), the network of the MCC-loss paper."""

import keras

from mcc_keras.models.arguments import check_count, check_counts, check_network, check_rate, scaled
from mcc_keras.models.blocks import KERNEL_INITIALIZER, conv, conv_norm_relu, cropped, normalize, padded
from mcc_keras.models.convolution import Convolution, NarrowConvolution
from mcc_keras.models.dense_block import VECTOR_CHANNELS, DenseBlock
from mcc_keras.models.head import bias_initializer, output_activation
from mcc_keras.models.prior import SpatialPrior
from mcc_keras.models.resampling import Float32AveragePooling, TrilinearUpsampling

MULTIPLE = 8


def DenseVNet(
    input_shape,
    num_classes=1,
    *,
    activation="auto",
    initial_channels=24,
    depths=(5, 10, 10),
    growth_rates=(4, 8, 16),
    skip_channels=(12, 24, 24),
    dilation_rates=(1, 1, 1),
    dropout=0.0,
    prior_size=None,
    normalization="batch",
    width=1.0,
    foreground_fraction=None,
    name="dense_vnet",
):
    """Build Dense V-Net: three densely connected blocks at 1/2, 1/4 and 1/8 of the grid, joined at 1/2.

    Args:
        input_shape: `(x, y, z, channels)`; a side may be None; any side of at least 8 voxels works.
        num_classes: 1 for one sigmoid channel, more for a softmax over as many channels.
        activation: `"auto"`, None for logits, or the name of a Keras activation.
        initial_channels: Channels of the first convolution and of the two that halve the grid.
        depths: Layers of each dense block.
        growth_rates: Channels that each layer of a block adds.
        skip_channels: Channels of the three branches that meet before the classifier.
        dilation_rates: Dilation rate of each dense block; 2 doubles its reach without using more memory.
        dropout: Batch-wise spatial dropout: fraction of the channels of each dense layer that is set to zero in
            training, the same channels for the whole batch.
        prior_size: Side of a trained spatial prior, one channel per class, that is added to the logits; None for none.
        normalization: `"batch"`, `"group"` or `"instance"`.
        width: Factor on all of these channel counts.
        foreground_fraction: Initial output of the network, by the bias of its head; None for a bias of 0.
        name: Name of the model.

    Returns:
        A functional `keras.Model`: `(batch, x, y, z, channels)` to `(batch, x, y, z, num_classes)` in float32.

    Raises:
        UsageError: An argument is out of range, or a side is shorter than 8 voxels.

    Example:

    >>> DenseVNet((64, 64, 64, 1), 2).count_params()
    867764

    References:
        Gibson et al., *Automatic Multi-Organ Segmentation on Abdominal CT With Dense V-Networks*, IEEE TMI 37(8), 2018.
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
    check_count("initial_channels", initial_channels)
    check_rate("dropout", dropout)
    if prior_size is not None:
        check_count("prior_size", prior_size)
    depths = check_counts("depths", depths, 3)
    dilation_rates = check_counts("dilation_rates", dilation_rates, 3)
    first = scaled(initial_channels, width)
    growth_rates = scaled(check_counts("growth_rates", growth_rates, 3), width)
    skip_channels = scaled(check_counts("skip_channels", skip_channels, 3), width)

    volume = keras.Input(input_shape, name="image")
    x = padded(volume, MULTIPLE)
    pooled = Float32AveragePooling(3, strides=2, padding="same", name="input_pool")(x)
    pooled = normalize(pooled, normalization, name="input_norm")
    x = conv(x, first, name="initial_conv", kernel_size=5, strides=2)
    x = keras.layers.Concatenate(name="initial_concat")([normalize(x, normalization, name="initial_norm"), pooled])

    branches = []
    for level in range(3):
        if level:
            x = conv_norm_relu(x, first, name=f"down{level}", normalization=normalization, strides=2)
        x = DenseBlock(
            depths[level],
            growth_rates[level],
            dilation=dilation_rates[level],
            normalization=normalization,
            dropout=dropout,
            name=f"block{level + 1}",
        )(x)
        skip = conv_norm_relu(x, skip_channels[level], name=f"skip{level + 1}", normalization=normalization)
        branches.append(TrilinearUpsampling(2**level, name=f"skip{level + 1}_up")(skip) if level else skip)

    x = keras.layers.Concatenate(name="final_concat")([*branches, pooled])
    classifier = NarrowConvolution if 3 * num_classes <= VECTOR_CHANNELS else Convolution
    x = classifier(
        num_classes,
        3,
        padding="same",
        kernel_initializer=KERNEL_INITIALIZER,
        bias_initializer=bias_initializer(foreground_fraction),
        dtype="float32",
        name="final_conv",
    )(x)
    if prior_size is not None:
        x = SpatialPrior(prior_size, dtype="float32", name="prior")(x)
    x = TrilinearUpsampling(2, dtype="float32", name="logits_up")(x)
    x = cropped(x, volume, MULTIPLE)
    return keras.Model(volume, output_activation(x, activation), name=name)
