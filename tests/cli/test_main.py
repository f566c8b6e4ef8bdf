"""Exit codes, and one line per problem that names the file; nothing half written is left."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.mark.parametrize("way", ["shape", "labels", "voxels", "stream"])
def test_a_bad_file_is_one_line_that_names_it_and_leaves_no_records(way, prepare, spoil, tmp_path, complaints):
    code, lines = complaints(*prepare(lambda folder: spoil(folder, way)))
    assert (code, len(lines)) == (3, 1)
    assert "case3" in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["pairs"]


def test_two_bad_files_are_two_lines(prepare, spoil, complaints):
    def spoil_two(folder):
        spoil(folder, "stream", "case1")
        spoil(folder, "voxels", "case3")

    code, lines = complaints(*prepare(spoil_two))
    assert (code, len(lines)) == (3, 2)
    assert "case1" in lines[0]
    assert "case3" in lines[1]


@pytest.mark.parametrize("command", [["check"], ["prepare", "--size", "16"]])
@pytest.mark.parametrize("exists", [True, False], ids=["empty", "missing"])
def test_a_source_that_is_missing_or_empty_is_named(command, exists, tmp_path, complaints):
    source = tmp_path / "source"
    if exists:
        source.mkdir()
    places = [source, tmp_path / "work"][: 2 if "prepare" in command else 1]
    code, lines = complaints(command[0], *places, *command[1:])
    assert (code, len(lines)) == (3, 1)
    assert str(source) in lines[0]
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("command", ["evaluate", "segment", "export"])
def test_a_folder_without_a_run_is_named(command, write_pairs, tmp_path, complaints):
    rest = {"evaluate": [], "export": [tmp_path / "served"], "segment": [write_pairs() / "case0.nii.gz", "-o", "m.nii"]}
    code, lines = complaints(command, *(["--run"] if command == "segment" else []), tmp_path / "run", *rest[command])
    assert (code, len(lines)) == (3, 1)
    assert str(tmp_path / "run") in lines[0]
    assert [path.name for path in tmp_path.iterdir() if path.name != "pairs"] == []


def test_a_place_that_cannot_be_written_exits_as_environment(write_pairs, complaints):
    if not Path("/sys/kernel").is_dir():
        pytest.skip("no /sys, where nobody may write")
    code, lines = complaints("check", write_pairs(), "--workers", 1, "--html", "/sys/kernel/check.html")
    assert (code, len(lines)) == (5, 1)
    assert "/sys/kernel" in lines[0]


def test_an_interrupted_command_exits_as_interrupted(tmp_path):
    # A shell that runs the tests in the background lets its children ignore the signal.
    listening = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code = f"{listening}from mcc_keras.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "demo", str(tmp_path / "demo")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "demo").exists() and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 4, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors
