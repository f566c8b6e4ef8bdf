import keras
import numpy as np
import pytest
from keras import ops

from mcc_keras import confusion


def cells_in_float64(y, p, w=1.0):
    y, p = y.astype("float64"), p.astype("float64")
    axes = tuple(range(1, y.ndim - 1))
    four = [y * p, (1 - y) * p, y * (1 - p), (1 - y) * (1 - p)]
    total = np.broadcast_to(w, y.shape[:-1] + (1,)).sum(axes)
    return [(w * cell).sum(axes) / total for cell in four]


def random_pair(shape, foreground=0.3, *, seed=0):
    generator = np.random.default_rng(seed)
    return (generator.random(shape) < foreground).astype("float32"), generator.random(shape).astype("float32")


def test_cells_are_the_four_means_of_each_sample_and_class():
    y, p = random_pair((2, 4, 5, 6, 3))
    cells = confusion.soft_cells(ops.convert_to_tensor(y), ops.convert_to_tensor(p))
    np.testing.assert_allclose(ops.stack(cells[:4]), cells_in_float64(y, p), rtol=1e-6)


def test_weights_go_inside_the_sums():
    y, p = random_pair((2, 4, 5, 6, 2))
    w = np.random.default_rng(1).random((2, 4, 5, 6, 1)).astype("float32")
    cells = confusion.soft_cells(*map(ops.convert_to_tensor, (y, p, w)))
    np.testing.assert_allclose(ops.stack(cells[:4]), cells_in_float64(y, p, w), rtol=1e-5)


def test_pooled_cells_are_those_of_one_big_sample():
    y, p = random_pair((3, 4, 5, 6, 2))
    pooled = confusion.soft_cells(ops.convert_to_tensor(y), ops.convert_to_tensor(p), pool="batch")
    one = confusion.soft_cells(*(ops.reshape(x, (1, 12, 5, 6, 2)) for x in (y, p)))
    np.testing.assert_allclose(ops.stack(pooled[:4]), ops.stack(one[:4]), rtol=1e-6)


@pytest.mark.parametrize("full_y", [False, True])
@pytest.mark.parametrize("full_p", [False, True])
def test_small_cells_keep_their_digits_whether_target_and_prediction_are_nearly_empty_or_nearly_full(full_y, full_p):
    y = (np.random.default_rng(0).random((1, 64, 64, 64, 1)) < 1e-4).astype("float32")
    p = (0.98 * y + 1e-5).astype("float32")
    y, p = (1 - y if full_y else y), (1 - p if full_p else p)
    cells = confusion.soft_cells(ops.convert_to_tensor(y), ops.convert_to_tensor(p))
    np.testing.assert_allclose(ops.stack(cells[:4]), cells_in_float64(y, p), rtol=3e-6, atol=5e-10)


def test_matthews_of_the_published_example():
    assert float(confusion.matthews(confusion.Cells(2 / 4, 0.0, 1 / 4, 1 / 4, 4.0))) == pytest.approx(0.57735, abs=1e-5)


def test_gorodkin_of_the_published_example():
    truth, prediction = [0, 2, 0, 2, 1, 1, 0, 0, 2, 1], [2, 0, 2, 2, 2, 2, 2, 0, 2, 2]
    matrix = np.zeros((3, 3), "float32")
    np.add.at(matrix, (truth, prediction), 0.1)
    assert float(confusion.gorodkin(matrix)) == pytest.approx(-0.0435194140, abs=1e-7)


def test_the_matrix_of_a_batch_is_the_outer_product_summed_over_voxels():
    y, p = random_pair((2, 4, 5, 6, 3))
    w = np.random.default_rng(1).random((2, 4, 5, 6, 1)).astype("float32")
    matrix, total = confusion.soft_matrix(*map(ops.convert_to_tensor, (y, p, w)))
    expected = np.einsum("bxyzk,bxyzl->bkl", (y * w).astype("float64"), p) / w.sum((1, 2, 3, 4))[:, None, None]
    np.testing.assert_allclose(matrix, expected, rtol=1e-5)
    np.testing.assert_allclose(total[:, 0], w.sum((1, 2, 3, 4)), rtol=1e-6)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="test_every_loss.py has the other backends' gradients"
)
@pytest.mark.parametrize("shape", [(2, 4, 3, 5, 3), (2, 3, 3, 5, 3), (2, 6, 17), (2, 4, 4, 17)])
@pytest.mark.parametrize("pool", ["sample", "batch"])
def test_the_gradient_of_a_matrix_is_that_of_each_voxel_in_pairs_and_with_one_left_over(shape, pool):
    import tensorflow as tf

    generator = np.random.default_rng(0)
    labels, p = generator.integers(0, shape[-1], shape[:-1]), generator.random(shape).astype("float32")
    slope = generator.normal(size=(2 if pool == "sample" else 1, shape[-1], shape[-1])).astype("float32")
    voxels = np.prod(shape[1:-1]) * (1 if pool == "sample" else 2)
    expected = np.stack([slope[i % len(slope)][labels[i]] for i in range(2)]) / voxels
    y = tf.constant(np.eye(shape[-1], dtype="float32")[labels])
    for dense, given in ((y, None), (None, tf.constant(labels, "int32"))):
        p_tensor = tf.constant(p)
        with tf.GradientTape() as tape:
            tape.watch([p_tensor, y])
            total = tf.reduce_sum(slope * confusion.soft_matrix(dense, p_tensor, pool=pool, labels=given)[0])
        by_p, by_y = tape.gradient(total, [p_tensor, y])
        np.testing.assert_allclose(by_p, expected, rtol=1e-5, atol=1e-8)
        if given is None:
            other = np.stack([p[i] @ slope[i % len(slope)].T for i in range(2)]) / voxels
            np.testing.assert_allclose(by_y, other, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("shape", [(2, 5), (2, 6, 3), (2, 4, 6, 3), (2, 3, 4, 6, 1), (2, 3, 4, 6, 3)])
def test_a_sum_over_voxels_is_that_of_each_sample_and_class_in_any_number_of_axes(shape):
    x = np.random.default_rng(0).random(shape).astype("float32")
    expected = x.astype("float64").sum(tuple(range(1, len(shape) - 1)))
    np.testing.assert_allclose(confusion.voxel_sum(ops.convert_to_tensor(x)), expected, rtol=1e-6)
