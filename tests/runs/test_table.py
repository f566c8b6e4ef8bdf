"""The runs below a folder as dicts: their states, what differs, what was reached."""

import json

import pytest

import mcc_keras as mk
from mcc_keras.documents import write_document
from mcc_keras.errors import RunError
from mcc_keras.locks import owned
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.runs.data import RunData
from mcc_keras.runs.run import DATA, FAILED, FAILURE_SCHEMA, HISTORY, LOCK, Failure, RunResult, start_run

EPOCHS = "epoch,loss,val_dice,seconds\n1,0.9,0.5,60\n2,0.7,0.75,120\n3,0.6,0.75,180\n4,0.6,nan,240\n"


def start(folder, *, history=EPOCHS, work="work", **settings):
    """Write the folder of a training that is not finished."""
    data = RunData(work=work, manifest_sha256="0", task=mk.Task(), image_shape=(8, 8, 8, 1), cases={})
    start_run(folder, recipe=mk.Recipe(**settings), data=data, preprocessing=Preprocessing(size=8))
    if history:
        (folder / HISTORY).write_text(history)
    return folder


def finish(folder):
    numbers = {"best_epoch": 3, "best_value": 0.875, "steps": 12, "seconds": 300.0, "parameters": 1}
    write_document(RunResult(**numbers, speed={}, versions={}), folder / "run.json", schema=2)


def by_run(rows):
    return {row["run"]: row for row in rows}


def test_what_is_done_and_reached_is_told_of_each_run(tmp_path):
    finish(start(tmp_path / "a", seed=1))
    (start(tmp_path / "deep" / "b", seed=2) / "generations" / "000000008").mkdir(parents=True)
    start(tmp_path / "c", seed=1, history=None)
    rows = mk.list_runs(tmp_path)
    assert rows == [
        {
            "run": "a", "state": "finished", "seed": 1, "best_dice": 0.875, "best_epoch": 3, "trained_epochs": 4,
            "trained_steps": 12, "trained_minutes": 5.0, "problem": None,
        },
        {
            "run": "c", "state": "stopped", "seed": 1, "best_dice": None, "best_epoch": None, "trained_epochs": 0,
            "trained_steps": None, "trained_minutes": 0.0, "problem": None,
        },
        {
            "run": "deep/b", "state": "stopped", "seed": 2, "best_dice": 0.75, "best_epoch": 2, "trained_epochs": 4,
            "trained_steps": 8, "trained_minutes": 4.0, "problem": None,
        },
    ]  # fmt: skip


def test_a_run_is_running_while_a_live_process_holds_its_lock(tmp_path):
    run = start(tmp_path / "run")
    with owned(run / LOCK, run):
        assert mk.list_runs(run)[0]["state"] == "running"
    assert mk.list_runs(run)[0] | {"run": "."} == mk.list_runs(run)[0]
    assert mk.list_runs(run)[0]["state"] == "stopped"


def test_a_failed_run_says_why(tmp_path):
    run = start(tmp_path / "run")
    write_document(Failure(epoch=2, step=3, cases=("x",), first="loss"), run / FAILED, schema=FAILURE_SCHEMA)
    (row,) = mk.list_runs(tmp_path)
    assert (row["state"], row["problem"]) == ("failed", "the loss was not finite in epoch 2, step 3, cases x")


@pytest.mark.parametrize("name", ["recipe.json", "data.json", "run.json", "history.csv"])
def test_a_damaged_run_is_one_row_and_the_others_go_on(tmp_path, name):
    finish(start(tmp_path / "a", seed=1))
    finish(start(tmp_path / "b", seed=2))
    finish(start(tmp_path / "c", seed=3))
    (tmp_path / "b" / name).write_text("epoch,loss\nx,y\n")
    rows = mk.list_runs(tmp_path)
    assert [(row["state"], row["seed"], row["best_dice"]) for row in rows] == [
        ("finished", 1, 0.875), ("damaged", None, None), ("finished", 3, 0.875)
    ]  # fmt: skip
    assert rows[1]["problem"].startswith(f"{name}: expected ")


def test_a_recipe_of_a_newer_version_is_told(tmp_path):
    run = start(tmp_path / "run")
    content = json.loads((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(json.dumps(content | {"schema": 99}))
    assert "expected schema 1, found 99" in mk.list_runs(run)[0]["problem"]


def test_runs_on_different_records_are_told_apart(tmp_path):
    start(tmp_path / "a", work="/fold0")
    start(tmp_path / "b", work="/fold1")
    (start(tmp_path / "c", work="/fold1") / DATA).unlink()
    assert [row["work"] for row in mk.list_runs(tmp_path)] == ["/fold0", "/fold1", None]


def test_a_folder_without_runs_is_an_error(tmp_path):
    with pytest.raises(RunError, match=r"expected runs, folders with recipe\.json, found none"):
        mk.list_runs(tmp_path)
    with pytest.raises(RunError, match="expected a folder of runs"):
        mk.list_runs(tmp_path / "nowhere")
