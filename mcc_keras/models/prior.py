"""The spatial prior of Dense V-Net: a trained map of where each class lies."""

import keras
from keras import ops

from mcc_keras.models.arguments import check_count
from mcc_keras.models.resampling import PACKAGE, resize_volume


@keras.saving.register_keras_serializable(package=PACKAGE)
class SpatialPrior(keras.layers.Layer):
    """Add a trained grid of log-probabilities to the logits, one channel per class, resized to the volume.

    A single channel for all classes would cancel in the softmax.

    Args:
        size: Side of the grid, of at least 1; it has `size ** 3 * classes` weights, which start at zero.

    Call arguments:
        logits: `(batch, x, y, z, classes)`.

    Raises:
        UsageError: `size` is not an integer of at least 1.

    References:
        Gibson et al., *Automatic Multi-Organ Segmentation on Abdominal CT With Dense V-Networks*, IEEE TMI 37(8), 2018.
    """

    def __init__(self, size=12, **kwargs):
        super().__init__(**kwargs)
        check_count("prior_size", size)
        self.size = size

    def build(self, input_shape):
        self.prior = self.add_weight(name="prior", shape=(*[self.size] * 3, input_shape[-1]), initializer="zeros")

    def call(self, logits):
        sides = ops.shape(logits)[1:4]
        return logits + ops.cast(resize_volume(self.prior[None], sides), logits.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "size": self.size}
