import numpy as np
import pytest
from keras import ops
from sklearn.metrics import confusion_matrix

from mcc_keras.metrics import DiceScore
from mcc_keras.metrics.counting import DIGIT
from mcc_keras.metrics.hard_matrix import CHUNK, FEW_CLASSES, hard_matrix, largest


@pytest.mark.parametrize("classes", [2, 5, FEW_CLASSES, FEW_CLASSES + 1, 20])
@pytest.mark.parametrize("voxels", [7, CHUNK, CHUNK + 1])
def test_it_is_the_confusion_matrix_of_scikit_learn_for_few_and_for_many_classes(classes, voxels):
    true, predicted = np.random.default_rng(0).integers(0, classes, (2, 2, voxels))
    counted = np.random.default_rng(1).random((2, voxels)) < 0.9
    found = ops.convert_to_numpy(hard_matrix(*map(ops.convert_to_tensor, (true, predicted)), classes, counted=counted))
    for t, p, kept, matrix in zip(true, predicted, counted, found, strict=True):
        np.testing.assert_array_equal(matrix, confusion_matrix(t[kept], p[kept], labels=range(classes)))


@pytest.mark.parametrize("classes", [2, FEW_CLASSES + 1])
def test_no_voxel_is_lost_where_a_float32_would_stop_counting(classes):
    zeros = ops.zeros((1, 2**24 + 3), dtype="uint8")
    assert int(ops.convert_to_numpy(hard_matrix(zeros, zeros, classes))[0, 0, 0]) == 2**24 + 3


def test_counts_go_on_beyond_what_32_bits_hold():
    metric = DiceScore(pool="all")
    metric.update_state(np.ones((1, 1, 1)), np.ones((1, 1, 1)))
    metric._high.assign(ops.cast(ops.convert_to_tensor([[0, 0], [0, 2**31 // DIGIT]]), metric._high.dtype))
    metric.update_state(np.ones((1, 5, 1)), np.ones((1, 5, 1)))
    assert metric.counts[1, 1] == 2**31 + 6


@pytest.mark.parametrize("classes", [2, 4, 300])
def test_the_largest_score_is_that_of_numpy_and_of_equal_ones_the_first(classes):
    scores = np.random.default_rng(0).integers(-3, 3, (2, 5, 5, classes)).astype("float32")
    found = ops.convert_to_numpy(largest(ops.convert_to_tensor(scores)))
    np.testing.assert_array_equal(found, scores.argmax(-1))
