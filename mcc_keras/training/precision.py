"""Whether a precision can be trusted on this machine."""

import tensorflow as tf

from mcc_keras.errors import EnvironmentFailure
from mcc_keras.processors import find_processor


def check_bfloat16():
    """Refuse bfloat16 where TensorFlow emulates it and keeps its sums in 8 bits.

    oneDNN has bfloat16 with AVX-512 or AVX-NE-CONVERT. Elsewhere TensorFlow's own kernels compute it, slower than
    float32, and a sum stops growing when its terms fall below 1/256 of it: 60 % of the gradient of a kernel, a sum over
    all voxels, was missing at 64³ (TensorFlow 2.21, a convolution of positive images, `TF_ENABLE_ONEDNN_OPTS=0`).

    Raises:
        EnvironmentFailure: A sum in bfloat16 is wrong.
    """
    ones, kernel = tf.ones((1, 2**20, 1, 1, 1), tf.bfloat16), tf.ones((1,) * 5, tf.bfloat16)
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        voxels = tf.nn.conv3d(ones, kernel, (1,) * 5, "SAME")
    found = int(tf.squeeze(tape.gradient(voxels, kernel)))
    if found != 2**20:
        raise EnvironmentFailure(
            f"mixed_bfloat16 cannot be trained with on this processor ({find_processor()[0]}): TensorFlow emulates it,"
            f" and its sum of {2**20} ones is {found}. Use precision='float32', which is faster as well."
        )
