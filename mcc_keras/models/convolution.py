"""The convolution that every network uses."""

import keras
from keras import ops

from mcc_keras.models.resampling import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class Convolution(keras.layers.Conv3D):
    """A `keras.layers.Conv3D` whose bfloat16 gradient is right on grids thinner than the kernel.

    The CPU kernels of oneDNN for bfloat16 read memory that nobody wrote, and return NaN or noise as the gradient of
    the weights, where the first side of the grid is at least 2 and shorter than the kernel (seen with TensorFlow 2.21
    on AVX-512; a 16³ volume has such a grid at 1/8). Zeros are appended to that side and cut off again, which changes
    no value of a SAME convolution. Float32, and grids as thick as the kernel, are left alone.

    Example:

    >>> import numpy as np
    >>> Convolution(4, 3, padding="same")(np.ones((1, 2, 8, 8, 1), "float32")).shape
    TensorShape([1, 2, 8, 8, 4])
    """

    def call(self, inputs, training=False):
        side, kernel = inputs.shape[1], self.kernel_size[0]
        if not training or self.compute_dtype != "bfloat16" or self.strides[0] > 1:
            return super().call(inputs)
        if side == 1 or (side is not None and side >= kernel):
            return super().call(inputs)
        side = ops.shape(inputs)[1]
        missing = kernel - side if isinstance(side, int) else ops.maximum(0, kernel - side)
        lengthened = ops.pad(inputs, [(0, 0), (0, missing), (0, 0), (0, 0), (0, 0)])
        return super().call(lengthened)[:, :side]
