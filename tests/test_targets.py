"""What `y_true` may be, for losses and metrics alike."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mcc_keras.errors import UsageError
from mcc_keras.losses import DiceLoss, MCCLoss, get_loss
from mcc_keras.metrics import DiceScore
from mcc_keras.targets import RESIDUE, fits, known, pair, target_kind, weight_kind

GENERATOR = np.random.default_rng(0)
LABELS = GENERATOR.integers(0, 3, (2, 4, 4, 4, 1))
SCORES = GENERATOR.dirichlet(np.ones(3), (2, 4, 4, 4)).astype("float32")
MASK = (GENERATOR.random((2, 4, 4, 4, 1)) < 0.3).astype("float32")
SHARE = GENERATOR.random((2, 4, 4, 4, 1)).astype("float32")


def score(y_true, y_pred, sample_weight=None, **arguments):
    metric = DiceScore(**arguments)
    metric.update_state(y_true, y_pred, sample_weight)
    return float(metric.result())


def loss(y_true, y_pred, sample_weight=None, **arguments):
    return float(MCCLoss(**arguments)(y_true, y_pred, sample_weight=sample_weight))


both = pytest.mark.parametrize("of", [loss, score])


@both
@pytest.mark.parametrize(
    ("dtype", "ignored"), [("bool", 255), ("bool", -1), ("bool", 2), ("uint8", -1), ("uint8", 256)]
)
def test_a_label_that_a_type_cannot_hold_is_ignored_nowhere(of, dtype, ignored):
    assert of(MASK.astype(dtype), SHARE, ignore_class=ignored) == of(MASK, SHARE)


@both
@pytest.mark.parametrize(("dtype", "ignored"), [("bool", 1), ("uint8", 255), ("int8", -1), ("float16", 255)])
def test_a_label_that_a_type_can_hold_is_ignored(of, dtype, ignored):
    cut = np.ones_like(MASK)
    cut[:, 3:] = 0
    marked = np.where(cut == 0, ignored, MASK if ignored != 1 else 0)
    expected = of(MASK if ignored != 1 else 0 * MASK, SHARE, cut)
    assert of(marked.astype(dtype), SHARE, ignore_class=ignored) == pytest.approx(expected, abs=1e-6)


@both
@pytest.mark.parametrize("ignored", [1.5, "255", True])
def test_an_ignored_class_that_is_no_integer_is_refused(of, ignored):
    with pytest.raises(UsageError, match="`ignore_class` must be an integer"):
        of(MASK, SHARE, ignore_class=ignored)


@both
def test_a_class_cannot_be_ignored_in_one_hot_targets(of):
    with pytest.raises(UsageError, match="needs integer labels.*ignore_class=2"):
        of(np.eye(3)[LABELS[..., 0]], SCORES, ignore_class=2)


@both
def test_overlapping_regions_are_refused_and_voxels_of_no_weight_may_be_anything(of):
    regions = np.concatenate([np.ones_like(MASK), MASK, 0 * MASK], axis=-1)
    with pytest.raises(UsageError, match="sum to 1.*sums from 1 to 2"):
        of(regions, SCORES)
    expected = of(np.eye(3, dtype="float32")[LABELS[..., 0]], SCORES, (LABELS > 0).astype("float32"))
    some = np.eye(3, dtype="float32")[LABELS[..., 0]] * (LABELS > 0)
    assert of(some, SCORES, (LABELS > 0).astype("float32")) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("sides", [(3, 3, 3), (2, 3, 3), (5,), (8, 2, 3)])
@pytest.mark.parametrize("wrong", [(0, 0, 0), (1, 1, 0), (1, 2e-3, 0), (1, 0, -2e-3), (float("nan"), 0, 1)])
def test_one_voxel_that_does_not_sum_to_1_is_found_wherever_it_is_in_volumes_of_any_size(sides, wrong):
    voxels = 2 * int(np.prod(sides))
    sound = GENERATOR.dirichlet(np.ones(3), voxels).astype("float32")
    function = tf.function(lambda y, weight: pair(y, y, weight).valid)
    for place in range(voxels):
        target, weight = sound.copy(), np.ones((voxels, 1), "float32")
        target[place], weight[place] = wrong, 0
        target = tf.constant(target.reshape(2, *sides, 3))
        assert not function(target, None)
        left_out = np.min(wrong) >= 0  # not so for NaN
        assert bool(function(target, tf.constant(weight.reshape(2, *sides, 1)))) == left_out


@pytest.mark.parametrize("name", ["dice", "tversky", "auc", "mcc"])
def test_a_loss_of_each_channel_by_itself_takes_overlapping_regions_if_it_takes_all_and_no_softmax(name):
    regions = np.concatenate([np.ones_like(MASK), MASK, MASK * np.roll(MASK, 1)], axis=-1)
    arguments = {"include_background": True} | ({"multiclass": "per_class"} if name == "mcc" else {})
    assert float(get_loss(name, **arguments)(regions, regions)) == pytest.approx(0, abs=1e-6)
    with pytest.raises(UsageError, match="sum to 1"):
        get_loss(name, **arguments, from_logits=True)(regions, regions)


@both
def test_the_residue_of_interpolation_counts_as_nothing_for_both(of):
    assert of(MASK * (1 + 0.9 * RESIDUE), SHARE) == pytest.approx(of(MASK, SHARE), abs=2e-3)
    for wrong in (MASK * (1 + 1.1 * RESIDUE), MASK - 1.1 * RESIDUE):
        with pytest.raises(UsageError, match=r"`y_true` must lie in \[0, 1\]"):
            of(wrong, SHARE)


@both
@pytest.mark.parametrize("label", [3, -1, 1.5, 2**32])
def test_labels_that_name_no_channel_are_refused(of, label):
    labels = LABELS.astype("float64" if label == 1.5 else "int64")
    labels[1, 2, 2, 2] = label
    with pytest.raises(UsageError, match="whole labels from 0 to 2.*y_pred.shape="):
        of(labels, SCORES)


@both
def test_half_a_probability_is_not_taken_for_a_logit(of):
    with pytest.raises(UsageError, match=r"`y_pred` must lie in \[0, 1\].*from_logits=True"):
        of(MASK, 10 * SHARE - 5)
    assert np.isfinite(of(MASK, 10 * SHARE - 5, from_logits=True))


def graph_of(of, true_shape, pred_shape):
    """Return a compiled function of targets and predictions whose static shapes are these."""
    metric = DiceScore()
    metric.update_state(LABELS if pred_shape[-1] == 3 else MASK, SCORES if pred_shape[-1] == 3 else SHARE)
    metric.reset_state()

    @tf.function(input_signature=[tf.TensorSpec(true_shape), tf.TensorSpec(pred_shape)], autograph=False)
    def function(y_true, y_pred):
        if of is loss:
            return MCCLoss()(y_true, y_pred)
        metric.update_state(y_true, y_pred)
        return metric.result()

    return function


UNKNOWN = (None,) * 4


@both
@pytest.mark.parametrize("true_shape", [None, (*UNKNOWN, None)])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_unknown_number_of_channels_is_refused_since_it_decides_what_a_target_is(of, true_shape, channels):
    with pytest.raises(UsageError, match="known number of channels.*ensure_shape"):
        graph_of(of, true_shape, (*UNKNOWN, channels)).get_concrete_function()


@both
def test_unknown_lengths_are_compared_when_the_graph_runs(of):
    assert float(graph_of(of, (*UNKNOWN, 1), (*UNKNOWN, 1))(MASK, SHARE)) == pytest.approx(of(MASK, SHARE), abs=1e-6)
    for short in (MASK[:, :1], MASK[:1]):  # which TensorFlow would repeat
        assert np.isnan(float(graph_of(of, (*UNKNOWN, 1), (*UNKNOWN, 1))(short, SHARE)))


def test_a_row_is_not_said_to_fit_by_an_unknown_last_axis():
    with pytest.raises(UsageError, match="known number of channels"):
        target_kind((2, None), (2, 3))


def test_a_nan_prediction_is_nan_also_where_no_voxel_is_foreground():
    empty, p = np.zeros_like(MASK), SHARE / 3
    p[0, 1, 1, 1] = np.nan
    assert np.isnan(score(empty, p))
    assert np.isnan(score(empty, p, pool="all"))
    scores = SCORES.copy()
    scores[0, 0, 0, 0, 1] = np.nan
    assert np.isnan(score(LABELS, scores)) and np.isnan(score(LABELS, scores, from_logits=True))
    assert np.isnan(float(DiceLoss()(empty, p)))


PREDICTION = np.full((2, 3, 3, 3, 4), 0.25, np.float32)
FOUR_LABELS = np.random.default_rng(0).integers(0, 4, (2, 3, 3, 3, 1))


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
    with_axis, without = (pair(keras.ops.array(each), PREDICTION) for each in (FOUR_LABELS, FOUR_LABELS[..., 0]))
    expected = np.eye(4)[FOUR_LABELS[..., 0]]
    assert np.array_equal(with_axis.y_true, expected)
    assert np.array_equal(without.y_true, expected)
    assert with_axis.weight is None


def test_an_ignored_label_weighs_nothing_beside_other_weights():
    labels, weight = np.where(FOUR_LABELS == 2, 255, FOUR_LABELS), np.full(FOUR_LABELS.shape, 3.0, np.float32)
    found = pair(keras.ops.array(labels), PREDICTION, keras.ops.array(weight), ignore_class=255)
    assert np.array_equal(found.weight, np.where(labels == 255, 0, 3))
    assert bool(found.valid)


@pytest.mark.parametrize(("label", "named"), [(4, "labels from 0 to 4"), (-1, "labels from -1 to"), (0.5, "whole")])
def test_labels_that_are_no_channel_are_refused(label, named):
    labels = FOUR_LABELS.astype(np.float32)
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
