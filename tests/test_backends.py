"""The promises of losses, metrics and networks on the other backends of Keras, each in a process of its own.

They run in this environment if it has the backend, or in the one whose interpreter MCC_KERAS_PEERS_PYTHON names.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PYTHON = os.environ.get("MCC_KERAS_PEERS_PYTHON", sys.executable)
BACKENDS = ("jax", "torch")
SUITES = {
    "losses and metrics": (
        "losses/test_every_loss.py",
        "losses/test_properties.py",
        "metrics/test_every_metric.py",
        "metrics/test_matthews.py",
        "test_confusion.py",
    ),
    "networks": ("models/test_every_model.py",),
}
# Of the networks what differs by backend: their operations forward and, in a step, backward. JAX compiles a step for a
# minute, so one network stands for all under the halves, and the supervised VoxResNet for the plain one.
CHOICE = {
    "losses and metrics": "",
    "networks": "(do_not_mix or takes_a_step) and not (voxresnet and not deep) and not (mixed and not dense_vnet)",
}
# JAX compiles each operation for each shape: optimizing what runs once takes longer than running it, and much comes
# back, within a run and in the next one.
QUICK = {
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


@pytest.fixture(scope="module", params=SUITES)
def started(request, tmp_path_factory):
    """Start the backends side by side, since each leaves a core idle; those that are missing are None."""
    cache = getattr(request.config, "cache", None)
    compiled = cache.mkdir("jax") if cache else tmp_path_factory.mktemp("jax")
    processes = {backend: start(backend, request.param, compiled=compiled) for backend in BACKENDS}
    yield processes
    for process in filter(None, processes.values()):
        process.kill()
        process.wait()


def start(backend, promises, *, compiled):
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(TESTS.parent), **QUICK}
    environment["JAX_COMPILATION_CACHE_DIR"] = str(compiled)
    needed = f"import {backend}, keras, sklearn, pytest, hypothesis"
    if subprocess.run([PYTHON, "-c", needed], env=environment, capture_output=True, check=False).returncode:
        return None
    command = [PYTHON, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(TESTS.parent)]
    command += ["--import-mode=importlib", "-p", "no:cacheprovider", "-k", CHOICE[promises]]
    command += [str(TESTS / suite) for suite in SUITES[promises]]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_promise_is_kept_on(backend, started):
    if started[backend] is None:
        pytest.skip(f"no {backend} in {PYTHON}; set MCC_KERAS_PEERS_PYTHON to an interpreter that has it")
    output, _ = started[backend].communicate()
    assert started[backend].returncode == 0, output[-4000:]
