"""What can be refused without TensorFlow is refused before it is loaded."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
from mcc_keras.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as stopped:
    code = stopped.code
print(json.dumps([code, "tensorflow" in sys.modules]))
"""
WITHOUT_EXTRA = """
import sys
sys.modules["grpc"] = sys.modules["highdicom"] = None  # as if they were not installed
"""


def refuse(*arguments, program=PROGRAM, folder=None):
    """Return the exit code of a command in a fresh process, and whether TensorFlow was loaded."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True)
    return tuple(json.loads(finished.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "command",
    [
        "train work run --loss mc",
        "train work run --recipe quick",
        "train work run --augment strnog",
        "train work used",
        "train work run --epochs 0",
        "preview pairs -o there.png",
        "preview pairs -o page.xyz",
        "segment --run run scan.nii.gz -o there.nii.gz",
        "segment --run run scan.nii.gz -o mask.png",
        "segment --server localhost:8500 scan.nii.gz -o there.nii.gz",
        "segment --server localhost:8500 scan.nii.gz -o mask.png",
        "segment --server localhost scan.nii.gz -o mask.nii.gz",
        "segment --server localhost:8500 scan.nii.gz -o mask.nii.gz --in-flight 3",
        "segment --server localhost:8500 scans -o masks --in-flight 0",
        "segment --run run scan.nii.gz -o mask.nii.gz --shard 1/2",
        "segment --run run scan.nii.gz -o masks --segment-codes codes.json",
        "demo .",
        "check pairs --workers 1 --html there.html",
    ],
)
def test_wrong_usage_is_refused_before_tensorflow_is_loaded(command, write_pairs, tmp_path):
    write_pairs(count=3)
    (tmp_path / "used").mkdir()
    for name in ("there.nii.gz", "there.html", "there.png", "used/thesis.txt"):
        (tmp_path / name).touch()
    assert refuse(*command.split(), folder=tmp_path) == (2, False)


@pytest.mark.parametrize(
    "command",
    [
        "train work run",
        "segment --run run scan.nii.gz -o mask.nii.gz",
        "segment --run run scans -o masks",
        "evaluate run",
        "explain mask.nii.gz",
    ],
)
def test_a_missing_input_is_refused_before_tensorflow_is_loaded(command, tmp_path):
    assert refuse(*command.split(), folder=tmp_path) == (3, False)


@pytest.mark.parametrize(
    "command",
    [
        "segment --server localhost:8500 scan.nii.gz -o mask.nii.gz",
        "segment --server localhost:8500 scan -o mask.dcm",
        "segment --server localhost:8500 scans -o masks",
        "segment --run run scan -o mask.dcm",
    ],
)
def test_a_missing_extra_is_refused_before_tensorflow_is_loaded(command, tmp_path):
    assert refuse(*command.split(), program=WITHOUT_EXTRA + PROGRAM, folder=tmp_path) == (5, False)
