"""The head of every network: classifier, initial bias and activation, in float32 under every policy."""

import math

import keras

from mcc_keras.models.resampling import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class LogOdds(keras.initializers.Initializer):
    """Bias with which an untrained head predicts the fraction of foreground voxels.

    One channel: `log(f / (1 - f))`, so that `sigmoid(bias) = f`. C channels: `log(1 - f)` for the background and
    `log(f / (C - 1))` for each other class, so that the softmax starts at these values. With a bias of 0 every voxel
    starts at one half, which the first epochs have to unlearn where foreground is rare (Lin et al. 2017, section 3.3).

    Args:
        foreground_fraction: Fraction of foreground voxels, strictly between 0 and 1.

    Example:

    >>> import numpy as np
    >>> np.asarray(LogOdds(0.01)((1,))).round(4).tolist()
    [-4.5951]

    References:
        Lin et al., *Focal Loss for Dense Object Detection*, ICCV 2017.
    """

    def __init__(self, foreground_fraction):
        self.foreground_fraction = foreground_fraction

    def __call__(self, shape, dtype=None):
        (classes,) = shape
        share = self.foreground_fraction
        rest = math.log(1 - share)
        bias = [math.log(share) - rest] if classes == 1 else [rest, *[math.log(share / (classes - 1))] * (classes - 1)]
        return keras.ops.convert_to_tensor(bias, dtype=dtype or keras.config.floatx())

    def get_config(self):
        return {"foreground_fraction": self.foreground_fraction}


def bias_initializer(foreground_fraction):
    """Return the initializer of a head's bias: zeros, or the log-odds of the foreground fraction."""
    return "zeros" if foreground_fraction is None else LogOdds(foreground_fraction)


def classifier(x, num_classes, *, foreground_fraction=None, name="final_conv"):
    """Compute logits from features: a 1³ convolution in float32."""
    layer = keras.layers.Conv3D(
        num_classes,
        1,
        kernel_initializer="he_normal",
        bias_initializer=bias_initializer(foreground_fraction),
        dtype="float32",
        name=name,
    )
    return layer(x)


def activation_name(activation, num_classes):
    """Return the activation's name in Keras: `auto` is a sigmoid for one channel and a softmax for more."""
    if activation == "auto":
        return "sigmoid" if num_classes == 1 else "softmax"
    return "linear" if activation is None else activation


def output_activation(logits, activation, *, name="output"):
    """Apply the activation to the logits."""
    function = keras.activations.get(activation_name(activation, logits.shape[-1]))
    return keras.layers.Activation(function, dtype="float32", name=name)(logits)
