"""What the networks are made of: convolutions with normalisation, written once for all of them."""

import math

import keras

from mcc_keras.models.arguments import NORMALISATIONS, check_choice
from mcc_keras.models.convolution import Convolution
from mcc_keras.models.resampling import CropLike, PadToMultiple

# He-style: a normal cut at two deviations, scaled by the inputs of a ReLU.
KERNEL_INITIALIZER = "he_normal"
# What makes a normalisation forget its past, and what keeps it from dividing by zero.
MOMENTUM, EPSILON = 0.9, 1e-5


def normalisation_layer(channels, normalisation, **kwargs):
    """Build a layer that normalises by `batch`, `group` (up to 8 groups) or `instance`: 2 weights a channel each."""
    check_choice("normalisation", normalisation, NORMALISATIONS)
    if normalisation == "batch":
        return keras.layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON, **kwargs)
    groups = channels if normalisation == "instance" else math.gcd(channels, 8)
    return keras.layers.GroupNormalization(groups, epsilon=EPSILON, **kwargs)


def normalise(x, normalisation, *, name):
    """Normalise by `batch`, `group` or `instance`."""
    return normalisation_layer(x.shape[-1], normalisation, name=name)(x)


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


def norm_relu(x, *, name, normalisation):
    """Normalise, and cut at zero."""
    return keras.layers.ReLU(name=f"{name}_relu")(normalise(x, normalisation, name=f"{name}_norm"))


def conv_norm_relu(x, filters, *, name, normalisation, **conv_arguments):
    """Convolve, normalise, and cut at zero."""
    return norm_relu(conv(x, filters, name=f"{name}_conv", **conv_arguments), name=name, normalisation=normalisation)


def is_padded(volume, multiple):
    """Whether a side of the volume is unknown, or no multiple."""
    return any(side is None or side % multiple for side in volume.shape[1:4])


def padded(volume, multiple):
    """Pad the volume to multiples, where its sides are not known to be so already."""
    return PadToMultiple(multiple, name="pad")(volume) if is_padded(volume, multiple) else volume


def cropped(x, volume, multiple, *, name="crop"):
    """Undo `padded`."""
    return CropLike(dtype="float32", name=name)([x, volume]) if is_padded(volume, multiple) else x
