"""VoxResNet (Chen et al. 2018): pre-activation residual blocks with four heads that are summed."""

import keras

from mcc_keras.models.arguments import check_count, check_counts, check_foreground_fraction, check_input_shape, scaled
from mcc_keras.models.blocks import conv, cropped, norm_relu, padded
from mcc_keras.models.deconvolution import Deconvolution
from mcc_keras.models.deep_supervision import DeeplySupervised
from mcc_keras.models.head import classifier, output_activation
from mcc_keras.models.resampling import check_sides

MULTIPLE = 8
# (kernel, stride) with which each head is brought to full size.
HEADS = ((3, 1), (2, 2), (4, 4), (8, 8))


def VoxResNet(
    input_shape,
    num_classes=1,
    *,
    activation="auto",
    channels=(32, 64),
    head_channels=4,
    deep_supervision=False,
    normalisation="batch",
    width=1.0,
    foreground_fraction=None,
    name="voxresnet",
):
    """Build a VoxResNet-style network: six residual blocks on three coarser grids, four heads summed at full size.

    The layer sizes are those of public ports, since the paper leaves some open.

    Args:
        input_shape: `(x, y, z, channels)`; a side may be None, and any side of at least 8 voxels works.
        num_classes: 1 for one sigmoid channel, more for a softmax over so many channels.
        activation: `"auto"`, None for logits, or the name of a Keras activation.
        channels: Channels at full size, and of the residual blocks.
        head_channels: Channels of each head before its classifier.
        deep_supervision: Train each of the four heads against the mask too: `fit` adds their losses, while metrics,
            `evaluate` and `predict` concern the sum of the heads alone.
        normalisation: `"batch"`, `"group"` or `"instance"`.
        width: Factor on the channel counts.
        foreground_fraction: Start the heads' biases so that their sum is the log-odds of this share; None starts at 0.
        name: Name of the model.

    Returns:
        A functional `keras.Model`: `(batch, x, y, z, channels)` to `(batch, x, y, z, num_classes)` in float32.

    Raises:
        UsageError: An argument makes no sense, or a side is shorter than 8 voxels.

    Example:

    >>> VoxResNet((16, 16, 16, 1), 2, width=0.25).name
    'voxresnet'

    References:
        Chen et al., *VoxResNet: Deep Voxelwise Residual Networks for Brain Segmentation*, NeuroImage 170, 2018.
    """
    input_shape = check_input_shape(input_shape)
    check_sides(input_shape[:3], MULTIPLE)
    check_count("num_classes", num_classes)
    check_foreground_fraction(foreground_fraction)
    check_count("head_channels", head_channels)
    fine, coarse = scaled(check_counts("channels", channels, 2), width)
    head_channels = scaled(head_channels, width)

    volume = keras.Input(input_shape, name="image")
    x = conv(padded(volume, MULTIPLE), fine, name="conv1", use_bias=True)
    x = conv(norm_relu(x, name="conv1", normalisation=normalisation), fine, name="conv2", use_bias=True)
    features = [x]
    for level in (1, 2, 3):
        x = norm_relu(x, name=f"level{level}", normalisation=normalisation)
        x = conv(x, coarse, name=f"down{level}", strides=2, use_bias=True)
        for block in (1, 2):
            x = _voxres(x, normalisation, name=f"level{level}_block{block}")
        features.append(x)

    heads = []
    for number, (feature, (kernel, stride)) in enumerate(zip(features, HEADS, strict=True), 1):
        up = _enlarged(feature, head_channels, kernel, stride, name=f"head{number}_up")
        # The heads are summed, so only one of them carries the bias that starts the sum at the foreground's share.
        share = foreground_fraction if number == 1 else None
        logits = classifier(up, num_classes, foreground_fraction=share, name=f"head{number}_conv")
        heads.append(cropped(logits, volume, MULTIPLE, name=f"head{number}_crop"))
    total = keras.layers.Add(name="sum", dtype="float32")(heads)
    output = output_activation(total, activation)
    if not deep_supervision:
        return keras.Model(volume, output, name=name)
    auxiliary = {
        f"head{number}": output_activation(head, activation, name=f"head{number}")
        for number, head in enumerate(heads, 1)
    }
    return DeeplySupervised(volume, {"output": output, **auxiliary}, name=name)


def _enlarged(x, filters, kernel, stride, *, name):
    """Deconvolve, which with a stride of 1 is a convolution."""
    if stride == 1:
        return conv(x, filters, name=name, kernel_size=kernel, use_bias=True)
    return Deconvolution(filters, kernel, name=name)(x)


def _voxres(x, normalisation, *, name):
    """Add what two convolutions, each behind normalisation and ReLU, make of the input."""
    y = x
    for layer in (1, 2):
        y = norm_relu(y, name=f"{name}_layer{layer}", normalisation=normalisation)
        y = conv(y, x.shape[-1], name=f"{name}_layer{layer}_conv", use_bias=True)
    return keras.layers.Add(name=f"{name}_add")([x, y])
