"""The densely connected block of Dense V-Net."""

import math

import keras
from keras import ops

from mcc_keras.models.arguments import check_choice, check_count, check_rate
from mcc_keras.models.blocks import KERNEL_INITIALIZER, NORMALIZATIONS, normalization_layer
from mcc_keras.models.convolution import convolve
from mcc_keras.models.resampling import PACKAGE

# Output channels that fill one vector register of a CPU with AVX-512.
VECTOR_CHANNELS = 16


@keras.saving.register_keras_serializable(package=PACKAGE)
class DenseBlock(keras.layers.Layer):
    """Let every 3³ convolution see the block's input and all earlier outputs; return them all, side by side.

    Layer i is `y_i = ReLU(norm(conv(concat(x, y_1, ..., y_{i-1}))))`, and the block `concat(x, y_1, ..., y_depth)`.
    A convolution of a concatenation is the sum of the convolutions of its parts. Narrow layers are therefore computed
    in runs of `16 / growth_rate`: one convolution of 16 channels over everything before the run, and small ones
    between the layers of a run. The values are the same; for a growth of 4 it takes two thirds of the time.

    Args:
        depth: Layers.
        growth_rate: Channels that each layer adds.
        dilation: Dilation rate of each convolution.
        normalization: `"batch"`, `"group"` or `"instance"`.
        dropout: Batch-wise spatial dropout: fraction of the output channels of each layer set to zero in training,
            the same channels in every volume of the batch.
        seed: Seed of the dropout.

    Call arguments:
        x: `(batch, x, y, z, channels)`; the result has `channels + depth * growth_rate` channels.

    Example:

    >>> import numpy as np
    >>> DenseBlock(5, 4)(np.ones((1, 4, 4, 4, 25), "float32")).shape
    TensorShape([1, 4, 4, 4, 45])

    References:
        Gibson et al., *Automatic Multi-Organ Segmentation on Abdominal CT With Dense V-Networks*, IEEE TMI 37(8), 2018.
    """

    def __init__(self, depth, growth_rate, *, dilation=1, normalization="batch", dropout=0.0, seed=None, **kwargs):
        super().__init__(**kwargs)
        check_count("depth", depth)
        check_count("growth_rate", growth_rate)
        check_count("dilation", dilation)
        check_choice("normalization", normalization, NORMALIZATIONS)
        check_rate("dropout", dropout)
        self.depth, self.growth_rate, self.dilation = depth, growth_rate, dilation
        self.normalization, self.dropout, self.seed = normalization, dropout, seed
        self.norms = [
            normalization_layer(growth_rate, normalization, name=f"layer{layer}_norm", dtype=self.dtype_policy)
            for layer in range(1, depth + 1)
        ]
        self.seed_generator = keras.random.SeedGenerator(seed) if dropout else None

    def build(self, input_shape):
        channels = input_shape[-1]
        self.kernels = [
            self.add_weight(
                name=f"layer{layer + 1}_kernel",
                shape=(3, 3, 3, channels + layer * self.growth_rate, self.growth_rate),
                initializer=KERNEL_INITIALIZER,
            )
            for layer in range(self.depth)
        ]
        for norm in self.norms:
            norm.build((*input_shape[:-1], self.growth_rate))

    def call(self, x, training=False):
        for run in self._runs():
            known, new = x.shape[-1], None
            kernel = ops.concatenate([self.kernels[layer][..., :known, :] for layer in run], axis=-1)
            sums = self._convolve(x, kernel, training)
            for layer, total in zip(run, self._parts(sums, len(run)), strict=True):
                if new is not None:
                    total = total + self._convolve(new, self.kernels[layer][..., known:, :], training)
                y = self._drop(ops.relu(self.norms[layer](total, training=training)), training)
                new = y if new is None else ops.concatenate([new, y], axis=-1)
            x = ops.concatenate([x, new], axis=-1)
        return x

    def _runs(self):
        """Cut the layers into runs as equal as can be, each wide enough for the vector unit."""
        count = math.ceil(self.depth / math.ceil(VECTOR_CHANNELS / self.growth_rate))
        edges = [math.ceil(self.depth * run / count) for run in range(count + 1)]
        return [range(*pair) for pair in zip(edges, edges[1:], strict=False)]

    def _convolve(self, x, kernel, training):
        return convolve(x, ops.cast(kernel, x.dtype), dilation=self.dilation, training=bool(training))

    def _parts(self, sums, count):
        return [sums] if count == 1 else ops.split(sums, count, axis=-1)

    def _drop(self, y, training):
        if not training or not self.dropout:
            return y
        # One draw for all voxels and volumes: what is left is scaled up, so that inference needs no correction.
        ones = ops.ones((1, 1, 1, 1, self.growth_rate), dtype=y.dtype)
        return y * keras.random.dropout(ones, self.dropout, seed=self.seed_generator)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] + self.depth * self.growth_rate)

    def get_config(self):
        names = ("depth", "growth_rate", "dilation", "normalization", "dropout", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
