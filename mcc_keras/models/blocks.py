"""What the networks are made of: convolutions with normalisation, written once for all of them."""

import math

import keras

from mcc_keras.models.arguments import NORMALISATIONS, check_choice
from mcc_keras.models.convolution import Convolution

# He-style: a normal cut at two deviations, scaled by the inputs of a ReLU.
KERNEL_INITIALIZER = "he_normal"


def normalise(x, normalisation, *, name, momentum=0.9, epsilon=1e-5):
    """Normalise by `batch`, `group` (up to 8 groups) or `instance`; each has one scale and one offset a channel."""
    check_choice("normalisation", normalisation, NORMALISATIONS)
    if normalisation == "batch":
        return keras.layers.BatchNormalization(momentum=momentum, epsilon=epsilon, name=name)(x)
    channels = x.shape[-1]
    groups = channels if normalisation == "instance" else math.gcd(channels, 8)
    return keras.layers.GroupNormalization(groups, epsilon=epsilon, name=name)(x)


def conv(x, filters, *, name, kernel_size=3, strides=1, dilation=1, use_bias=False):
    """Convolve with SAME padding."""
    layer = Convolution(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        dilation_rate=dilation,
        use_bias=use_bias,
        kernel_initializer=KERNEL_INITIALIZER,
        name=name,
    )
    return layer(x)


def conv_norm_relu(x, filters, *, name, normalisation, **conv_arguments):
    """Convolve, normalise, and cut at zero."""
    x = conv(x, filters, name=f"{name}_conv", **conv_arguments)
    x = normalise(x, normalisation, name=f"{name}_norm")
    return keras.layers.ReLU(name=f"{name}_relu")(x)
