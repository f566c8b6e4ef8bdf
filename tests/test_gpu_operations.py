"""What stands in for a GPU: every operation of a training step has a kernel there, also with deterministic kernels."""

import gpu_operations
import keras
import pytest
import tensorflow as tf

from mcc_keras import metrics
from mcc_keras.losses import LOSSES, get_loss

METRICS = ("DiceScore", "JaccardScore", "Sensitivity", "Precision", "VolumetricSimilarity")
MATTHEWS = "MatthewsCorrelationCoefficient"
SIDES = (4, 4, 4, 1)
# Channels of the heads and their losses; of more classes the metrics alone compute something else.
HEADS = {1: tuple(LOSSES), 3: tuple(LOSSES), 9: ("mcc",)}


def small_model(channels):
    """Build a small network with a head for each loss; the metrics are of the first."""
    image = keras.Input(SIDES)
    features = keras.layers.Conv3D(2, 3, padding="same")(image)
    activation = "sigmoid" if channels == 1 else "softmax"
    names = HEADS[channels]
    heads = {name: keras.layers.Conv3D(channels, 1, activation=activation, name=name)(features) for name in names}
    model = keras.Model(image, heads)
    scores = [getattr(metrics, name)() for name in (*METRICS, MATTHEWS)] + [metrics.DiceScore(pool="all", name="all")]
    losses = {name: get_loss(name) for name in names}
    model.compile("adam", loss=losses, metrics={"mcc": scores}, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.fixture(scope="module", params=HEADS, ids="{} channels".format)
def step(request):
    """Return the operations of a training step, traced with deterministic kernels in mind."""
    gpu_operations.skip_without_gpu_kernels()
    model, dtype = small_model(request.param), "float32" if request.param == 1 else "int32"
    # One step eagerly creates the variables of the metrics, which a graph may not.
    model.test_step((tf.zeros((1, *SIDES)), {name: tf.zeros((1, *SIDES), dtype) for name in HEADS[request.param]}))
    image = tf.TensorSpec((None, *SIDES))
    target = {name: tf.TensorSpec((None, *SIDES), dtype) for name in HEADS[request.param]}
    with gpu_operations.deterministic():
        traced = tf.function(lambda x, y: model.train_step((x, y)), autograph=False)
        return gpu_operations.operations(traced.get_concrete_function(image, target))


def test_every_operation_of_every_loss_and_metric_has_a_gpu_kernel(step):
    assert {"Conv3DBackpropFilterV2", "AssignAddVariableOp"} <= step
    assert gpu_operations.without_gpu_kernel(step) == []


def test_none_is_refused_where_tensorflow_is_to_be_deterministic(step):
    assert gpu_operations.refused_by_determinism(step) == []


def test_the_lists_find_what_they_are_for():
    gpu_operations.skip_without_gpu_kernels()
    counting = tf.function(lambda x: tf.math.bincount(x)).get_concrete_function(tf.TensorSpec((3,), "int32"))
    assert "DenseBincount" in gpu_operations.refused_by_determinism(gpu_operations.operations(counting))
    text = tf.function(lambda x: tf.strings.length(x)).get_concrete_function(tf.TensorSpec((3,), "string"))
    assert gpu_operations.without_gpu_kernel(gpu_operations.operations(text)) == ["StringLength"]
