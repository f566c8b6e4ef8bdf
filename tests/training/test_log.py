import io
from pathlib import Path
from types import SimpleNamespace

import keras
import pytest

from mcc_keras.pipeline import Patches
from mcc_keras.runs.recipe import Recipe
from mcc_keras.task import Task
from mcc_keras.training.callbacks import Position, Schedule, Stopwatch
from mcc_keras.training.log import TIMED_STEPS, TrainingLog
from mcc_keras.training.plan import describe_pace, describe_plan, format_minutes

MANIFEST = SimpleNamespace(
    counts={"train": 45, "validation": 9}, image_shape=(64, 64, 32, 2),
    task=Task(labels=((1,), (2,)), names=("anterior", "posterior"), channel_names=("T1", "T2")),
)  # fmt: skip


class Stopped(Stopwatch):
    """A clock that is set by hand."""

    def seconds(self):
        return self.spent


def small_model():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)], name="small")


def test_the_plan_is_three_lines_with_data_network_and_schedule():
    lines = list(describe_plan(MANIFEST, Recipe(epochs=40, seed=7), small_model(), steps=23))
    assert len(lines) == 3
    assert "45 training and 9 validation cases, 64×64×32 voxels, 2 channels; anterior, posterior" in lines[0]
    assert "small, 9 parameters, float32" in lines[1]
    assert "40 epochs of 23 steps with 2 volumes, adamw, cosine, loss mcc, seed 7" in lines[2]


def test_the_plan_names_patches_minutes_and_a_loss_that_is_an_object():
    loss = keras.saving.serialize_keras_object(keras.losses.BinaryCrossentropy())
    recipe = Recipe(minutes=90, patches=Patches(size=32), loss=loss)
    lines = list(describe_plan(MANIFEST, recipe, small_model(), steps=23))
    assert "patches of 32×32×32" in lines[0]
    assert "90.0 min in epochs of 23 steps" in lines[2]
    assert "loss BinaryCrossentropy" in lines[2]


def test_the_plan_names_what_differs_from_a_plain_training():
    recipe = Recipe(steps=500, accumulate=4, ema=0.99, patience=8, init="old", optimizer="sgd", schedule="poly")
    _, network, schedule = describe_plan(MANIFEST, recipe, small_model(), steps=23)
    assert network.endswith(f"weights of {Path('old').resolve()}")
    assert "500 updates in epochs of 23 steps with 2 volumes, 4 steps per update, sgd, poly" in schedule
    assert "average of weights 0.99, patience of 8 epochs" in schedule


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"epochs": 3}, "about 2.0 min in all"),  # 3 × (20 s + 20 s)
        ({"steps": 25, "accumulate": 2}, "about 1.8 min in all"),  # 50 steps, 3 validations
        ({"minutes": 1}, "about 60 steps"),
    ],
)
def test_the_pace_says_how_long_the_whole_training_takes(settings, text):
    assert text in describe_pace(Recipe(**settings), seconds=1.0, steps=20, validation_seconds=20.0)


@pytest.fixture
def log():
    recipe, watch = Recipe(epochs=45), Stopped()
    watch.spent = 30.0
    schedule = Schedule(recipe, position=Position(20), stopwatch=watch)
    best = SimpleNamespace(value=0.874)
    log = TrainingLog(MANIFEST, recipe, schedule=schedule, best=best, file=io.StringIO())
    log.set_model(small_model())
    return log


def test_each_epoch_is_a_short_line_with_loss_dice_and_the_time_left(log):
    log.schedule.seconds_left = lambda: 186.0
    log.on_epoch_end(11, {"loss": 0.21304, "val_dice": 0.87123, "val_false_alarms": float("nan")})
    assert log.file.getvalue() == "epoch 12/45  loss 0.213  val Dice 0.871 (best 0.874)  3.1 min left\n"


def test_false_alarms_stand_apart_where_validation_volumes_lack_the_organ(log):
    log.on_epoch_end(0, {"loss": 0.5, "val_dice": 0.5, "val_false_alarms": 1 / 3})
    assert "false alarms 33%" in log.file.getvalue()


def test_each_line_is_flushed_when_it_is_written(log):
    flushed = []
    log.file.flush = lambda: flushed.append(log.file.getvalue())
    log.on_train_begin()
    assert len(flushed) == 3
    assert all(text.endswith("\n") for text in flushed)


def test_the_estimate_follows_the_first_ten_steps_after_the_one_that_compiles(log):
    log.on_train_begin()
    for step in range(TIMED_STEPS + 1):
        assert "per step" not in log.file.getvalue()
        log.on_train_batch_begin(step)
        log.begun -= 100.0 if step == 0 else 0.5  # as if so much time had passed
        log.on_train_batch_end(step, {"loss": 0.5})
    assert "0.50 s per step, about 7.5 min in all" in log.file.getvalue()


def test_the_bar_shows_the_time_left_under_minutes_too():
    recipe, watch = Recipe(minutes=2), Stopped()
    watch.spent = 30.0
    schedule = Schedule(recipe, position=Position(20), stopwatch=watch)
    log = TrainingLog(MANIFEST, recipe, schedule=schedule, best=None, file=io.StringIO(), bar=True)
    log.set_model(small_model())
    log.on_train_begin()
    log.on_epoch_begin(0)
    log.on_train_batch_begin(0)
    log.on_train_batch_end(0, {"loss": 0.25})
    log.bar.refresh()
    assert "loss 0.250, 1.5 min left" in log.file.getvalue()
    log.close()


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (59, "59 s"), (60, "1.0 min"), (7260, "2 h 01 min")])
def test_durations_are_words(seconds, text):
    assert format_minutes(seconds) == text
