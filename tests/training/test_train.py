import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from tensorflow.python.framework import ops

from mcc_keras.datasets import find_cases, write_synthetic
from mcc_keras.errors import UsageError
from mcc_keras.models.convolution import Convolution
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.write import write_tfrecords
from mcc_keras.runs.recipe import Recipe
from mcc_keras.runs.run import MODEL
from mcc_keras.training.callbacks import BestModel, Position, Schedule, Stopwatch
from mcc_keras.training.precision import check_bfloat16
from mcc_keras.training.train import train

THIN = {"depths": (1, 1, 1)}
SETTINGS = {"epochs": 8, "learning_rate": 0.01, "seed": 3, "verbose": 0, "model_arguments": THIN}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    source = write_synthetic(folder / "scans", num_cases=10, size=(16, 16, 8), layout="pairs", foreground_fraction=0.1)
    preprocessing = Preprocessing(size=(16, 16, 8))
    write_tfrecords(find_cases(source), folder / "work", preprocessing=preprocessing, split=(0.6, 0.4, 0), workers=1)
    return folder / "work"


@pytest.fixture(scope="module")
def run(work, tmp_path_factory):
    return train(work, tmp_path_factory.mktemp("runs") / "first", **SETTINGS)


def test_a_run_folder_holds_everything_that_later_stages_need(run, work):
    names = {path.name for path in run.folder.iterdir()}
    expected = {"recipe.json", "data.json", "preprocessing.json", "model.keras", "history.csv", "logs", "run.json"}
    expected |= {"report.html", "fingerprint.json"}
    assert names == expected
    assert run.data.work == str(work)
    assert (run.recipe.loss, run.recipe.epochs, run.recipe.seed, run.result.steps) == ("mcc", 8, 3, 24)
    assert (run.recipe.augment.flip, run.recipe.flip_axes) == ((True, False, False), (0,))
    assert {part: len(cases) for part, cases in run.data.cases.items()} == {"train": 6, "validation": 4}
    assert all(digest for case in run.data.cases["train"] for digest in case.sources.values())
    assert set(run.result.versions) >= {"python", "mcc_keras", "keras", "tensorflow"}
    assert any((run.folder / "logs").rglob("events*"))


def test_the_log_says_how_fast_training_went_and_how_long_it_waited_for_data(run):
    assert [0 < row["waiting_share"] < 1 < row["volumes_per_second"] * row["seconds"] for row in run.history] == [
        True
    ] * 8
    speed = run.result.speed
    assert (speed["steps"], speed["volumes"]) == (24, 48)  # eight epochs of six cases in batches of two
    assert 0 < speed["seconds_waiting"] < speed["seconds"] < run.result.seconds


def test_a_training_learns_the_organ_from_the_image(run):
    first, *_, last = run.history
    # A loss of the wrong sign, or masks that do not belong to the images, leave the first below 0.4.
    assert last["dice"] > 0.5
    assert last["val_dice"] > 0.42
    assert last["loss"] < 0.7 * first["loss"]


def test_the_epoch_with_the_best_validation_dice_is_kept(run):
    dice = [row["val_dice"] for row in run.history]
    assert run.result.best_epoch == 1 + int(np.argmax(dice))
    assert run.result.best_value == pytest.approx(max(dice), abs=1e-5)


def test_the_same_seed_gives_the_same_weights(run, work, tmp_path):
    again = train(work, tmp_path / "again", **SETTINGS)
    pairs = zip(
        keras.models.load_model(run.folder / MODEL).get_weights(),
        keras.models.load_model(again.folder / MODEL).get_weights(),
        strict=True,
    )
    assert all(np.array_equal(first, second) for first, second in pairs)


def test_a_training_keeps_no_graph_in_the_process(work, tmp_path):
    registry = ops.gradient_registry._registry  # where TensorFlow keeps graphs with custom gradients
    before = len(registry)
    model = keras.Sequential([keras.Input((16, 16, 8, 1)), keras.layers.Conv3D(1, 1, activation="sigmoid")])
    train(work, tmp_path / "run", model=model, epochs=1, augment=False, verbose=0)
    assert len(registry) == before


def test_a_step_is_traced_once(work, tmp_path, monkeypatch):
    traced, step = [], keras.Model.train_step
    monkeypatch.setattr(keras.Model, "train_step", lambda model, data: traced.append(0) or step(model, data))
    model = keras.Sequential([keras.Input((16, 16, 8, 1)), keras.layers.Conv3D(1, 1, activation="sigmoid")])
    train(work, tmp_path / "run", model=model, epochs=1, augment=False, verbose=0)
    assert len(traced) == 1


def test_minutes_other_losses_and_half_precision(work, tmp_path):
    settings = {"loss": "gwd", "minutes": 0.01, "precision": "mixed_float16", "model_arguments": THIN, "verbose": 0}
    run = train(work, tmp_path / "run", augment=False, **settings)
    assert run.recipe.minutes == 0.01
    assert run.recipe.augment is None
    assert run.recipe.flip_axes == ()
    model = keras.models.load_model(run.folder / MODEL)
    convolutions = [layer for layer in model.layers if isinstance(layer, Convolution)]
    assert {layer.compute_dtype for layer in convolutions[:-1]} == {"float16"}
    assert {weight.dtype for weight in model.trainable_weights} == {model.layers[-1].compute_dtype} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


def test_bfloat16_is_refused_where_its_sums_stop_growing(work, tmp_path):
    # With oneDNN off, no processor computes bfloat16 itself.
    code = f"import mcc_keras as mk; mk.train({str(work)!r}, 'run', precision='mixed_bfloat16')"
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert "EnvironmentFailure: mixed_bfloat16 cannot be trained with on this processor" in done.stderr


def test_bfloat16_is_not_refused_where_the_processor_computes_it():
    processor = Path("/proc/cpuinfo")
    if not (processor.is_file() and "avx512_bf16" in processor.read_text()):
        pytest.skip("/proc/cpuinfo names no avx512_bf16")
    check_bfloat16()


@pytest.mark.parametrize(
    "arguments",
    [
        {"loss": "mmc"},
        {"epochs": 0},
        {"epochs": 1, "minutes": 1},
        {"minutes": -1},
        {"learning_rate": 0},
        {"learning_rate": float("nan")},
        {"precision": "float8"},
        {"batch_size": 0},
        {"steps": 0},
        {"steps": 5, "minutes": 1},
        {"optimizer": "muon"},
        {"schedule": "linear"},
        {"ema": 1.0},
        {"accumulate": 0},
        {"accumulate": 2, "precision": "mixed_float16"},
        {"accumulate": 2, "loss_arguments": {"pool": "batch"}},
        {"patience": 0},
    ],
)
def test_arguments_out_of_range_are_refused_before_anything_is_written(work, tmp_path, arguments):
    with pytest.raises(UsageError, match=next(iter(arguments))):
        train(work, tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


class Stub:
    stop_training = False

    class optimizer:
        learning_rate = None


def test_the_learning_rate_warms_up_and_falls_to_zero_along_a_cosine():
    schedule = Schedule(Recipe(learning_rate=1.0, epochs=10), position=Position(20), stopwatch=Stopwatch())
    schedule.set_model(Stub())
    rates = []
    for _ in range(200):
        schedule.on_train_batch_begin(0)
        rates.append(schedule.model.optimizer.learning_rate)
        schedule.on_train_batch_end(0)
    assert rates[0] == pytest.approx(1 / 50)
    assert rates[100] == pytest.approx(0.5)
    assert rates[199] == pytest.approx((1 + np.cos(np.pi * 199 / 200)) / 2)
    assert np.argmax(rates) in (48, 49, 50)
    assert schedule.model.stop_training


@pytest.mark.parametrize(("name", "half"), [("constant", 1.0), ("poly", 0.5**0.9)])
def test_other_schedules_stay_or_fall_by_a_power(name, half):
    recipe = Recipe(learning_rate=1.0, steps=100, warmup_steps=0, schedule=name)
    schedule = Schedule(recipe, position=Position(20), stopwatch=Stopwatch(), step=50)
    schedule.set_model(Stub())
    schedule.on_train_batch_begin(0)
    assert schedule.model.optimizer.learning_rate == pytest.approx(half)


def best_model(path):
    best = BestModel(path, "val_dice")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    best.set_model(model)
    return best


def test_the_network_is_kept_without_its_optimizer_which_goes_on(tmp_path):
    best = best_model(tmp_path / "model.keras")
    optimizer = best.model.optimizer
    best.on_epoch_end(0, {"loss": 0.5, "val_dice": 0.1})
    assert best.model.optimizer is optimizer and best.model.compiled
    best.model.fit(np.ones((2, 1)), np.ones((2, 1)), verbose=0)
    assert not keras.models.load_model(tmp_path / "model.keras").compiled


def test_an_epoch_without_a_finite_loss_is_never_kept(tmp_path):
    best = best_model(tmp_path / "model.keras")
    best.on_epoch_end(0, {"loss": 0.5, "val_dice": 0.1})
    best.on_epoch_end(1, {"loss": float("nan"), "val_dice": 0.9})
    best.on_epoch_end(2, {"loss": 0.4, "val_dice": float("nan")})
    assert (best.epoch, best.value) == (1, 0.1)


def test_a_later_epoch_replaces_a_value_that_is_not_a_number(tmp_path):
    best = best_model(tmp_path / "model.keras")
    best.on_epoch_end(0, {"loss": 0.5, "val_dice": float("nan")})
    best.on_epoch_end(1, {"loss": 0.4, "val_dice": 0.2})
    assert (best.epoch, best.value) == (2, 0.2)
