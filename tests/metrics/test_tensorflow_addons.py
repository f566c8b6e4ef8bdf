"""Values of the real tensorflow-addons, which runs in an environment of its own: `make test-tfa`."""

import json
import os
import subprocess

import numpy as np
import pytest

from mcc_keras.metrics import MatthewsCorrelationCoefficient

PYTHON = os.environ.get("MCC_KERAS_TFA_PYTHON")
THEIRS = """
import json, sys
import numpy as np
import tensorflow_addons as tfa

y_true, y_pred = (np.eye(3, dtype="float32")[labels] for labels in json.load(sys.stdin))
metric = tfa.metrics.MatthewsCorrelationCoefficient(num_classes=3)
metric.update_state(y_true, y_pred)
print(json.dumps(float(metric.result())))
"""

pytestmark = [
    pytest.mark.tfa,
    pytest.mark.skipif(PYTHON is None, reason="needs tensorflow-addons in an environment of its own: make test-tfa"),
]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_coefficient_of_three_classes_is_theirs(seed):
    truth, predicted = np.random.default_rng(seed).integers(0, 3, (2, 500))
    sent = json.dumps([truth.tolist(), predicted.tolist()])
    finished = subprocess.run([PYTHON, "-W", "ignore", "-c", THEIRS], input=sent, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    ours = MatthewsCorrelationCoefficient(num_classes=3)
    ours.update_state(np.eye(3)[truth][None], np.eye(3)[predicted][None])
    # Theirs counts in float32.
    assert float(ours.result()) == pytest.approx(json.loads(finished.stdout), abs=1e-6)
