"""The page of a run: what it says, when it is written, and that it never ends a training."""

import contextlib
import math
import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import mcc_keras as mk
from mcc_keras.datasets import find_cases, write_synthetic
from mcc_keras.errors import RunError, TrainingInterrupted
from mcc_keras.training import page as pages
from mcc_keras.training.callbacks import Stopwatch
from mcc_keras.training.keeper import Keeper
from mcc_keras.training.page import RunPage
from mcc_keras.training.report import build_run_page
from mcc_keras.training.train import train
from mcc_keras.training.worst import WorstCase

SETTINGS = {"epochs": 3, "batch_size": 2, "seed": 3, "augment": False, "verbose": 0}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    source = write_synthetic(folder / "scans", num_cases=8, size=(16, 16, 8), layout="pairs", foreground_fraction=0.05)
    box = mk.Preprocessing(size=(16, 16, 8))
    mk.write_tfrecords(find_cases(source), folder / "work", preprocessing=box, split=(0.6, 0.4, 0), workers=1)
    return folder / "work"


def network():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((16, 16, 8, 1))
    x = keras.layers.ReLU()(keras.layers.Conv3D(4, 3, padding="same")(inputs))
    return keras.Model(inputs, keras.layers.Conv3D(1, 1, activation="sigmoid")(x))


@pytest.fixture(scope="module")
def run(work, tmp_path_factory):
    return train(work, tmp_path_factory.mktemp("runs") / "<b>", model=network(), **SETTINGS)


def text_of(folder):
    return (Path(folder) / "report.html").read_text(encoding="utf-8")


def test_the_page_shows_curves_baselines_worst_cases_and_settings(run):
    page = text_of(run.folder)
    for title in ("Loss", "Dice", "Learning rate", "Share of a step spent waiting for data", "Volumes a second"):
        assert f">{title}</h3>" in page
    assert "all background: 0" in page and re.search(r"mean training mask: 0\.\d{3}", page)
    assert f"best epoch {run.result.best_epoch}" in page and f"{run.result.best_value:.3f}" in page
    assert "epoch 3 of 3" in page and "finished" in page
    assert 1 <= page.count("data:image/jpeg") <= 4
    assert '<td>epochs</td><td class="text"><b>3</b></td><td class="text">100</td>' in page
    assert "Training: &lt;b&gt;" in page


def test_the_page_is_one_file_without_a_script(run):
    page = text_of(run.folder)
    assert "<script" not in page
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert [path.name for path in run.folder.iterdir() if "aside" in path.name] == []


def test_the_page_of_a_resumed_training_shows_the_whole_history(work, tmp_path):
    original = Keeper.on_train_batch_end

    def stop(self, batch, logs=None):
        if self.schedule.step == 5:
            self.asked = "SIGTERM"
        original(self, batch, logs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Keeper, "on_train_batch_end", stop)
        with pytest.raises(TrainingInterrupted):
            train(work, tmp_path / "run", model=network(), **SETTINGS)
    assert "epoch 1 of 3" in text_of(tmp_path / "run")
    assert "stopped by SIGTERM; the same command goes on" in text_of(tmp_path / "run")
    train(work, tmp_path / "run", model=network(), **SETTINGS)
    page = text_of(tmp_path / "run")
    loss = re.search(r'Loss by epoch.*?<polyline points="([^"]*)"', page, flags=re.DOTALL)[1]
    assert len(loss.split()) == 3
    assert "finished" in page and "stopped" not in page


@pytest.mark.parametrize(
    ("cause", "state"),
    [
        (RunError("run", "expected finite numbers, but the loss was not"), "failed: expected finite numbers, but"),
        (TrainingInterrupted("run", "SIGINT"), "stopped by SIGINT"),
        (MemoryError(), ""),
        (None, ""),
    ],
)
def test_a_page_says_why_its_training_ended(cause, state):
    page = Quick(0.0)
    with contextlib.suppress(RunError, TrainingInterrupted, MemoryError):
        try:
            if cause is not None:
                raise cause
        finally:
            page.close()
    assert page.state.startswith(state)
    assert page.writes == bool(state)


def test_a_page_that_cannot_be_drawn_is_one_warning_and_changes_nothing(work, run, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError("no ink")

    for name in ("build_run_page", "find_worst", "score_mean_mask"):
        monkeypatch.setattr(pages, name, fail)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        other = train(work, tmp_path / "run", model=network(), **SETTINGS)
    texts = [str(each.message) for each in caught if "report.html" in str(each.message)]
    assert len(texts) == 1 and "ValueError: no ink" in texts[0]
    weights = (keras.models.load_model(each.folder / "model.keras").get_weights() for each in (run, other))
    assert all(np.array_equal(*pair) for pair in zip(*weights, strict=True))


@pytest.fixture
def shown():
    """What the page of a training by minutes, without validation, shows after one epoch."""
    row = {
        "epoch": 1,
        "loss": 0.5,
        "dice": 0.25,
        "learning_rate": 1e-3,
        "volumes_per_second": 7.0,
        "waiting_share": 0.1,
    }
    return SimpleNamespace(
        recipe=mk.Recipe(minutes=5, patches=mk.Patches(size=8)), run=Path("run"), baseline=None, cases=(), state="",
        schedule=SimpleNamespace(step=12, stopwatch=Stopwatch(90.0)), has_validation=False,
        best=SimpleNamespace(epoch=1, value=None), history=SimpleNamespace(rows=[row]),
        manifest=SimpleNamespace(work="work", counts={"train": 3, "validation": 2}, task=mk.Task()),
    )  # fmt: skip


def test_without_validation_the_page_shows_the_training_alone(shown):
    page = build_run_page(shown)
    assert "There is no validation part" in page and "all background" not in page
    assert "epoch 1 · 1.5 min trained</p>" in page and "Patches a second" in page
    assert page.count("<circle") == 5  # one epoch is a point: loss, Dice, rate, waiting, speed


def test_false_alarms_stand_apart_where_volumes_lack_the_organ(shown):
    shown.has_validation, row = True, shown.history.rows[0]
    row |= {"val_dice": 0.5, "false_alarms": 0.5, "val_false_alarms": math.nan}
    assert "Every validation volume holds the organ" in build_run_page(shown)
    row["val_false_alarms"] = 0.25
    page = build_run_page(shown)
    assert "Volumes without the organ where some is found" in page and "Every validation volume" not in page
    assert "<dt>false alarms of that epoch</dt><dd>25%</dd>" in page


def test_the_page_says_which_cases_the_worst_were_chosen_from(shown):
    shown.has_validation, shown.case_count = True, 1
    shown.cases = [WorstCase("case <7>", 0.0, True, b"jpeg")]
    page = build_run_page(shown)
    assert "case &lt;7&gt;: false alarm" in page and "Of the first 1 of 2 cases" in page


class Quick(RunPage):
    """A page whose drawing takes no time but what the test says."""

    def __init__(self, cost):
        keras.callbacks.Callback.__init__(self)
        self.written, self.cost, self.has_validation, self.writes, self.spent = None, 0.0, False, 0, cost
        self.state = ""

    def _write(self):
        self.writes += 1
        self.written, self.cost = pages.time.monotonic(), self.spent


@pytest.mark.parametrize(("cost", "writes"), [(0.001, 100), (0.02, 100), (0.05, 34), (1.0, 2)])
def test_epochs_are_skipped_where_the_page_would_take_more_than_two_percent(monkeypatch, cost, writes):
    clock = [0.0]
    monkeypatch.setattr(pages.time, "monotonic", lambda: clock[0])
    page = Quick(cost)
    for epoch in range(100):
        clock[0] += 1.001
        page.on_epoch_end(epoch)
    assert page.writes == writes
