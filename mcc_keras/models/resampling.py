"""Layers that change the grid: trilinear upsampling, padding to a multiple and cropping back, pooling in float32."""

import keras
import numpy as np
from keras import ops

from mcc_keras.models.arguments import check_count, check_sides

PACKAGE = "mcc_keras"


def _tent_matrix(size, new_size):
    """Weights `(new_size, size)` of linear interpolation with half-voxel centers and the border repeated."""
    if isinstance(size, int) and isinstance(new_size, int):  # one constant instead of 25 operations to trace
        center = np.clip((np.arange(new_size) + 0.5) * (size / new_size) - 0.5, 0, size - 1)
        return ops.convert_to_tensor(np.maximum(1 - np.abs(center[:, None] - np.arange(size)), 0).astype("float32"))
    scale = ops.cast(size, "float32") / ops.cast(new_size, "float32")
    center = (ops.arange(new_size, dtype="float32") + 0.5) * scale - 0.5
    center = ops.clip(center, 0.0, ops.cast(size - 1, "float32"))
    distance = ops.abs(center[:, None] - ops.arange(size, dtype="float32")[None, :])
    return ops.maximum(1.0 - distance, 0.0)


def append_zeros(x, axis, count):
    """Append `count` zeros to an axis; unlike `ops.pad`, this is safe before a convolution.

    TensorFlow 2.21 fuses a Pad with the Conv3D that follows it on a CPU and drops the convolution's own SAME padding,
    so values and shape are wrong in graph mode.
    """
    if isinstance(count, int) and count == 0:
        return x
    shape = list(ops.shape(x))
    shape[axis] = count
    return ops.concatenate([x, ops.zeros(shape, dtype=x.dtype)], axis=axis)


def resize_volume(x, sides):
    """Resize `(batch, x, y, z, channels)` to three new sides by trilinear interpolation, in float32."""
    channels = x.shape[-1]
    nx, ny, nz = ops.shape(x)[1:4]
    mx, my, mz = sides
    # Float32 inside: halves lose digits in each of the three passes, and float16 has no fast product on a CPU.
    x = ops.reshape(ops.cast(x, "float32"), (-1, nz, channels))
    x = ops.matmul(_tent_matrix(nz, mz), x)
    x = ops.reshape(x, (-1, ny, mz * channels))
    x = ops.matmul(_tent_matrix(ny, my), x)
    x = ops.reshape(x, (-1, nx, my * mz * channels))
    x = ops.matmul(_tent_matrix(nx, mx), x)
    return ops.reshape(x, (-1, mx, my, mz, channels))


@keras.saving.register_keras_serializable(package=PACKAGE)
class TrilinearUpsampling(keras.layers.Layer):
    """Upsample a volume by an integer factor with trilinear interpolation.

    Each axis is one product with a small matrix, which is three times faster in the backward pass than
    `keras.ops.image.resize` and takes sides that are unknown until the call. The values are those of
    `torch.nn.functional.interpolate(mode="trilinear", align_corners=False)`.

    Args:
        factor: Integer of at least 1, the same for the three axes.

    Call arguments:
        x: `(batch, x, y, z, channels)`; the result is `(batch, factor * x, factor * y, factor * z, channels)`.

    Raises:
        UsageError: `factor` is not an integer of at least 1.

    Example:

    >>> import numpy as np
    >>> x = np.array([0.0, 1.0], "float32").reshape(1, 1, 1, 2, 1)
    >>> np.asarray(TrilinearUpsampling(2)(x))[0, 0, 0, :, 0].tolist()
    [0.0, 0.25, 0.75, 1.0]
    """

    def __init__(self, factor=2, **kwargs):
        super().__init__(**kwargs)
        check_count("factor", factor)
        self.factor = factor

    def call(self, x):
        sides = [side * self.factor for side in ops.shape(x)[1:4]]
        return ops.cast(resize_volume(x, sides), x.dtype)

    def compute_output_shape(self, input_shape):
        sides = (None if side is None else side * self.factor for side in input_shape[1:4])
        return (input_shape[0], *sides, input_shape[4])

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable(package=PACKAGE)
class PadToMultiple(keras.layers.Layer):
    """Pad the three sides with zeros at their far end, up to the next multiple.

    Voxel (0, 0, 0) keeps its place, so `CropLike` restores the volume.

    Args:
        multiple: Integer of at least 1.

    Call arguments:
        x: `(batch, x, y, z, channels)`, each side at least `multiple` long.

    Raises:
        UsageError: A side is shorter than `multiple`.

    Example:

    >>> import numpy as np
    >>> PadToMultiple(8)(np.ones((1, 8, 9, 16, 1), "float32")).shape[1:4]
    TensorShape([8, 16, 16])
    """

    def __init__(self, multiple, **kwargs):
        super().__init__(**kwargs)
        check_count("multiple", multiple)
        self.multiple = multiple

    def call(self, x):
        check_sides(x.shape[1:4], self.multiple)
        for axis in (1, 2, 3):
            x = append_zeros(x, axis, -ops.shape(x)[axis] % self.multiple)
        return x

    def compute_output_shape(self, input_shape):
        check_sides(input_shape[1:4], self.multiple)
        sides = (None if side is None else side + -side % self.multiple for side in input_shape[1:4])
        return (input_shape[0], *sides, input_shape[4])

    def get_config(self):
        return {**super().get_config(), "multiple": self.multiple}


@keras.saving.register_keras_serializable(package=PACKAGE)
class CropLike(keras.layers.Layer):
    """Crop the far end of the three sides to the sides of another volume.

    Call arguments:
        x: A list of the volume to crop and the volume with the target sides.

    Example:

    >>> import numpy as np
    >>> long, short = np.ones((1, 8, 16, 16, 2), "float32"), np.ones((1, 8, 9, 10, 1), "float32")
    >>> CropLike()([long, short]).shape
    TensorShape([1, 8, 9, 10, 2])
    """

    def call(self, inputs):
        x, like = inputs
        nx, ny, nz = ops.shape(like)[1:4]
        return x[:, :nx, :ny, :nz, :]

    def compute_output_shape(self, input_shape):
        x_shape, like_shape = input_shape
        return (*like_shape[:4], x_shape[4])


@keras.saving.register_keras_serializable(package=PACKAGE)
class Float32AveragePooling(keras.layers.AveragePooling3D):
    """Average pooling that computes in float32 under `mixed_float16`, because CPUs have no half kernel for it.

    Under SAME padding a window at the border is the mean of the voxels inside the volume, on every backend.
    """

    def call(self, inputs):
        return _in_float32_if_half(self._pool, inputs)

    def _pool(self, x):
        if keras.backend.backend() != "torch" or self.padding == "valid":
            return super().call(x)
        # Keras 3.15 on torch repeats the border where it has to pad unevenly; TensorFlow and JAX leave padding out.
        margins = [(0, 0), *map(_same_padding, x.shape[1:4], self.pool_size, self.strides), (0, 0)]
        inside = ops.ones((1, *x.shape[1:4], 1), dtype=x.dtype)
        sums, shares = (ops.average_pool(ops.pad(y, margins), self.pool_size, self.strides) for y in (x, inside))
        return sums / shares


@keras.saving.register_keras_serializable(package=PACKAGE)
class Float32MaxPooling(keras.layers.MaxPooling3D):
    """Max pooling that computes in float32 under `mixed_float16`, because CPUs have no half kernel for it."""

    def call(self, inputs):
        return _in_float32_if_half(super().call, inputs)


def _same_padding(side, size, stride):
    """Voxels that SAME padding puts in front of and behind a side."""
    total = max(0, (-(-side // stride) - 1) * stride + size - side)
    return total // 2, total - total // 2


def _in_float32_if_half(function, x):
    # torch has no pooling kernel for bfloat16 on a CPU either.
    lacking = ("float16", "bfloat16") if keras.backend.backend() == "torch" else ("float16",)
    dtype = keras.backend.standardize_dtype(x.dtype)
    return ops.cast(function(ops.cast(x, "float32")), dtype) if dtype in lacking else function(x)
