"""Our Matthews metric beside the real one of tensorflow-addons 0.23, which runs in an environment of its own.

MCC_KERAS_TFA_PYTHON names its interpreter: Python 3.11, tensorflow-cpu 2.15.1, tensorflow-addons 0.23 and numpy < 2.
"""

import json
import os
import subprocess

import numpy as np
import pytest

from mcc_keras.metrics import MatthewsCorrelationCoefficient

pytestmark = pytest.mark.tfa
PYTHON = os.environ.get("MCC_KERAS_TFA_PYTHON")
THEIRS = """
import json, sys
import numpy as np, tensorflow_addons as tfa
given, found = np.load(sys.argv[1]), {}
for classes in (2, 3, 7):
    metric = tfa.metrics.MatthewsCorrelationCoefficient(num_classes=classes)
    for batch in range(3):
        metric.update_state(given[f"y{classes}"][batch], given[f"p{classes}"][batch])
    found[str(classes)] = float(metric.result())
metric = tfa.metrics.MatthewsCorrelationCoefficient(num_classes=1)
metric.update_state(given["y1"], given["y1"])
found["1"] = float(metric.result())
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def given():
    generator, arrays = np.random.default_rng(0), {"y1": np.array([[1.0], [0.0], [1.0]])}
    for classes in (2, 3, 7):
        labels = generator.integers(0, classes, (3, 200))
        arrays[f"y{classes}"] = np.eye(classes, dtype="float32")[labels]
        arrays[f"p{classes}"] = (arrays[f"y{classes}"] + 1.5 * generator.random((3, 200, classes))).astype("float32")
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
