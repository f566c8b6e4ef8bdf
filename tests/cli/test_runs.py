"""`runs` on the command line: a table on the terminal, a CSV file, and no TensorFlow."""

import csv
import json
import subprocess
import sys

import pytest

import mcc_keras as mk


@pytest.fixture
def runs(tmp_path):
    """Two runs that differ in loss and seed, and one that is damaged."""
    for name, settings in {"a": {"loss": "mcc"}, "b\x1b[2J": {"loss": "dice", "seed": 3}, "c": {}}.items():
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "recipe.json").write_text(mk.Recipe(**settings).to_json())
    (tmp_path / "runs" / "a" / "history.csv").write_text("epoch,loss,val_dice,seconds\n1,0.5,0.8125,90\n")
    (tmp_path / "runs" / "c" / "recipe.json").write_text("{")
    return tmp_path / "runs"


def test_runs_are_a_table_with_the_settings_that_differ(runs, run, capsys):
    run("runs", runs)
    head, first, second, third, problem = capsys.readouterr().out.splitlines()
    assert head.split() == [
        "run", "state", "loss", "seed", "best", "dice", "best", "epoch", "trained", "epochs", "trained", "steps",
        "trained", "minutes",
    ]  # fmt: skip
    assert first.split() == ["a", "stopped", "mcc", "0", "0.8125", "1", "1", "-", "1.5"]
    assert second.split()[:4] == ["b\\x1b[2J", "stopped", "dice", "3"]
    assert third.split()[:3] == ["c", "damaged", "-"]
    assert problem.startswith("c: recipe.json: expected JSON in UTF-8")


def test_the_table_is_written_as_csv_and_not_over_anything(runs, run, complaints, tmp_path):
    run("runs", runs, "--csv", tmp_path / "runs.csv")
    with open(tmp_path / "runs.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["run"], row["seed"], row["best_dice"]) for row in rows] == [
        ("a", "0", "0.8125"), ("b\\x1b[2J", "3", ""), ("c", "", "")
    ]  # fmt: skip
    code, (line,) = complaints("runs", runs, "--csv", tmp_path / "runs.csv")
    assert (code, "found a file" in line) == (2, True)
    run("runs", runs, "--csv", tmp_path / "runs.csv", "--overwrite")
    code, (line,) = complaints("runs", runs, "--csv", runs / "a" / "history.csv", "--overwrite")
    assert (code, "must not be an input" in line) == (2, True)


def test_a_folder_without_runs_is_an_error_of_data(complaints, tmp_path):
    code, (line,) = complaints("runs", tmp_path)
    assert (code, "expected runs" in line) == (3, True)


def test_listing_loads_no_tensorflow(runs):
    program = "import json, sys; from mcc_keras.cli import main; main(sys.argv[1:])"
    program += "; print(json.dumps([name for name in ('tensorflow', 'keras') if name in sys.modules]))"
    finished = subprocess.run([sys.executable, "-c", program, "runs", runs], capture_output=True, text=True, check=True)
    assert json.loads(finished.stdout.splitlines()[-1]) == []
