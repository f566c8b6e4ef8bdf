import json

import keras
import pytest

from mcc_keras.errors import DataError, RunError
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.runs.data import SeenCase
from mcc_keras.runs.run import read_run
from mcc_keras.segmentation.segmenter import load_model
from mcc_keras.task import Task


@pytest.fixture
def run(write_run, tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 8, 1)), keras.layers.Conv3D(1, 1)])
    files = {"images": ("a.nii",), "mask": "a_mask.nii", "sources": {"a.nii": "00"}}
    cases = {"train": (SeenCase(case_id="a", group="p", affine=None, nonfinite="error", **files),)}
    return write_run(tmp_path / "run", model, Preprocessing(size=8), task=Task(labels=((1, 2),)), cases=cases)


def test_a_run_reads_back_what_was_written(run):
    again = read_run(run.folder)
    assert read_run(run) is run
    assert (again.recipe, again.data, again.result, again.preprocessing) == (
        run.recipe, run.data, run.result, run.preprocessing
    )  # fmt: skip
    assert again.task.labels == ((1, 2),)
    assert again.data.cases["train"][0].sources == {"a.nii": "00"}
    assert again.history[1] == {"epoch": 2, "loss": 0.7, "dice": 0.3, "val_loss": 0.6, "val_dice": 0.4}
    assert load_model(again)[0].output_shape == (None, 8, 8, 8, 1)


def test_an_unfinished_run_is_an_error_that_names_what_is_missing(run, tmp_path):
    (run.folder / "run.json").unlink()
    with pytest.raises(RunError, match=r"no run\.json"):
        read_run(run.folder)
    with pytest.raises(RunError, match="train"):
        read_run(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["run.json", "recipe.json", "data.json", "preprocessing.json"])
@pytest.mark.parametrize("text", ["{", "{}", '{"schema": 99}', '{"schema": 1, "unknown": 1}'])
def test_a_damaged_file_is_an_error_that_names_it(run, name, text):
    (run.folder / name).write_text(text)
    with pytest.raises(DataError, match=name):
        read_run(run.folder)


def test_a_value_of_another_type_is_an_error_that_names_the_key(run):
    content = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps(content | {"best_epoch": "two"}))
    with pytest.raises(RunError, match=r"run.json: expected `int`, got `str` - at `\$.best_epoch`"):
        read_run(run.folder)


def test_the_history_is_not_needed_until_it_is_asked_for(run):
    (run.folder / "history.csv").write_text("epoch;loss\n1;0.5\n")
    again = read_run(run.folder)
    with pytest.raises(RunError, match=r"history\.csv"):
        _ = again.history


def test_a_damaged_model_is_an_error_that_names_the_file(run):
    (run.folder / "model.keras").write_bytes((run.folder / "model.keras").read_bytes()[:100])
    with pytest.raises(RunError, match=r"model\.keras"):
        load_model(run)


def test_a_model_file_that_brings_code_is_refused(run):
    code = keras.layers.Lambda(lambda x: x, output_shape=(8, 8, 8, 1))
    keras.Sequential([keras.Input((8, 8, 8, 1)), code]).save(run.folder / "model.keras")
    with pytest.raises(RunError, match=r"model\.keras"):
        load_model(run)
