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
BACKENDS = ("jax", "torch")
# The supervised VoxResNet stands for the plain one, whose layers it has.
PROMISES = "distribution or finite_gradient or do_not_mix or takes_a_step or overfits"
CHOICE = f"({PROMISES}) and not (voxresnet and not deep)"
# XLA need not optimise what runs a few times, nor compile it again in the next run.
QUICK = {
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


@pytest.fixture(scope="module")
def started(pytestconfig):
    """Start the backends side by side, since each leaves a core idle; those that are missing are None."""
    compiled = pytestconfig.cache.mkdir("jax_models")
    processes = {backend: start(backend, compiled) for backend in BACKENDS}
    yield processes
    for process in filter(None, processes.values()):
        process.kill()
        process.wait()


def start(backend, compiled):
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT), **QUICK}
    environment["JAX_COMPILATION_CACHE_DIR"] = str(compiled)
    needed = f"import {backend}, keras, pytest"
    if subprocess.run([PYTHON, "-c", needed], env=environment, capture_output=True, check=False).returncode:
        return None
    command = [PYTHON, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(ROOT), "--import-mode=importlib"]
    command += ["--noconftest", "-p", "no:cacheprovider", "tests/models/test_every_model.py", "-k", CHOICE]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_networks_keep_their_promises_on(backend, started):
    if started[backend] is None:
        pytest.skip(f"no {backend} in {PYTHON}; set MCC_KERAS_PEERS_PYTHON to an interpreter that has it")
    output, _ = started[backend].communicate()
    assert started[backend].returncode == 0, output[-4000:]
