"""`list_runs`: the runs below a folder, one dict each, read without TensorFlow."""

import math
import os
from pathlib import Path

from mcc_keras.documents import read_document
from mcc_keras.errors import DataError, RunError
from mcc_keras.locks import is_owned
from mcc_keras.runs import recipe as recipes
from mcc_keras.runs.data import RunData
from mcc_keras.runs.fields import varying_fields
from mcc_keras.runs.recipe import Recipe
from mcc_keras.runs.run import (
    DATA,
    DATA_SCHEMA,
    FAILED,
    FAILURE_SCHEMA,
    GENERATIONS,
    HISTORY,
    LOCK,
    RECIPE,
    RESULT,
    RESULT_SCHEMA,
    Failure,
    RunResult,
    read_history,
)

RUNNING, STOPPED, FINISHED, BROKEN, DAMAGED = "running", "stopped", "finished", "failed", "damaged"
NUMBERS = ("best_dice", "best_epoch", "trained_epochs", "trained_steps", "trained_minutes")


def list_runs(folder):
    """Return the runs below a folder, by name, as dicts with the same keys, which `pandas.DataFrame` takes.

    Args:
        folder: Folder that holds run folders at any depth, or a run folder itself.

    Returns:
        A list of dicts. `run` is the path from the folder; `state` is `"running"` (a live process trains into it),
        `"stopped"`, `"finished"`, `"failed"` (a loss or a weight was not finite) or `"damaged"`. Then come the fields
        of `Recipe` in which the runs differ, as numbers or text, those of parts as `augment.noise`, and `work` if they
        were trained on different records. `best_dice` is the best validation Dice, that of `best_epoch`;
        `trained_epochs`, `trained_steps` (updates that are saved) and `trained_minutes` are what is done; `problem` is
        why a run failed or cannot be read. What is not known is `None`.

    Raises:
        RunError: There is no such folder, or no run in it.

    Example:

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for seed in (1, 2):
    ...     (folder / f"seed{seed}").mkdir()
    ...     _ = (folder / f"seed{seed}" / "recipe.json").write_text(Recipe(seed=seed).to_json())
    >>> [(row["run"], row["seed"], row["state"]) for row in list_runs(folder)]
    [('seed1', 1, 'stopped'), ('seed2', 2, 'stopped')]
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RunError(folder, "expected a folder of runs, found none")
    paths = find_runs(folder)
    if not paths:
        raise RunError(folder, f"expected runs, folders with {RECIPE}, found none", "Make one with `train`.")
    read = [_read(path) for path in paths]
    differing = varying_fields([settings for settings, _ in read])
    rows = []
    for path, (_, found), fields in zip(paths, read, differing, strict=True):
        state, problem = found.pop("state"), found.pop("problem", None)
        numbers = {name: found.get(name) for name in NUMBERS}
        name = path.relative_to(folder).as_posix()
        rows.append({"run": name, "state": state, **fields, **numbers, "problem": problem})
    return rows


def find_runs(folder):
    """Return the paths of the run folders below a folder, itself included, sorted; links are not followed."""
    found = []
    for path, folders, files in os.walk(folder):
        if RECIPE in files:
            found.append(Path(path))
            folders.clear()
    return sorted(found)


def _read(path):
    """Return (settings or `None`, what is known about the run)."""
    try:
        settings = {"work": None, **vars(_document(path / RECIPE, Recipe, recipes.SCHEMA))}
        if (path / DATA).is_file():
            settings["work"] = _document(path / DATA, RunData, DATA_SCHEMA).work
        return settings, {"state": _state(path), **_progress(path)}
    except DataError as error:
        return None, {"state": DAMAGED, "problem": f"{Path(error.path).name}: {error.problem}"}


def _state(path):
    if is_owned(path / LOCK):
        return RUNNING
    if (path / FAILED).is_file():
        return BROKEN
    return FINISHED if (path / RESULT).is_file() else STOPPED


def _progress(path):
    history = read_history(path / HISTORY) if (path / HISTORY).is_file() else []
    last = history[-1] if history else {}
    scored = [row for row in history if math.isfinite(row.get("val_dice", math.nan))]
    best = max(scored, key=lambda row: row["val_dice"], default={})
    found = {
        "best_dice": best.get("val_dice"),
        "best_epoch": _whole(best.get("epoch")),
        "trained_epochs": _whole(last.get("epoch", 0)),
        "trained_steps": _saved_steps(path),
        "trained_minutes": round(last.get("seconds", 0) / 60, 2),
    }
    if (path / FAILED).is_file():
        found["problem"] = _document(path / FAILED, Failure, FAILURE_SCHEMA).reason
    elif (path / RESULT).is_file():
        result = _document(path / RESULT, RunResult, RESULT_SCHEMA)
        found |= {"best_dice": result.best_value, "best_epoch": result.best_epoch, "trained_steps": result.steps}
        found["trained_minutes"] = round(result.seconds / 60, 2)
    return found


def _saved_steps(path):
    folder = path / GENERATIONS
    names = [each.name for each in folder.iterdir()] if folder.is_dir() else []
    return max((int(name) for name in names if name.isdigit()), default=None)


def _document(path, kind, schema):
    return read_document(path, kind, schema=schema, error=RunError)


def _whole(number):
    return None if number is None else int(number)
