"""The promises of the networks on the other backends of Keras, each in a process of its own.

They run in this environment if it has the backend, or in the one whose interpreter MCC_KERAS_PEERS_PYTHON names.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("MCC_KERAS_PEERS_PYTHON", sys.executable)
# The supervised VoxResNet stands for the plain one, whose layers it has.
PROMISES = "distribution or finite_gradient or do_not_mix or takes_a_step or overfits"
CHOICE = f"({PROMISES}) and not (voxresnet and not deep)"


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_networks_keep_their_promises_on(backend):
    # XLA need not optimise what runs a few times.
    flags = {"KERAS_BACKEND": backend, "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    environment = {**os.environ, **flags, "PYTHONPATH": str(ROOT)}
    needed = f"import {backend}, keras, pytest"
    probe = subprocess.run([PYTHON, "-c", needed], env=environment, capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"no {backend} in {PYTHON}; set MCC_KERAS_PEERS_PYTHON to an interpreter that has it")
    command = [PYTHON, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(ROOT), "--import-mode=importlib"]
    command += ["--noconftest", "-p", "no:cacheprovider", "tests/models/test_every_model.py", "-k", CHOICE]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
