"""The same promises on the other backends of Keras, each in a process of its own.

They run in this environment if it has the backend, or in the one whose interpreter MCC_KERAS_PEERS_PYTHON names.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = os.environ.get("MCC_KERAS_PEERS_PYTHON", sys.executable)


# JAX compiles each operation for each shape, which takes minutes for all of it: these promises differ most by backend.
CHOICE = {"jax": "far_out or volume_by_volume or labels_beyond or cells", "torch": ""}


@pytest.mark.parametrize("backend", CHOICE)
def test_losses_and_metrics_keep_their_promises_on(backend):
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    needed = f"import {backend}, keras, sklearn, pytest"
    probe = subprocess.run([PYTHON, "-c", needed], env=environment, capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"no {backend} in {PYTHON}; set MCC_KERAS_PEERS_PYTHON to an interpreter that has it")
    tests = ["tests/losses/test_every_loss.py", "tests/metrics/test_every_metric.py", "tests/test_confusion.py"]
    command = [PYTHON, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(ROOT), "--import-mode=importlib"]
    command += ["--noconftest", "-p", "no:cacheprovider", *tests, "-k", CHOICE[backend]]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
