import os
import subprocess
import sys


def test_the_lines_that_tensorflow_always_prints_are_held_back():
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-m", "mcc_keras", "info"]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "tensorflow" in finished.stdout
    assert [line for line in finished.stderr.splitlines() if line.startswith(("I0000", "WARNING: All log"))] == []
