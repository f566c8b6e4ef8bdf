"""The rows of the README's table beside the real tensorflow-addons 0.23, which runs in an environment of its own.

MCC_KERAS_TFA_PYTHON names its interpreter: Python 3.11, tensorflow-cpu 2.15.1, tensorflow-addons 0.23 and numpy < 2.
"""

import json
import os
import subprocess

import keras
import numpy as np
import pytest

from mcc_keras.losses import FocalLoss
from mcc_keras.metrics import MatthewsCorrelationCoefficient

pytestmark = pytest.mark.tfa
PYTHON = os.environ.get("MCC_KERAS_TFA_PYTHON")
THEIRS = """
import json, sys
import numpy as np, tensorflow as tf, tensorflow_addons as tfa
given, found = np.load(sys.argv[1]), {}
for classes in (2, 3, 7):
    metric = tfa.metrics.MatthewsCorrelationCoefficient(num_classes=classes)
    for batch in range(3):
        metric.update_state(given[f"y{classes}"][batch], given[f"p{classes}"][batch])
    found[str(classes)] = float(metric.result())
metric = tfa.metrics.MatthewsCorrelationCoefficient(num_classes=1)
metric.update_state(given["y1"], given["y1"])
found["1"] = float(metric.result())
def trained(optimizer):
    weights = tf.Variable(given["weights"])
    for gradient in given["gradients"]:
        optimizer.apply_gradients([(tf.constant(gradient), weights)])
    return weights
found["GroupNormalization"] = tfa.layers.GroupNormalization(groups=2)(given["features"]).numpy().tolist()
found["InstanceNormalization"] = tfa.layers.InstanceNormalization()(given["features"]).numpy().tolist()
found["AdamW"] = trained(tfa.optimizers.AdamW(weight_decay=0.01, learning_rate=0.1)).numpy().tolist()
found["LAMB"] = trained(tfa.optimizers.LAMB(learning_rate=0.1)).numpy().tolist()
averaging = tfa.optimizers.MovingAverage(tf.keras.optimizers.legacy.SGD(0.1), average_decay=0.9)
weights = trained(averaging)
averaging.assign_average_vars([weights])
found["MovingAverage"] = weights.numpy().tolist()
focal = tfa.losses.SigmoidFocalCrossEntropy()(given["y_voxels"], given["p_voxels"])
found["SigmoidFocalCrossEntropy"] = focal.numpy().tolist()
metric = tfa.metrics.F1Score(num_classes=3, threshold=0.5)
metric.update_state(given["y3"][0], given["p3"][0] / 2.5)
found["F1Score"] = metric.result().numpy().tolist()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def given():
    generator, arrays = np.random.default_rng(0), {"y1": np.array([[1.0], [0.0], [1.0]])}
    for classes in (2, 3, 7):
        labels = generator.integers(0, classes, (3, 200))
        arrays[f"y{classes}"] = np.eye(classes, dtype="float32")[labels]
        arrays[f"p{classes}"] = (arrays[f"y{classes}"] + 1.5 * generator.random((3, 200, classes))).astype("float32")
    arrays["features"] = generator.normal(size=(2, 4, 4, 4, 6)).astype("float32")
    arrays["weights"] = generator.normal(size=5).astype("float32")
    arrays["gradients"] = generator.normal(size=(3, 5)).astype("float32")
    arrays["y_voxels"] = (generator.random((4, 7, 1)) < 0.4).astype("float32")
    arrays["p_voxels"] = generator.uniform(0.01, 0.99, (4, 7, 1)).astype("float32")
    return arrays


@pytest.fixture(scope="module")
def theirs(given, tmp_path_factory):
    if not PYTHON:
        pytest.skip("MCC_KERAS_TFA_PYTHON does not name an interpreter with tensorflow-addons 0.23 (Python 3.11)")
    path = tmp_path_factory.mktemp("tfa") / "given.npz"
    np.savez(path, **given)
    done = subprocess.run([PYTHON, "-c", THEIRS, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_the_same_arguments_and_data_give_the_same_value(classes, given, theirs):
    metric = MatthewsCorrelationCoefficient(num_classes=classes)
    for y_true, y_pred in zip(given[f"y{classes}"], given[f"p{classes}"], strict=True):
        metric.update_state(y_true, y_pred)
    assert float(metric.result()) == pytest.approx(theirs[str(classes)], abs=1e-6)


def test_on_one_sigmoid_channel_theirs_says_0_of_a_perfect_prediction_and_ours_1(given, theirs):
    metric = MatthewsCorrelationCoefficient(num_classes=1)
    metric.update_state(given["y1"], given["y1"])
    assert theirs["1"] == 0.0
    assert float(metric.result()) == 1.0


@pytest.mark.parametrize(("theirs_name", "groups"), [("GroupNormalization", 2), ("InstanceNormalization", -1)])
def test_normalization_by_groups_is_in_keras(theirs_name, groups, given, theirs):
    ours = keras.layers.GroupNormalization(groups=groups)(given["features"])
    np.testing.assert_allclose(ours, theirs[theirs_name], atol=1e-6)


def trained(optimizer, given):
    weights = keras.Variable(given["weights"])
    optimizer.build([weights])
    for gradient in given["gradients"]:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)])
    optimizer.finalize_variable_values([weights])
    return weights.numpy()


def test_optimizers_are_in_keras_and_weight_decay_is_divided_by_the_learning_rate(given, theirs):
    adamw = trained(keras.optimizers.AdamW(0.1, weight_decay=0.01 / 0.1), given)
    np.testing.assert_allclose(adamw, theirs["AdamW"], atol=1e-5)
    np.testing.assert_allclose(trained(keras.optimizers.Lamb(0.1), given), theirs["LAMB"], atol=1e-5)


def test_moving_averages_are_in_keras_and_begin_a_step_later(given, theirs):
    path = given["weights"] - 0.1 * np.cumsum([np.zeros(5), *given["gradients"]], axis=0)

    def average(values):
        mean = values[0]
        for value in values[1:]:
            mean = 0.9 * mean + 0.1 * value
        return mean

    ours = trained(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9), given)
    np.testing.assert_allclose(theirs["MovingAverage"], average(path), atol=1e-6)
    np.testing.assert_allclose(ours, average(path[1:]), atol=1e-6)


def test_focal_loss_and_f1_score_are_in_keras(given, theirs):
    y, p = given["y_voxels"], given["p_voxels"]
    ours = keras.losses.BinaryFocalCrossentropy(apply_class_balancing=True, reduction=None)(y, p)
    np.testing.assert_allclose(ours, theirs["SigmoidFocalCrossEntropy"], atol=1e-5)
    volumes = FocalLoss(class_weights=(0.75, 0.25), reduction=None)(y, p)
    np.testing.assert_allclose(volumes, np.mean(theirs["SigmoidFocalCrossEntropy"], axis=1), atol=1e-5)
    score = keras.metrics.F1Score(threshold=0.5)
    score.update_state(given["y3"][0], given["p3"][0] / 2.5)
    np.testing.assert_allclose(score.result(), theirs["F1Score"], atol=1e-6)
