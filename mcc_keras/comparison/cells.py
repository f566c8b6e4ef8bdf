"""Cells: an arm on a fold with a seed, each with a folder and a result of its own."""

import dataclasses
import importlib
from pathlib import Path

from mcc_keras.comparison.arms import TRAINING, Arm
from mcc_keras.documents import read_document, write_document
from mcc_keras.errors import RunError, UsageError
from mcc_keras.runs.recipe import Recipe

# From the kind of an arm to two functions: from a `Cell` to its `CellResult`, and from a WORK folder and an arm to its
# `Pace`. So a cell need not be a training: whatever leaves scores of the cases of a test part can be compared.
KINDS = {
    TRAINING: (
        "mcc_keras.comparison.training_cell:run_training",
        "mcc_keras.comparison.training_cell:time_training",
    )
}
FINISHED, DIVERGED, FAILED, STOPPED, BUSY = "finished", "diverged", "failed", "stopped", "busy"
SCHEMA = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """An arm on a fold with a seed.

    Args:
        arm: `Arm`.
        fold: Number of the fold, from 0.
        seed: Seed.
        recipe: `Recipe` with length and seed.
        work: WORK folder of the fold.
        folder: Its folder; the result lies beside it.
        scored: Whether its test part is scored; a sweep must not look at it.
    """

    arm: Arm
    fold: int
    seed: int
    recipe: Recipe
    work: str
    folder: str
    scored: bool = True

    @property
    def name(self):
        """Its name."""
        return f"{self.arm.name}, fold {self.fold}, seed {self.seed}"

    @property
    def result_path(self):
        """Path of its result."""
        return Path(f"{self.folder}.json")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaseScore:
    """Scores of a class of a test case.

    Args:
        case: Case id.
        group: Patient.
        name: Class.
        counted_as: One of `measures.OUTCOMES`.
        scores: Measure → value; `None` is a blank by the table of `MEASURES`.
        true_ml: True volume.
        predicted_ml: Predicted volume.
        dice_at_threshold: Dice at the threshold that the validation part chose, or `None`.
    """

    case: str
    group: str
    name: str
    counted_as: str
    scores: dict[str, float | None]
    true_ml: float
    predicted_ml: float
    dice_at_threshold: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellResult:
    """What came out of a cell.

    Args:
        arm: Name of the arm.
        fold: Number of the fold.
        seed: Seed.
        state: `"finished"`; `"diverged"`: a loss or a weight was not finite, which counts against the arm; `"failed"`:
            for another reason, as a full disk, and the same call tries it again. Never written: `"stopped"`, by a
            signal, and `"busy"`, since another process trains it.
        problem: Why it is not finished.
        scores: `CaseScore`s of the test part.
        steps: Updates.
        seconds: Time of the training.
        best_epoch: The epoch that the validation part chose.
        best_value: Its validation Dice.
        curve: Pairs (updates, validation Dice), one for each epoch.
        threshold: The threshold with the best Dice on the validation part; `None` with several classes.
        calibration: Expected calibration error, the mean over classes.
        calibration_with_temperature: The same with the temperature that the validation part chose.
        temperature: That temperature.
        processor: Name of the processor.
    """

    arm: str
    fold: int
    seed: int
    state: str
    problem: str = ""
    scores: tuple[CaseScore, ...] = ()
    steps: int | None = None
    seconds: float | None = None
    best_epoch: int | None = None
    best_value: float | None = None
    curve: tuple[tuple[int, float], ...] = ()
    threshold: float | None = None
    calibration: float | None = None
    calibration_with_temperature: float | None = None
    temperature: float | None = None
    processor: str = ""


def list_cells(plan, out, *, recipes, works):
    """Return the `Cell`s of a `Plan`: all arms on a fold with a seed before the next fold, so that a part is balanced.

    Args:
        plan: `Plan`.
        out: Folder of the comparison.
        recipes: Arm name → `Recipe`, with what a sweep has chosen.
        works: WORK folder of each fold.
    """
    design = plan.design
    return tuple(
        Cell(
            arm=arm,
            fold=fold,
            seed=seed,
            recipe=dataclasses.replace(recipes[arm.name], epochs=None, steps=plan.steps[arm.name], seed=seed),
            work=str(works[fold]),
            folder=str(Path(out) / "cells" / arm.folder / f"fold{fold}-seed{seed}"),
        )
        for seed in design.seeds
        for fold in range(design.folds)
        for arm in design.trained
    )


def shard_of(cells, shard):
    """Return the cells of a shard `"i/n"`, with i from 1 to n; all of them for `None`.

    Example:

    >>> shard_of("abcde", "2/3")
    'be'
    >>> shard_of("abcde", "4/3")
    Traceback (most recent call last):
    mcc_keras.errors.UsageError: `shard` must be i/n with i from 1 to n, as 2/3. Received: shard='4/3'.
    """
    if shard is None:
        return cells
    number, slash, count = str(shard).partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UsageError(f"`shard` must be i/n with i from 1 to n, as 2/3. Received: shard={shard!r}.")
    return cells[int(number) - 1 :: int(count)]


def run_cell(cell):
    """Run a cell, or go on with it; return its `CellResult`, which is written unless it was stopped or is busy."""
    result = _function(KINDS[cell.arm.kind][0])(cell)
    if result.state not in (STOPPED, BUSY):
        write_document(result, cell.result_path, schema=SCHEMA)
    return result


def time_arm(work, arm):
    """Return the `Pace` of an arm; its settings are refused here if they are invalid."""
    return _function(KINDS[arm.kind][1])(work, arm)


def _function(path):
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def read_result(cell):
    """Return the `CellResult` of a cell that needs not to run again, else `None`."""
    result = read_any_result(cell)
    return result if result is not None and result.state in (FINISHED, DIVERGED) else None


def read_any_result(cell):
    """Return the `CellResult` of a cell, also of one that failed; `None` where there is none."""
    if not cell.result_path.is_file():
        return None
    way_out = "Remove the file: the same call makes it again."
    return read_document(cell.result_path, CellResult, schema=SCHEMA, error=RunError, way_out=way_out)
