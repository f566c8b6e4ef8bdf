"""The same way with real trainings, on the smallest scale."""

import csv
import dataclasses

import keras
import numpy as np
import pytest

from mcc_keras.comparison.cells import DIVERGED, FAILED, FINISHED, STOPPED, Cell, read_any_result
from mcc_keras.comparison.compare import compare_losses
from mcc_keras.comparison.training_cell import THRESHOLDS, dice_by_threshold, run_training
from mcc_keras.datasets.cases import read_image, read_mask
from mcc_keras.evaluation.evaluate import evaluate
from mcc_keras.records.manifest import read_manifest
from mcc_keras.runs.run import read_run
from mcc_keras.training.train import train

SMALL = {"augment": False, "warmup_steps": 2, "protocol": "paper", "steps": 5, "learning_rate": 0.02, "workers": 1}


def network():
    """The configuration of a network of two layers, which compiles fast."""
    inputs = keras.Input((16, 16, 8, 1))
    x = keras.layers.ReLU()(keras.layers.Conv3D(4, 3, padding="same")(inputs))
    return keras.saving.serialize_keras_object(keras.Model(inputs, keras.layers.Conv3D(1, 1, activation="sigmoid")(x)))


@pytest.fixture(scope="module")
def whole(work, tmp_path_factory):
    """Two losses on one split with one seed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return compare_losses(work, out, losses=("mcc", "dice"), model=network(), **SMALL)


@pytest.fixture(scope="module")
def run(whole):
    return read_run(whole.folder / "cells" / "mcc" / "fold0-seed0")


def test_each_cell_is_a_run_of_equal_steps_on_the_records_of_its_fold(whole):
    assert {result.state for result in whole.results.values()} == {FINISHED}
    runs = [read_run(whole.folder / "cells" / loss / "fold0-seed0") for loss in ("mcc", "dice")]
    assert [(run.recipe.loss, run.result.steps) for run in runs] == [("mcc", 5), ("dice", 5)]
    assert {run.data.work for run in runs} == {str((whole.folder / "folds" / "0" / "work").resolve())}


def test_the_scores_of_a_cell_are_those_of_evaluate_on_test_patients_alone(whole, run):
    rows = {row.case: row.scores["dice"] for row in whole.results["mcc", 0, 0].scores}
    expected = {row["case"]: row["dice"] for row in evaluate(run, part="test", workers=1, overwrite=True)}
    assert rows == pytest.approx(expected)
    assert set(rows) == {case.case_id for case in run.data.cases["test"]} == set(whole.plan.splits[0]["test"])
    assert not set(rows) & {case.case_id for part in ("train", "validation") for case in run.data.cases[part]}


def test_the_preprocessing_of_a_run_is_that_of_its_fold(whole, run):
    fold = read_manifest(whole.folder / "folds" / "0" / "work")
    assert run.preprocessing == fold.preprocessing


def test_dice_at_half_is_that_of_the_mask_that_is_written(run):
    cases = read_manifest(run.data.work).cases("test")
    expected = {row["case"]: row["dice"] for row in evaluate(run, part="test", workers=1, overwrite=True)}
    found = dice_by_threshold(run, cases, (0.5,))
    assert {case: value for case, (value,) in found.items()} == pytest.approx({c: expected[c] for c in found})


def test_the_threshold_is_the_best_one_of_the_validation_part(whole, run):
    validation = dice_by_threshold(run, read_manifest(run.data.work).cases("validation"), THRESHOLDS)
    means = np.mean(list(validation.values()), axis=0)
    assert means[THRESHOLDS.index(whole.results["mcc", 0, 0].threshold)] == means.max()


def test_dice_by_threshold_counts_voxels_on_the_grid_of_the_scan(run):
    from mcc_keras.segmentation.segment import arrays_of
    from mcc_keras.segmentation.segmenter import load_segmenter

    (case, *_) = read_manifest(run.data.work).cases("test")
    image = read_image(case)
    truth, p = read_mask(case, image) > 0, load_segmenter(run).answer(*arrays_of(image))["probability"].numpy()[..., 0]
    for limit in (0.2, 0.8):
        expected = 2 * (truth & (p >= limit)).sum() / ((p >= limit).sum() + truth.sum())
        assert dice_by_threshold(run, [case], (limit,))[case.case_id] == [pytest.approx(expected)]


def test_calibration_and_curves_reach_the_tables(whole):
    with open(whole.folder / "cells.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["calibration_error"]) >= 0 and float(row["temperature"]) > 0 for row in rows)
    assert [result.curve[-1][0] for result in whole.results.values()] == [5, 5]


@pytest.fixture
def cell(whole, tmp_path):
    arm = whole.plan.design.arm("mcc")
    settings = {"recipe": read_run(whole.folder / "cells" / "mcc" / "fold0-seed0").recipe}
    work = whole.folder / "folds" / "0" / "work"
    return lambda **changes: Cell(
        **{"arm": arm, "fold": 0, "seed": 0, "work": str(work), "folder": str(tmp_path / "cell"), **settings} | changes
    )


def test_a_cell_whose_weights_become_infinite_has_diverged_and_one_of_an_error_has_failed(cell, whole):
    recipe = dataclasses.replace(cell().recipe, learning_rate=1e38, clip_norm=1e38, optimizer="sgd", warmup_steps=0)
    found = run_training(cell(recipe=recipe))
    assert found.state == DIVERGED and "not finite in epoch 1" in found.problem
    missing = run_training(cell(work=str(whole.folder / "nothing"), folder=str(whole.folder / "other")))
    assert missing.state == FAILED and "RecordError" in missing.problem


def test_a_cell_that_another_process_trains_is_left_to_it(cell):
    from mcc_keras.comparison.cells import BUSY, run_cell
    from mcc_keras.locks import owned

    each = cell()
    (path := each.result_path.with_suffix("")).mkdir()
    with owned(path / ".lock", path):
        assert run_cell(each).state == BUSY
    assert read_any_result(each) is None


def test_a_cell_that_a_signal_stops_goes_on_to_the_same_weights(cell, whole, run):
    import signal

    class Interruption(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 2:
                signal.raise_signal(signal.SIGINT)

    from mcc_keras.errors import TrainingInterrupted

    each = cell()
    with pytest.raises(TrainingInterrupted), pytest.warns(UserWarning, match="Where a stopped training goes on"):
        train(each.work, each.folder, recipe=each.recipe, callbacks=[Interruption()], verbose=0)
    assert STOPPED not in (found := run_training(each)).state
    assert found.scores == whole.results["mcc", 0, 0].scores
