"""Scripts in processes of their own: for tests that fork, kill, or let two processes meet."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

FAULTS = Path(__file__).parents[1] / "faults"


def start_script(text, *arguments, **pipes):
    """Start a script that may import what lies in tests/faults; return its `Popen`."""
    found = os.environ.get("PYTHONPATH")
    paths = os.pathsep.join([str(FAULTS), *([found] if found else [])])
    environment = os.environ | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", textwrap.dedent(text), *map(str, arguments)]
    return subprocess.Popen(command, text=True, env=environment, stdout=subprocess.PIPE, **pipes)


def run_script(text, *arguments):
    """Run a script to its end and return what it prints; it may fork, as it has neither threads nor TensorFlow."""
    with start_script(text, *arguments, stderr=subprocess.PIPE) as process:
        printed, problem = process.communicate(timeout=300)
    assert process.returncode == 0, problem
    return printed
