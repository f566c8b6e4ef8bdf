"""`ResumableRun` in a `fit` of one's own: stopped anywhere, it ends as an undisturbed training."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mcc_keras as mk
from mcc_keras.datasets import find_cases, write_synthetic
from mcc_keras.errors import BusyError, RunError, UsageError
from mcc_keras.training import resumable
from mcc_keras.training.generations import list_generations
from mcc_keras.training.state import capture

EPOCHS, STEPS = 4, 3


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resumable")
    source = write_synthetic(folder / "scans", num_cases=6, size=(8, 8, 8), layout="pairs", foreground_fraction=0.1)
    settings = {"preprocessing": mk.Preprocessing(size=8), "split": (1, 0, 0), "workers": 1, "accept_loss": True}
    mk.write_tfrecords(find_cases(source), folder / "work", **settings)
    return folder / "work"


class Stop(keras.callbacks.Callback):
    """Ends the process, as it were, after so many batches."""

    def __init__(self, after):
        super().__init__()
        self.left = after

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise MemoryError("stopped here")


def script(work, folder, *, stop_after=None, through_data=True, epochs=EPOCHS, patience=3, units=2):
    """What a user would write; returns every variable at the end, and the epochs of this call."""
    keras.utils.set_random_seed(4)
    tf.config.experimental.enable_op_determinism()
    inputs = keras.Input((8, 8, 8, 1))
    x = keras.layers.Conv3D(units, 3, padding="same", activation="relu")(inputs)
    x = keras.layers.BatchNormalization()(keras.layers.Dropout(0.2)(x))
    model = keras.Model(inputs, keras.layers.Conv3D(1, 1, activation="sigmoid")(x))
    model.compile("adam", mk.MCCLoss(), metrics=[mk.metrics.DiceScore()])
    others = [
        keras.callbacks.EarlyStopping("loss", patience=patience, min_delta=10.0, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=2, min_delta=10.0),
    ]
    resumable = mk.ResumableRun(folder, callbacks=others)
    dataset = mk.load_dataset(work, "train", batch_size=2, augment="light", seed=4)
    data = resumable.data(dataset) if through_data else dataset
    stop = [Stop(stop_after)] if stop_after else []
    history = model.fit(data, epochs=epochs, shuffle=False, verbose=0, callbacks=[*others, resumable, *stop])
    return capture(model), history.epoch


@pytest.fixture
def saved_after_each_step(monkeypatch):
    monkeypatch.setattr(resumable, "is_due", lambda saved, cost, least=0: True)


@pytest.fixture(scope="module")
def undisturbed(work, tmp_path_factory):
    return script(work, tmp_path_factory.mktemp("whole") / "run")


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    assert [name for name in found if not np.array_equal(found[name], expected[name])] == []


def test_stopped_within_an_epoch_it_ends_as_an_undisturbed_one(work, tmp_path, undisturbed, saved_after_each_step):
    for batches in (4, 3, 3):  # in the second epoch, at its end, in the third
        with pytest.raises(MemoryError):
            script(work, tmp_path / "run", stop_after=batches)
    found, epochs = script(work, tmp_path / "run")
    assert epochs == [3]
    assert_equal(found, undisturbed[0])


def test_once_it_has_ended_the_same_script_trains_no_more_and_further_epochs_follow(work, tmp_path, undisturbed):
    script(work, tmp_path / "run", epochs=2)
    found, epochs = script(work, tmp_path / "run")
    assert epochs == [2, 3]
    assert_equal(found, undisturbed[0])
    assert script(work, tmp_path / "run")[1] == []


def test_early_stopping_stays_stopped_with_the_best_weights(work, tmp_path):
    found, epochs = script(work, tmp_path / "run", patience=1, epochs=9)
    assert len(epochs) == 2
    again, epochs = script(work, tmp_path / "run", patience=1, epochs=9)
    assert epochs == []
    kept = [name for name in again if not name.startswith("metrics/")]  # nothing was counted
    assert_equal({name: again[name] for name in kept}, {name: found[name] for name in kept})


def test_data_that_go_around_it_are_saved_at_the_end_of_epochs_only(work, tmp_path, saved_after_each_step):
    with pytest.raises(MemoryError):
        script(work, tmp_path / "run", stop_after=STEPS + 2, through_data=False)
    assert [path.name for path in list_generations(tmp_path / "run")] == ["000001-000000"]
    assert script(work, tmp_path / "run", through_data=False)[1] == [1, 2, 3]


def test_a_state_within_an_epoch_needs_its_data(work, tmp_path, saved_after_each_step):
    with pytest.raises(MemoryError):
        script(work, tmp_path / "run", stop_after=2)
    with pytest.raises(UsageError, match="give the data to `fit` through `data`"):
        script(work, tmp_path / "run", through_data=False)
    with pytest.raises(UsageError, match="must be a data set of `load_dataset`"):
        mk.ResumableRun(tmp_path / "other").data(tf.data.Dataset.range(3))


def test_another_network_and_another_process_are_refused(work, tmp_path):
    script(work, tmp_path / "run", epochs=1)
    with pytest.raises(RunError, match=r"expected shape .* found"):
        script(work, tmp_path / "run", units=3)
    with resumable.owned(tmp_path / "run" / resumable.LOCK, tmp_path / "run"), pytest.raises(BusyError):
        script(work, tmp_path / "run")
