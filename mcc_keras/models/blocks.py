"""Building blocks of the networks: convolutions with normalization and ReLU."""

import math

import keras

from mcc_keras.models.arguments import NORMALIZATIONS, check_choice
from mcc_keras.models.convolution import Convolution
from mcc_keras.models.resampling import CropLike, PadToMultiple

# As in the papers: scaled for ReLU.
KERNEL_INITIALIZER = "he_normal"
MOMENTUM, EPSILON = 0.9, 1e-5


def normalization_layer(channels, normalization, **kwargs):
    """Build a layer that normalizes by `batch`, `group` (up to 8 groups) or `instance`, with 2 weights per channel."""
    check_choice("normalization", normalization, NORMALIZATIONS)
    if normalization == "batch":
        return keras.layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON, **kwargs)
    groups = channels if normalization == "instance" else math.gcd(channels, 8)
    return keras.layers.GroupNormalization(groups, epsilon=EPSILON, **kwargs)


def normalize(x, normalization, *, name):
    """Normalize by `batch`, `group` or `instance`."""
    return normalization_layer(x.shape[-1], normalization, name=name)(x)


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


def norm_relu(x, *, name, normalization):
    """Normalize and apply ReLU."""
    return keras.layers.ReLU(name=f"{name}_relu")(normalize(x, normalization, name=f"{name}_norm"))


def conv_norm_relu(x, filters, *, name, normalization, **conv_arguments):
    """Convolve, normalize and apply ReLU."""
    return norm_relu(conv(x, filters, name=f"{name}_conv", **conv_arguments), name=name, normalization=normalization)


def is_padded(volume, multiple):
    """Whether a side of the volume is unknown or not a multiple."""
    return any(side is None or side % multiple for side in volume.shape[1:4])


def padded(volume, multiple):
    """Pad the sides to multiples, unless they are known to be multiples."""
    return PadToMultiple(multiple, name="pad")(volume) if is_padded(volume, multiple) else volume


def cropped(x, volume, multiple, *, name="crop"):
    """Undo `padded`."""
    return CropLike(dtype="float32", name=name)([x, volume]) if is_padded(volume, multiple) else x
