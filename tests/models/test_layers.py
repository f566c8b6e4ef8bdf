"""The layers against plain NumPy, and against what the CPU kernels get wrong."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import map_coordinates

from mcc_keras.models.convolution import Convolution, NarrowConvolution
from mcc_keras.models.deconvolution import Deconvolution
from mcc_keras.models.dense_block import DenseBlock
from mcc_keras.models.resampling import PadToMultiple, TrilinearUpsampling


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_upsampling_is_linear_interpolation_between_voxel_centers(factor):
    x = noise(1, 3, 4, 5, 2)
    axes = [np.clip((np.arange(side * factor) + 0.5) / factor - 0.5, 0, side - 1) for side in x.shape[1:4]]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    expected = np.stack([map_coordinates(x[0, ..., c], grid, order=1) for c in range(2)], axis=-1)
    np.testing.assert_allclose(TrilinearUpsampling(factor)(x)[0], expected, atol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2e-3), ("bfloat16", 2e-2)])
def test_upsampling_in_halves_is_the_rounded_float32(dtype, tolerance):
    x = noise(1, 3, 4, 5, 2)
    halves = TrilinearUpsampling(2, dtype=dtype)(tf.cast(x, dtype))
    assert halves.dtype == dtype
    np.testing.assert_allclose(tf.cast(halves, "float32"), TrilinearUpsampling(2)(x), rtol=tolerance, atol=tolerance)


def test_padding_in_front_of_a_convolution_is_right_in_a_graph():
    pad, convolution, x = PadToMultiple(8), Convolution(8, 3, padding="same"), noise(1, 8, 9, 8, 8)
    expected = convolution(pad(x))
    np.testing.assert_allclose(tf.function(lambda x: convolution(pad(x)))(x), expected, atol=1e-4)


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_a_narrow_convolution_is_the_convolution_of_its_kernel(classes):
    x, narrow = noise(2, 5, 6, 7, 4), NarrowConvolution(classes, 3, padding="same", bias_initializer="ones")
    value = narrow(x)
    expected = tf.nn.conv3d(x, narrow.kernel, (1,) * 5, "SAME") + 1
    np.testing.assert_allclose(value, expected, atol=1e-4)


@pytest.mark.parametrize("factor", [2, 4])
def test_a_deconvolution_puts_the_kernel_in_place_of_every_voxel(factor):
    x, layer = noise(1, 2, 3, 4, 5), Deconvolution(3, factor)
    value = layer(x)
    expected = np.einsum("bxyzc,ijkfc->bxiyjzkf", x, np.asarray(layer.kernel))
    np.testing.assert_allclose(value, expected.reshape(value.shape), atol=1e-5)


@pytest.mark.parametrize(("growth", "dilation"), [(4, 1), (8, 2), (16, 1)])
def test_a_dense_block_is_convolutions_of_concatenations(growth, dilation):
    x, block = noise(2, 4, 4, 4, 6), DenseBlock(5, growth, dilation=dilation)
    value, expected = block(x, training=False), x
    for kernel in block.kernels:
        dilated = np.zeros((*[1 + 2 * dilation] * 3, *kernel.shape[3:]), "float32")
        dilated[::dilation, ::dilation, ::dilation] = kernel
        y = tf.nn.conv3d(expected, dilated, (1,) * 5, "SAME")
        expected = tf.concat([expected, tf.nn.relu(y / np.sqrt(1 + 1e-5))], -1)
    np.testing.assert_allclose(value, expected, atol=1e-4)


@pytest.mark.parametrize("sides", [(2, 2, 2), (2, 8, 8), (1, 8, 8), (3, 3, 3)])
def test_the_bfloat16_gradient_is_right_on_thin_grids(sides):
    x, layer = noise(2, *sides, 24), Convolution(16, 3, padding="same", use_bias=False, dtype="mixed_bfloat16")
    layer(x)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.cast(layer(x, training=True), "float32") ** 2)
    gradient = tape.gradient(loss, layer.kernel.value)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.nn.conv3d(x, layer.kernel.value, (1,) * 5, "SAME") ** 2)
    expected = tape.gradient(loss, layer.kernel.value).numpy()
    # Rounding of inputs gives 0.004; where the processor has no products of bfloat16, sums are rounded as well: 0.021.
    # What oneDNN read from memory that nobody wrote gave NaN, or more than 0.8.
    assert np.linalg.norm(gradient - expected) < 0.05 * np.linalg.norm(expected)
