import keras
import numpy as np
import pytest

from mcc_keras.errors import UsageError
from mcc_keras.targets import fits, known, pair, target_kind, weight_kind

PREDICTION = np.full((2, 3, 3, 3, 4), 0.25, np.float32)
LABELS = np.random.default_rng(0).integers(0, 4, (2, 3, 3, 3, 1))


@pytest.mark.parametrize(
    ("true_shape", "pred_shape", "expected"),
    [
        ((2, 8, 8, 8, 1), (2, 8, 8, 8, 1), "dense"),
        ((2, 8, 8, 8, 4), (2, 8, 8, 8, 4), "dense"),
        ((2, 8, 8, 8, 1), (2, 8, 8, 8, 4), "labels"),
        ((2, 8, 8, 8), (2, 8, 8, 8, 4), "labels"),
        ((None, 8, 8, 8, 1), (2, 8, None, 8, 4), "labels"),
    ],
)
def test_the_channels_of_the_prediction_decide_what_a_target_is(true_shape, pred_shape, expected):
    assert target_kind(true_shape, pred_shape) == expected


@pytest.mark.parametrize(
    ("true_shape", "pred_shape"),
    [
        ((2, 8, 8, 8), (2, 8, 8, 8, 1)),
        ((2, 8, 8, 8, 3), (2, 8, 8, 8, 4)),
        ((2, 8, 8, 7, 1), (2, 8, 8, 8, 4)),
        ((2, 8, 8, 8, 1), (2, 8, 8, 8, None)),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_both(true_shape, pred_shape):
    with pytest.raises(UsageError) as error:
        target_kind(true_shape, pred_shape)
    assert f"y_true.shape={true_shape}, y_pred.shape={pred_shape}" in str(error.value)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((), "sample"), ((2,), "sample"), ((2, 1, 1), "sample"), ((2, 3, 3, 3), "voxel"), ((2, 3, 3, 3, 1), "voxel")],
)
def test_a_weight_is_one_a_sample_or_one_a_voxel(shape, expected):
    assert weight_kind(shape, PREDICTION.shape) == expected


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 3, 3, 4)])
def test_any_other_weight_is_refused(shape):
    with pytest.raises(UsageError, match="sample_weight.shape="):
        weight_kind(shape, PREDICTION.shape)


def test_labels_are_the_same_target_with_and_without_their_axis():
    with_axis, without = (pair(keras.ops.array(each), PREDICTION) for each in (LABELS, LABELS[..., 0]))
    expected = np.eye(4)[LABELS[..., 0]]
    assert np.array_equal(with_axis.y_true, expected)
    assert np.array_equal(without.y_true, expected)
    assert with_axis.weight is None


def test_an_ignored_label_weighs_nothing_beside_other_weights():
    labels, weight = np.where(LABELS == 2, 255, LABELS), np.full(LABELS.shape, 3.0, np.float32)
    found = pair(keras.ops.array(labels), PREDICTION, keras.ops.array(weight), ignore_label=255)
    assert np.array_equal(found.weight, np.where(labels == 255, 0, 3))
    assert bool(found.valid)


@pytest.mark.parametrize(("label", "named"), [(4, "labels from 0 to 4"), (-1, "labels from -1 to"), (0.5, "whole")])
def test_labels_that_are_no_channel_are_refused(label, named):
    labels = LABELS.astype(np.float32)
    labels[0, 0, 0, 0], labels[1, 0, 0, 0] = 0, label
    with pytest.raises(UsageError, match=named):
        pair(keras.ops.array(labels), PREDICTION)


@pytest.mark.parametrize("value", [1.01, -0.01])
def test_a_dense_target_outside_0_to_1_is_refused_and_a_residue_is_not(value):
    target = np.full((1, 2, 2, 2, 1), 0.5, np.float32)
    target[0, 0, 0, 0] = 1 + 5e-4
    assert bool(pair(keras.ops.array(target), target).valid)
    target[0, 0, 0, 1] = value
    with pytest.raises(UsageError, match="must lie in"):
        pair(keras.ops.array(target), target)


def test_none_fits_any_length_and_no_other_rank():
    assert fits((None, 3), (7, 3))
    assert not fits((None, 3), (7, 4))
    assert not fits((3,), (3, 1))


def test_a_condition_is_known_outside_of_a_graph_only():
    import tensorflow as tf

    seen = []
    tf.function(lambda x: seen.append(known(x > 0)))(tf.constant(1))
    assert seen == [None]
    assert known(tf.constant(1) > 0) is True
