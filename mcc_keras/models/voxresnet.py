"""VoxResNet (Chen et al. 2018): pre-activation residual blocks with four heads that are summed."""

import keras

from mcc_keras.models.arguments import check_count, check_counts, check_network, check_weights, scaled
from mcc_keras.models.blocks import conv, cropped, norm_relu, padded
from mcc_keras.models.deconvolution import Deconvolution
from mcc_keras.models.deep_supervision import AuxiliaryHead, DeeplySupervised
from mcc_keras.models.head import activation_name, classifier, output_activation

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
    auxiliary_weights=(1.0, 1.0, 1.0, 1.0),
    normalization="batch",
    width=1.0,
    foreground_fraction=None,
    name="voxresnet",
):
    """Build a VoxResNet-style network: six residual blocks on three coarser grids, four heads summed at full size.

    The layer sizes follow public ports where the paper leaves them open.

    Args:
        input_shape: `(x, y, z, channels)`; a side may be None; any side of at least 8 voxels works.
        num_classes: 1 for one sigmoid channel, more for a softmax over as many channels.
        activation: `"auto"`, None for logits, or the name of a Keras activation.
        channels: Channels at full size, and of the residual blocks.
        head_channels: Channels of each head before its classifier.
        deep_supervision: Whether to train each of the four heads against the mask as well: `fit` and `evaluate` add
            the weighted losses of the heads to the loss of their sum and log them as `head1_loss` to `head4_loss`.
            Metrics, `predict` and exports use the sum only.
        auxiliary_weights: Weights of the losses of the four heads, from the finest grid to the coarsest. Defaults to 1,
            the paper's initial value.
        normalization: `"batch"`, `"group"` or `"instance"`.
        width: Factor on the channel counts.
        foreground_fraction: Initial output of the network, by the biases of its heads; None for biases of 0.
        name: Name of the model.

    Returns:
        A functional `keras.Model`: `(batch, x, y, z, channels)` to `(batch, x, y, z, num_classes)` in float32.

    Raises:
        UsageError: An argument is out of range, or a side is shorter than 8 voxels.

    Example:

    >>> VoxResNet((16, 16, 16, 1), 2, width=0.25).name
    'voxresnet'

    References:
        Chen et al., *VoxResNet: Deep Voxelwise Residual Networks for Brain Segmentation*, NeuroImage 170, 2018.
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
    check_count("head_channels", head_channels)
    fine, coarse = scaled(check_counts("channels", channels, 2), width)
    head_channels = scaled(head_channels, width)
    auxiliary_weights = check_weights("auxiliary_weights", auxiliary_weights, len(HEADS))

    volume = keras.Input(input_shape, name="image")
    x = conv(padded(volume, MULTIPLE), fine, name="conv1", use_bias=True)
    x = conv(norm_relu(x, name="conv1", normalization=normalization), fine, name="conv2", use_bias=True)
    features = [x]
    for level in (1, 2, 3):
        x = norm_relu(x, name=f"level{level}", normalization=normalization)
        x = conv(x, coarse, name=f"down{level}", strides=2, use_bias=True)
        for block in (1, 2):
            x = _voxres(x, normalization, name=f"level{level}_block{block}")
        features.append(x)

    heads = []
    for number, (feature, (kernel, stride)) in enumerate(zip(features, HEADS, strict=True), 1):
        up = _enlarged(feature, head_channels, kernel, stride, name=f"head{number}_up")
        # The heads are summed, so one bias alone starts the sum at the foreground fraction.
        share = foreground_fraction if number == 1 else None
        logits = classifier(up, num_classes, foreground_fraction=share, name=f"head{number}_conv")
        logits = cropped(logits, volume, MULTIPLE, name=f"head{number}_crop")
        if deep_supervision:
            weight = auxiliary_weights[number - 1]
            answer = activation_name(activation, num_classes)
            logits = AuxiliaryHead(answer, loss_weight=weight, dtype="float32", name=f"head{number}")(logits)
        heads.append(logits)
    total = keras.layers.Add(name="sum", dtype="float32")(heads)
    model = DeeplySupervised if deep_supervision else keras.Model
    return model(volume, output_activation(total, activation), name=name)


def _enlarged(x, filters, kernel, stride, *, name):
    """Deconvolve; with a stride of 1 that is a convolution."""
    if stride == 1:
        return conv(x, filters, name=name, kernel_size=kernel, use_bias=True)
    return Deconvolution(filters, kernel, name=name)(x)


def _voxres(x, normalization, *, name):
    """Add to the input the output of two convolutions, each preceded by normalization and ReLU."""
    y = x
    for layer in (1, 2):
        y = norm_relu(y, name=f"{name}_layer{layer}", normalization=normalization)
        y = conv(y, x.shape[-1], name=f"{name}_layer{layer}_conv", use_bias=True)
    return keras.layers.Add(name=f"{name}_add")([x, y])
