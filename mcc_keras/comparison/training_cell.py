"""A cell that is a training: train, choose the threshold and the temperature on validation, score the test part."""

import math
from pathlib import Path

import numpy as np

from mcc_keras.comparison.cells import BUSY, DIVERGED, FAILED, FINISHED, STOPPED, CaseScore, CellResult
from mcc_keras.comparison.length import Pace
from mcc_keras.datasets.cases import read_image, read_mask
from mcc_keras.errors import BusyError, TrainingInterrupted
from mcc_keras.evaluation.evaluate import evaluate
from mcc_keras.evaluation.measures import SCORES
from mcc_keras.processors import find_processor
from mcc_keras.records.manifest import read_manifest
from mcc_keras.runs import run as runs
from mcc_keras.segmentation.segment import arrays_of
from mcc_keras.training.train import plan_training, train

THRESHOLDS = tuple(round(0.05 * number, 2) for number in range(1, 20))


def run_training(cell):
    """Train a `Cell`, or go on with its training, and return its `CellResult`; only bugs and kills raise."""
    identity = {"arm": cell.arm.name, "fold": cell.fold, "seed": cell.seed, "processor": find_processor()[0]}
    try:
        run = train(cell.work, cell.folder, recipe=cell.recipe, verbose=0)
        found = _describe(run) | (_score(run, read_manifest(cell.work)) if cell.scored else {})
        return CellResult(**identity, state=FINISHED, **found)
    except TrainingInterrupted as error:
        return CellResult(**identity, state=STOPPED, problem=str(error))
    except BusyError as error:
        return CellResult(**identity, state=BUSY, problem=str(error))
    except Exception as error:
        diverged = (Path(cell.folder) / runs.FAILED).is_file()
        return CellResult(**identity, state=DIVERGED if diverged else FAILED, problem=_one_line(error))


def time_training(work, arm):
    """Return the `Pace` of an `Arm`, from ten steps on weights that are dropped.

    Raises:
        UsageError: The network, the loss or the optimizer refuses a setting.
    """
    plan = plan_training(work, recipe=arm.recipe)
    return Pace(
        seconds_per_step=round(plan.seconds_per_step, 6),
        validation_seconds=round(plan.validation_seconds, 6),
        steps_per_epoch=plan.steps,
        peak_memory=plan.peak_memory,
    )


def _describe(run):
    shown = len(run.data.cases["train"]) * (run.recipe.patches.per_volume if run.recipe.patches else 1)
    updates = math.ceil(math.ceil(shown / run.recipe.batch_size) / run.recipe.accumulate)
    return {
        "steps": run.result.steps,
        "seconds": run.result.seconds,
        "best_epoch": run.result.best_epoch,
        "best_value": run.result.best_value,
        "curve": tuple(
            (min(int(row["epoch"]) * updates, run.result.steps), _finite(row["val_dice"]))
            for row in run.history
            if "val_dice" in row
        ),
    }


def _score(run, manifest):
    validated = (
        evaluate(run, part="validation", workers=1, overwrite=True) if run.data.cases.get("validation") else None
    )
    tested = evaluate(run, part="test", workers=1, overwrite=True)
    threshold, at_threshold = _with_threshold(run, manifest) if validated is not None else (None, {})
    calibration = tested.summary.calibration
    return {
        "scores": tuple(
            CaseScore(
                case=row["case"],
                group=row["group"],
                name=row["class"],
                counted_as=row["counted_as"],
                scores={name: _number(row[name]) for name in SCORES},
                true_ml=float(row["true_ml"]),
                predicted_ml=float(row["predicted_ml"]),
                dice_at_threshold=at_threshold.get(row["case"]),
            )
            for row in tested
        ),
        "threshold": threshold,
        "calibration": _mean(each.error for each in calibration.classes),
        "calibration_with_temperature": _mean(each.error_with_temperature for each in calibration.classes),
        "temperature": calibration.temperature,
    }


def _with_threshold(run, manifest):
    """Return the threshold with the best mean Dice on the validation part, and case → Dice at it on the test part."""
    if run.task.num_classes != 1:
        return None, {}
    validation = dice_by_threshold(run, manifest.cases("validation"), THRESHOLDS)
    rows = [row for row in validation.values() if row is not None]
    if not rows:
        return None, {}
    means = np.mean(rows, axis=0)
    best = np.flatnonzero(means == means.max())
    chosen = THRESHOLDS[best[np.argmin(np.abs(np.array(THRESHOLDS)[best] - 0.5))]]
    tested = dice_by_threshold(run, manifest.cases("test"), (chosen,))
    return chosen, {case: None if row is None else row[0] for case, row in tested.items()}


def dice_by_threshold(run, cases, thresholds):
    """Return case id → Dice on the scan's own grid at each threshold; `None` for a case without the organ.

    Args:
        run: `Run` of one class.
        cases: `Case`s.
        thresholds: Smallest probabilities that are foreground.
    """
    from mcc_keras.segmentation.segmenter import load_segmenter  # here, since TensorFlow takes long to load

    segmenter, found = load_segmenter(run), {}
    for case in cases:
        image = read_image(case)
        truth = read_mask(case, image) > 0
        probability = segmenter.answer(*arrays_of(image))["probability"].numpy()
        true, every = (np.sort(probability[..., 0][where]) for where in (truth, np.ones_like(truth)))
        limits = np.float32(thresholds)
        tp, predicted = (values.size - np.searchsorted(values, limits, side="left") for values in (true, every))
        found[case.case_id] = (2 * tp / (predicted + true.size)).tolist() if true.size else None
    return found


def _number(value):
    return None if value is None else float(value)


def _finite(value):
    return float(value) if np.isfinite(value) else 0.0


def _mean(values):
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else None


def _one_line(error):
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
