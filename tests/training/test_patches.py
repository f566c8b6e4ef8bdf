"""A training on patches of scans of native size: it validates in windows, and goes on after a stop, bit for bit."""

import keras
import numpy as np
import pytest
from native_scans import write_scans

import mcc_keras as mk
from mcc_keras.errors import TrainingInterrupted, UsageError
from mcc_keras.pipeline.dataset import load_dataset
from mcc_keras.records.manifest import read_manifest
from mcc_keras.training.build import compile_model
from mcc_keras.training.keeper import Keeper
from mcc_keras.training.sizes import nearest_size, takes
from mcc_keras.training.validation import WindowedValidation

CLOCKS = ("seconds", "volumes_per_second", "waiting_share")
SETTINGS = {
    "patches": mk.Patches(size=(8, 8, 6), per_volume=2),
    "epochs": 3,
    "batch_size": 2,
    "learning_rate": 0.02,
    "augment": "light",
    "ema": 0.8,
    "seed": 3,
    "verbose": 0,
}


def network(sides=(None, None, None)):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((*sides, 1))
    x = keras.layers.BatchNormalization()(keras.layers.Conv3D(4, 3, padding="same")(inputs))
    x = keras.layers.Dropout(0.2)(keras.layers.ReLU()(x))
    return keras.Model(inputs, keras.layers.Conv3D(1, 1, activation="sigmoid")(x))


def network_of_two_levels():
    inputs = keras.Input((None, None, None, 1))
    x = keras.layers.UpSampling3D(4)(keras.layers.MaxPooling3D(4)(inputs))
    return keras.Model(inputs, keras.layers.Conv3D(1, 1, activation="sigmoid")(keras.layers.Concatenate()([inputs, x])))


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return write_scans(tmp_path_factory.mktemp("patches") / "scans")


def prepared(cases, work, size):
    preprocessing = mk.Preprocessing(size=size)
    mk.write_tfrecords(cases, work, preprocessing=preprocessing, split=(0.5, 0.5, 0), workers=1, accept_loss=True)
    return work


@pytest.fixture(scope="module")
def work(cases, tmp_path_factory):
    return prepared(cases, tmp_path_factory.mktemp("patches") / "work", "native")


@pytest.fixture(scope="module")
def undisturbed(work, tmp_path_factory):
    return mk.train(work, tmp_path_factory.mktemp("runs") / "undisturbed", model=network(), **SETTINGS)


def validation_of(manifest, recipe, model):
    validation = WindowedValidation(manifest, recipe)
    validation.set_model(model)
    return validation


def test_a_run_on_patches_holds_what_every_run_holds(undisturbed):
    first = undisturbed.history[0]
    names = ("dice", "false_alarms", "loss", "mcc")
    assert list(first)[:9] == ["epoch", *names, *(f"val_{name}" for name in names)]
    dice = [row["val_dice"] for row in undisturbed.history]
    assert undisturbed.result.best_epoch == 1 + int(np.argmax(dice))
    assert undisturbed.result.steps == 3 * 3  # two patches of three volumes in batches of two
    assert undisturbed.recipe.window == mk.Window(size=(8, 8, 6))
    assert undisturbed.data.image_shape == (None, None, None, 1)
    page = (undisturbed.folder / "report.html").read_text()
    assert "Worst validation cases" in page and "window by window" in page


def test_the_kept_epoch_has_the_value_that_its_network_has_on_the_validation_cases(undisturbed, work):
    manifest = read_manifest(work)
    model = compile_model(manifest, undisturbed.recipe, model=network())
    model.set_weights(keras.models.load_model(undisturbed.folder / "model.keras").get_weights())
    found = validation_of(manifest, undisturbed.recipe, model).validate()
    row = undisturbed.history[undisturbed.result.best_epoch - 1]
    assert {name: found[name] for name in ("dice", "loss")} == pytest.approx(
        {name: row[f"val_{name}"] for name in ("dice", "loss")}, abs=1e-5
    )


def test_one_window_over_the_box_scores_as_keras_does(cases, tmp_path):
    manifest = read_manifest(prepared(cases, tmp_path / "work", (12, 10, 8)))
    recipe = mk.Recipe(window=mk.Window(size=(12, 10, 8)))
    model = compile_model(manifest, recipe, model=network())
    expected = model.evaluate(load_dataset(manifest, "validation"), return_dict=True, verbose=0)
    found = validation_of(manifest, recipe, model).validate()
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, abs=1e-5, nan_ok=True)


def test_a_stopped_training_on_patches_goes_on_bit_for_bit(work, undisturbed, tmp_path, monkeypatch):
    original = Keeper.on_train_batch_end

    def on_train_batch_end(self, number, logs=None):
        position = self.schedule.position
        if position.epoch * 3 + position.done == 5:
            self.asked = "SIGTERM"
        original(self, number, logs)

    monkeypatch.setattr(Keeper, "on_train_batch_end", on_train_batch_end)
    with pytest.raises(TrainingInterrupted):
        mk.train(work, tmp_path / "run", model=network(), **SETTINGS)
    monkeypatch.undo()
    run = mk.train(work, tmp_path / "run", model=network(), **SETTINGS)
    rows = [
        [{name: value for name, value in row.items() if name not in CLOCKS} for row in each.history]
        for each in (run, undisturbed)
    ]
    assert str(rows[0]) == str(rows[1])
    weights = [keras.models.load_model(each.folder / "model.keras").weights for each in (run, undisturbed)]
    assert all(np.array_equal(one, other) for one, other in zip(*weights, strict=True))
    assert (run.result.best_epoch, run.result.best_value) == (
        undisturbed.result.best_epoch,
        undisturbed.result.best_value,
    )


def test_records_of_native_size_are_refused_without_patches_before_anything_is_written(work, tmp_path):
    for call in (lambda: mk.train(work, tmp_path / "run", epochs=1), lambda: mk.plan_training(work)):
        with pytest.raises(UsageError, match="--patch-size 64"):
            call()
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:A patch of")
@pytest.mark.parametrize(
    ("model", "size", "nearest"),
    [
        (network_of_two_levels, (10, 8, 6), "8,8,4"),
        (lambda: network((16, 16, 8)), (8, 8, 8), "16,16,8"),
        (lambda: mk.DenseVNet((None, None, None, 1)), (40, 24, 4), "40,24,8"),
    ],
)
def test_patches_that_a_network_cannot_take_are_refused_with_the_nearest_size(work, tmp_path, model, size, nearest):
    with pytest.raises(UsageError, match=f"`patches` must have a size .* nearest that works is --patch-size {nearest}"):
        mk.train(work, tmp_path / "run", model=model(), patches=mk.Patches(size=size), epochs=1)
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:A patch of")
def test_a_window_that_a_network_cannot_take_is_refused_as_well(work, tmp_path):
    settings = {"patches": mk.Patches(size=8), "window": mk.Window(size=(8, 8, 6)), "epochs": 1}
    with pytest.raises(UsageError, match=r"`window` must have .* --window-size 8,8,4 \(mk.train\(window=mk.Window\("):
        mk.train(work, tmp_path / "run", model=network_of_two_levels(), **settings)


def test_a_size_that_works_is_its_own_nearest():
    model = network_of_two_levels()
    assert takes(model, (8, 12, 4))
    assert nearest_size(model, (8, 12, 4)) == (8, 12, 4)


def test_new_patches_of_a_recipe_take_their_window_along():
    from mcc_keras.training.train import _changed

    recipe = mk.Recipe(patches=mk.Patches(size=32))
    assert _changed(recipe, {"patches": mk.Patches(size=16)})[0].window.size == (16, 16, 16)
    wide = mk.Recipe(patches=mk.Patches(size=32), window=mk.Window(size=48))
    assert _changed(wide, {"patches": mk.Patches(size=16)})[0].window.size == (48, 48, 48)


def test_a_plan_knows_the_range_of_sizes_and_the_time_of_the_windows(work):
    plan = mk.plan_training(work, model=network(), patches=mk.Patches(size=(8, 8, 6)), epochs=2)
    assert plan.lines[0].startswith(
        "data      3 training and 3 validation cases, 9×8×6 to 16×14×12 voxels, patches of 8×8×6"
    )
    assert plan.validation_seconds > 0
