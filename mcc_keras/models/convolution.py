"""Keras' convolution, corrected for thin grids in bfloat16 and faster for few output channels on a CPU."""

import keras
from keras import ops

from mcc_keras.models.resampling import PACKAGE, append_zeros


def convolve(x, kernel, *, strides=1, dilation=1, training=False):
    """Convolve with SAME padding, with gradients that are right in bfloat16 on thin grids.

    The CPU kernels of oneDNN for bfloat16 read memory that nobody wrote, and return NaN or noise as the gradient of
    the weights, where the first side of the grid is at least 2 and shorter than the kernel (seen with TensorFlow 2.21
    on AVX-512; a 16³ volume has such a grid at 1/8). Zeros are appended to that side and cut off again, which changes
    no value of a SAME convolution. Float32, and grids as thick as the kernel, are left alone.
    """
    side, size = x.shape[1], kernel.shape[0]
    halves = keras.backend.standardize_dtype(x.dtype) == "bfloat16"
    safe = side is not None and (side == 1 or side >= size)
    arguments = {"strides": strides, "dilation_rate": dilation, "padding": "same", "data_format": "channels_last"}
    if not training or not halves or strides > 1 or safe:
        return ops.conv(x, kernel, **arguments)
    side = ops.shape(x)[1]
    missing = size - side if isinstance(side, int) else ops.maximum(0, size - side)
    return ops.conv(append_zeros(x, 1, missing), kernel, **arguments)[:, :side]


@keras.saving.register_keras_serializable(package=PACKAGE)
class Convolution(keras.layers.Conv3D):
    """A `keras.layers.Conv3D` with SAME padding, whose bfloat16 gradient is right on grids thinner than the kernel.

    Example:

    >>> import numpy as np
    >>> Convolution(4, 3, padding="same")(np.ones((1, 2, 8, 8, 1), "float32")).shape
    TensorShape([1, 2, 8, 8, 4])
    """

    def call(self, inputs, training=False):
        x = convolve(
            inputs, self.kernel, strides=self.strides[0], dilation=self.dilation_rate[0], training=bool(training)
        )
        return x + ops.cast(self.bias, x.dtype) if self.use_bias else x


@keras.saving.register_keras_serializable(package=PACKAGE)
class NarrowConvolution(Convolution):
    """A 3³ convolution to few channels, computed as a (3, 3, 1) one to three times as many, shifted and added.

    A vector unit works on 16 channels at once, so one output channel wastes 15/16 of it. The three taps along z become
    channels of their own, and their sum is put together afterwards: the same sum, in half the time for one channel.
    """

    def call(self, inputs, training=False):
        *window, channels, filters = self.kernel.shape
        kernel = ops.reshape(ops.transpose(self.kernel, (0, 1, 3, 2, 4)), (*window[:2], 1, channels, 3 * filters))
        before, center, after = ops.split(convolve(inputs, kernel, training=bool(training)), 3, axis=-1)
        flat = [(0, 0)] * 3
        x = ops.pad(before[:, :, :, :-1], [*flat, (1, 0), (0, 0)]) + center
        x = x + ops.pad(after[:, :, :, 1:], [*flat, (0, 1), (0, 0)])
        return x + ops.cast(self.bias, x.dtype) if self.use_bias else x
