"""A training that is stopped goes on as if it had not been: weights, optimizer, history and best epoch, bit for bit."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import killed_training
import numpy as np
import pytest
from killed_training import SETTINGS, network

import mcc_keras as mk
from mcc_keras.datasets import find_cases, write_synthetic
from mcc_keras.errors import BusyError, DataError, OutputExistsError, RunError, TrainingInterrupted, UsageError
from mcc_keras.records.manifest import read_manifest
from mcc_keras.runs.data import RunData
from mcc_keras.runs.run import read_run
from mcc_keras.training.fit import Session, fit
from mcc_keras.training.generations import latest_state, list_generations, read_generation
from mcc_keras.training.keeper import Keeper
from mcc_keras.training.resume import move_aside, owned_run, refuse_other_folder
from mcc_keras.training.train import train

CLOCKS = ("seconds", "volumes_per_second", "waiting_share")
STEPS = 3  # five cases in batches of two
OTHERS = {  # with two updates per epoch, the last epoch ends after one
    "epochs": None,
    "steps": 5,
    "accumulate": 2,
    "ema": 0.9,
    "optimizer": "sgd",
    "optimizer_arguments": {"momentum": 0.9},
    "schedule": "poly",
    "freeze": ("first",),
}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    source = write_synthetic(folder / "scans", num_cases=8, size=(16, 16, 8), layout="pairs", foreground_fraction=0.05)
    box = mk.Preprocessing(size=(16, 16, 8))
    mk.write_tfrecords(find_cases(source), folder / "work", preprocessing=box, split=(0.6, 0.3, 0.1), workers=1)
    return folder / "work"


@pytest.fixture(scope="module")
def last_states():
    """Every variable at the end of each training, by the name of its run folder."""
    states = {}
    with pytest.MonkeyPatch.context() as patch:
        finish = Session._finish

        def finish_and_keep(session):
            from mcc_keras.training.state import capture

            states[session.folder.name] = capture(session.model, session.average)
            return finish(session)

        patch.setattr(Session, "_finish", finish_and_keep)
        yield states


@pytest.fixture(scope="module")
def undisturbed(work, tmp_path_factory, last_states):
    return train(work, tmp_path_factory.mktemp("runs") / "undisturbed", model=network(), **SETTINGS)


def train_until(batch, work, run, **settings):
    """Train until a signal comes after so many batches in all."""
    original = Keeper.on_train_batch_end

    def on_train_batch_end(self, number, logs=None):
        position = self.schedule.position
        if position.epoch * STEPS + position.done == batch:
            self.asked = "SIGTERM"
        original(self, number, logs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Keeper, "on_train_batch_end", on_train_batch_end)
        with pytest.raises(TrainingInterrupted, match="The same call again goes on"):
            train(work, run, model=network(), **SETTINGS | settings)


def without_clocks(run):
    """Return the history as text, in which NaN equals NaN, without the columns of time."""
    return [str({name: value for name, value in row.items() if name not in CLOCKS}) for row in run.history]


@pytest.fixture(scope="module")
def stopped_once(work, undisturbed, tmp_path_factory):
    """A run that was stopped at the end of its first epoch and within the second."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    for batch in (3, 5):
        train_until(batch, work, run)
    return run


@pytest.fixture
def stopped(stopped_once, tmp_path):
    return Path(shutil.copytree(stopped_once, tmp_path / "stopped"))


def assert_equal_ends(run, other, last_states):
    """Compare everything that two trainings have left."""
    found, expected = last_states[run.folder.name], last_states[other.folder.name]
    assert found.keys() == expected.keys()
    assert [name for name in found if not np.array_equal(found[name], expected[name])] == []
    assert without_clocks(run) == without_clocks(other)
    assert (run.result.best_epoch, run.result.best_value) == (other.result.best_epoch, other.result.best_value)
    pairs = zip(*(keras.models.load_model(r.folder / "model.keras").weights for r in (run, other)), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)


def test_a_training_that_is_stopped_anywhere_ends_as_an_undisturbed_one(work, stopped, undisturbed, last_states):
    run = train(work, stopped, model=network(), **SETTINGS)
    assert_equal_ends(run, undisturbed, last_states)
    assert list_generations(run.folder) == []


def test_accumulated_gradients_and_averaged_weights_are_resumed_as_well(work, tmp_path, last_states):
    whole = train(work, tmp_path / "whole", model=network(), **SETTINGS | OTHERS)
    for batch in (3, 4):  # at the end of an epoch, and with the gradient of one batch of two
        train_until(batch, work, tmp_path / "parts", **OTHERS)
    state, arrays = read_generation(list_generations(tmp_path / "parts")[-1])
    assert (state.step, state.epoch, state.epoch_step) == (2, 1, 1)
    assert any(np.any(array) for name, array in arrays.items() if "gradient_accumulator" in name)
    run = train(work, tmp_path / "parts", model=network(), **SETTINGS | OTHERS)
    assert_equal_ends(run, whole, last_states)
    assert (run.result.steps, len(run.history)) == (5, 3)
    average = [value for name, value in last_states["whole"].items() if name.startswith("average/")]
    last = [value for name, value in last_states["whole"].items() if name.startswith("model/") and "seed" not in name]
    kept = [
        weight.numpy()
        for weight in keras.models.load_model(whole.folder / "model.keras").weights
        if "seed" not in weight.path
    ]
    assert not all(map(np.array_equal, average, last))
    if whole.result.best_epoch == 3:
        assert all(map(np.array_equal, average, kept))
    initial = network()
    assert np.array_equal(initial.get_layer("first").kernel, kept[0])  # frozen


def test_keras_callbacks_remember_what_they_knew(work, tmp_path, last_states):
    def callbacks():
        return [
            keras.callbacks.EarlyStopping("loss", patience=2, min_delta=10.0, restore_best_weights=True),
            keras.callbacks.LambdaCallback(),
        ]

    settings = {"epochs": 6}
    with pytest.warns(UserWarning, match="their state is not known: LambdaCallback"):
        whole = train(work, tmp_path / "whole", model=network(), callbacks=callbacks(), **SETTINGS | settings)
    for batch in (4, 7):
        with pytest.warns(UserWarning, match="not known"):
            train_until(batch, work, tmp_path / "parts", callbacks=callbacks(), **settings)
    with pytest.warns(UserWarning, match="not known"):
        run = train(work, tmp_path / "parts", model=network(), callbacks=callbacks(), **SETTINGS | settings)
    assert len(whole.history) == 3  # the first is the best, since none is better by 10
    assert_equal_ends(run, whole, last_states)


def test_more_epochs_are_accepted_with_a_constant_learning_rate_only(work, tmp_path, last_states, undisturbed):
    constant = SETTINGS | {"schedule": "constant"}
    whole = train(work, tmp_path / "whole", model=network(), **constant | {"epochs": 3})
    train(work, tmp_path / "grown", model=network(), **constant | {"epochs": 2})
    run = train(work, tmp_path / "grown", model=network(), **constant | {"epochs": 3})
    assert_equal_ends(run, whole, last_states)
    assert run.recipe.epochs == 3
    with pytest.raises(UsageError, match="only with schedule='constant'"):
        train(work, undisturbed.folder, model=network(), **SETTINGS | {"epochs": 4})


def test_patience_ends_a_training_where_it_would_have_ended(work, tmp_path):
    settings = SETTINGS | {"epochs": 30, "patience": 1, "learning_rate": 1e-9}
    run = train(work, tmp_path / "run", model=network(), **settings)
    assert len(run.history) == run.result.best_epoch + 1 < 30
    again = train(work, tmp_path / "run", model=network(), **settings)
    assert again.result == run.result


def test_a_kill_costs_what_came_after_the_last_generation(work, tmp_path, undisturbed, monkeypatch):
    monkeypatch.setattr(Keeper, "_due", lambda self, least: True)

    def die(self):
        if self.schedule.step == 5:
            raise MemoryError("killed here")

    monkeypatch.setattr(Keeper, "_leave", die)
    with pytest.raises(MemoryError):
        train(work, tmp_path / "killed", model=network(), **SETTINGS)
    assert [path.name for path in list_generations(tmp_path / "killed")] == ["000001-000001", "000001-000002"]
    monkeypatch.undo()
    run = train(work, tmp_path / "killed", model=network(), **SETTINGS)
    assert without_clocks(run) == without_clocks(undisturbed)


def train_in_a_process(work, run, event=None, count=0):
    """Train in a process of its own that is killed right after an event has come so many times."""
    command = [sys.executable, killed_training.__file__, str(work), str(run)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        for line in process.stdout:
            count -= line.strip() == event
            if event and count == 0:
                process.kill()
                break
            if line.strip() != "done":
                process.stdin.write("\n")
    assert process.returncode == (-signal.SIGKILL if event else 0)


def test_a_process_that_is_killed_while_it_saves_and_while_it_validates_goes_on(work, tmp_path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    train_in_a_process(work, whole)
    for stop in (("save", 5), ("validation", 1), ()):
        train_in_a_process(work, killed, *stop)
    assert without_clocks(read_run(killed)) == without_clocks(read_run(whole))
    first, second = (keras.models.load_model(run / "model.keras").weights for run in (killed, whole))
    assert [one.path for one, other in zip(first, second, strict=True) if not np.array_equal(one, other)] == []


def test_a_damaged_generation_falls_back_to_the_one_before(work, stopped, undisturbed):
    last = list_generations(stopped)[-1] / "arrays.npz"
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 1
    last.write_bytes(data)
    with pytest.warns(UserWarning, match="arrays.npz.*damaged.*The generation before it is used"):
        run = train(work, stopped, model=network(), **SETTINGS)
    assert without_clocks(run) == without_clocks(undisturbed)


def test_generations_that_are_all_damaged_are_an_error(stopped):
    for generation in list_generations(stopped):
        (generation / "state.json").write_text("{}")
    with pytest.warns(UserWarning), pytest.raises(DataError, match="state.json"):
        latest_state(stopped)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 4}, "seed=4, the run has seed=3"),
        ({"loss": "dice"}, "loss='dice', the run has loss='mcc'"),
        ({"epochs": 9}, "epochs=9, the run has epochs=3"),
        ({"model": "dense_vnet"}, "model='dense_vnet', the run has model='Functional'"),
    ],
)
def test_other_settings_are_refused_with_the_differences(work, stopped, changes, named):
    before = sorted(path.name for path in stopped.iterdir())
    with pytest.raises(UsageError, match=named):
        train(work, stopped, **{"model": network(), **SETTINGS, **changes})
    assert sorted(path.name for path in stopped.iterdir()) == before


def test_records_that_have_changed_are_refused(work, stopped, tmp_path):
    cases = mk.find_cases(work.parent / "scans")
    other = mk.Preprocessing(size=(16, 16, 8), normalize="minmax")
    mk.write_tfrecords(cases, tmp_path / "other", preprocessing=other, split=(0.6, 0.3, 0.1), workers=1)
    with pytest.raises(UsageError, match="have changed since"):
        train(tmp_path / "other", stopped, model=network(), **SETTINGS)


def test_a_restart_moves_the_old_run_aside(work, stopped):
    run = train(work, stopped, restart=True, model=network(), **{**SETTINGS, "epochs": 1, "seed": 9})
    assert (run.recipe.seed, run.result.steps) == (9, STEPS)
    assert list_generations(stopped.with_name("stopped.1"))


def test_a_finished_run_is_returned_and_nothing_is_trained(work, tmp_path, capsys):
    settings = {"epochs": 1, "batch_size": 2, "model_arguments": {"depths": (1, 1, 1)}, "augment": False}
    run = train(work, tmp_path / "run", verbose=0, **settings)
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    again = train(work, tmp_path / "run", **settings)
    assert again.result == run.result
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before
    assert "finished" in capsys.readouterr().out
    with pytest.raises(UsageError, match="epochs=2, the run has epochs=1"):
        train(work, tmp_path / "run", **{**settings, "epochs": 2})


def test_a_folder_of_something_else_is_refused(work, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    for restart in (False, True):
        with pytest.raises(OutputExistsError, match="not empty"):
            train(work, tmp_path, restart=restart, epochs=1)


def test_a_nan_stops_the_training_and_names_step_and_cases(work, tmp_path):
    inputs = keras.Input((16, 16, 8, 1))
    outputs = keras.layers.Conv3D(1, 1, activation="sigmoid")(inputs)
    model = keras.Model(inputs, outputs)
    with pytest.raises(RunError, match=r"epoch \d, step \d, cases"):
        train(work, tmp_path / "run", model=model, loss=Exploding(after=4), **SETTINGS)
    assert (tmp_path / "run" / "model.keras").is_file()  # the epoch before
    assert not (tmp_path / "run" / "run.json").exists()
    for attempt in (lambda: mk.evaluate(tmp_path / "run"), lambda: train(work, tmp_path / "run", epochs=3)):
        with pytest.raises(RunError, match="found a failed one: the loss was not finite in epoch 2, step 1"):
            attempt()


class Exploding(keras.losses.Loss):
    """A loss that is NaN from some step on."""

    def __init__(self, after):
        super().__init__(name="exploding")
        self.left = keras.Variable(float(after), trainable=False)

    def call(self, y_true, y_pred):
        self.left.assign_sub(1.0)
        worth = keras.ops.where(self.left < 0, float("nan"), 1.0)
        return worth * keras.ops.mean(keras.ops.square(y_pred - y_true), axis=(1, 2, 3, 4))

    def get_config(self):
        return {"after": 4}


def test_a_signal_ends_the_command_with_exit_code_4_and_the_same_line_finishes(work, tmp_path):
    words = ["train", work, tmp_path / "run", "--epochs", "4", "--seed", "3", "--no-augment"]
    words += ["--model-arguments", "depths=[1,1,1]"]
    command = [sys.executable, "-m", "mcc_keras", *map(str, words)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        for line in process.stdout:
            if line.startswith("epoch 1/4"):
                process.send_signal(signal.SIGTERM)
                break
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 4, errors
    assert "mcc-keras train" in errors.splitlines()[-1]
    state, _ = read_generation(list_generations(tmp_path / "run")[-1])
    assert state.step >= STEPS
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert f"after {state.step} steps" in done.stdout


def test_saving_is_never_due_before_fifty_times_its_cost():
    keeper = Keeper("run", schedule=None, best=None, history=None, speed=None)
    keeper.cost, keeper.saved = 10.0, time.monotonic() - 400
    assert not keeper._due(0)
    keeper.cost = 1.0
    assert keeper._due(300)


def begun(run, *, seed=3, work="nowhere"):
    data = RunData(work=work, manifest_sha256="0" * 64, task=mk.Task(), image_shape=(8, 8, 8, 1), cases={})
    return owned_run(run, recipe=mk.Recipe(seed=seed), data=data, preprocessing=mk.Preprocessing(size=8))


def test_a_training_that_is_killed_before_it_has_begun_leaves_no_data_of_other_settings(tmp_path):
    with begun(tmp_path / "run", work="one"):
        pass
    (tmp_path / "run" / "recipe.json").unlink()
    for name in (".lock", ".0123abcd.aside.recipe.json"):
        (tmp_path / "run" / name).touch()
    refuse_other_folder(tmp_path / "run")
    with begun(tmp_path / "run", work="two", seed=4) as run:
        assert '"two"' in (run / "data.json").read_text()
        assert sorted(path.name for path in run.iterdir()) == [
            ".lock", "data.json", "preprocessing.json", "recipe.json"
        ]  # fmt: skip


def test_settings_are_compared_again_once_no_other_can_write_them(tmp_path):
    with begun(tmp_path / "run"):
        pass
    with pytest.raises(UsageError, match="seed=4, the run has seed=3"), begun(tmp_path / "run", seed=4):
        pass


def test_two_trainings_into_one_folder_one_wins(tmp_path):
    with begun(tmp_path / "run"), pytest.raises(BusyError, match=f"process {os.getpid()}"), begun(tmp_path / "run"):
        pass
    with begun(tmp_path / "run"), pytest.raises(BusyError, match=f"process {os.getpid()}"):
        move_aside(tmp_path / "run")
    assert move_aside(tmp_path / "run") == tmp_path / "run.1"
    assert not (tmp_path / "run.1" / ".lock").exists()


def test_a_run_that_another_process_has_finished_in_the_meantime_is_returned(work, undisturbed, monkeypatch):
    monkeypatch.setattr(Session, "run", None)
    again = fit(read_manifest(work), undisturbed.folder, recipe=undisturbed.recipe, model=network())
    assert again.result == undisturbed.result
