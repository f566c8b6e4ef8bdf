import keras
import pytest

from mcc_keras.errors import DataError, OutputExistsError, RunError
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.runs import finish_run, read_run, start_run


@pytest.fixture
def folder(tmp_path):
    folder = start_run(tmp_path / "run")
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(folder / "model.keras")
    (folder / "preprocessing.json").write_text(Preprocessing(size=8).to_json())
    (folder / "history.csv").write_text("epoch,loss,val_dice\n1,0.5,\n2,0.25,0.75\n")
    return folder


def test_a_run_reads_back_what_was_written(folder):
    run = finish_run(folder, {"labels": [[1, 2], [4]], "seed": 7})
    assert read_run(run) is run
    assert run.settings["seed"] == 7
    assert run.labels == ((1, 2), (4,))
    assert run.preprocessing == Preprocessing(size=8)
    assert run.history == [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "val_dice": 0.75}]
    assert run.load_model().output_shape == (None, 1)


def test_a_folder_that_is_not_empty_is_refused_and_says_what_is_in_it(folder, tmp_path):
    with pytest.raises(OutputExistsError, match="not empty"):
        start_run(folder)
    finish_run(folder, {})
    with pytest.raises(OutputExistsError, match="a finished run"):
        start_run(folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputExistsError):
        start_run(tmp_path / "file")


def test_an_empty_folder_may_become_a_run(tmp_path):
    assert start_run(tmp_path) == tmp_path


def test_an_unfinished_run_is_an_error_that_names_what_is_missing(folder, tmp_path):
    with pytest.raises(RunError, match=r"no run\.json"):
        read_run(folder)
    with pytest.raises(RunError, match="train"):
        read_run(tmp_path / "nowhere")


def test_damaged_settings_are_an_error_that_names_the_file(folder):
    (folder / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run\.json"):
        read_run(folder)
    (folder / "run.json").write_text("{}")
    (folder / "preprocessing.json").write_text("{}")
    with pytest.raises(DataError, match=r"preprocessing\.json"):
        read_run(folder)


def test_a_damaged_model_is_an_error_that_names_the_file(folder):
    run = finish_run(folder, {})
    (folder / "model.keras").write_bytes((folder / "model.keras").read_bytes()[:100])
    with pytest.raises(RunError, match=r"model\.keras"):
        run.load_model()


def test_a_model_file_that_brings_code_is_refused(folder):
    code = keras.layers.Lambda(lambda x: x, output_shape=(2,))
    keras.Sequential([keras.Input((2,)), code, keras.layers.Dense(1)]).save(folder / "model.keras")
    with pytest.raises(RunError, match=r"model\.keras"):
        finish_run(folder, {}).load_model()
