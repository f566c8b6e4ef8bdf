"""Generations: what a training needs to go on, in folders that are written aside, flushed and renamed.

RUN/generations/000012-000040/   named by complete epochs and the steps after them; the last two are kept
    arrays.npz               every variable, as plain arrays
    model.keras              the best epoch until then, a hard link
    state.json               `TrainingState`, with the SHA-256 of the others, written last
"""

import dataclasses
import hashlib
import os
import re
import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np

from mcc_keras.documents import read_document, write_document
from mcc_keras.errors import DataError
from mcc_keras.files import remove_leftovers, written_aside
from mcc_keras.runs.run import GENERATIONS as FOLDER

ARRAYS, BEST, STATE = "arrays.npz", "model.keras", "state.json"
SCHEMA = 1
KEPT = 2
_NAME = re.compile(r"\d{6}-\d{6}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingState:
    """Where a training is.

    Args:
        step: Updates of the weights.
        epoch: Epochs that are complete.
        epoch_step: Steps of the epoch after them that are done.
        seconds: Time trained, over all sessions.
        best_epoch: Epoch of `model.keras`, or `None`.
        best_value: Its validation Dice, or `None`.
        history: One dict of numbers per complete epoch.
        speed: Measured totals of the pipeline.
        callbacks: State of each further callback that has one, by its place and class.
        saving_seconds: Time that saves took, over all sessions.
        ended: Whether the training has ended before its last epoch.
        sha256: Of each other file.
    """

    step: int
    epoch: int
    epoch_step: int
    seconds: float
    best_epoch: int | None
    best_value: float | None
    history: tuple[dict[str, float | None], ...]
    speed: dict[str, float]
    callbacks: dict[str, dict[str, bool | int | float | None]] = dataclasses.field(default_factory=dict)
    saving_seconds: float = 0.0
    ended: bool = False
    sha256: dict[str, str] = dataclasses.field(default_factory=dict)


def write_generation(run, state, arrays):
    """Write a generation and remove all but the last two; return its folder."""
    folder = Path(run) / FOLDER
    folder.mkdir(exist_ok=True)
    remove_leftovers(folder)
    path = folder / f"{state.epoch:06d}-{state.epoch_step:06d}"
    if path.exists():
        if _is_whole(path):
            return path
        shutil.rmtree(path)
    with written_aside(path) as aside:
        aside.mkdir()
        np.savez(aside / ARRAYS, **arrays)
        if (Path(run) / BEST).exists():
            link_or_copy(Path(run) / BEST, aside / BEST)
        hashes = {name: _sha256(aside / name) for name in (ARRAYS, BEST) if (aside / name).exists()}
        write_document(dataclasses.replace(state, sha256=hashes), aside / STATE, schema=SCHEMA)
    for old in list_generations(run)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def read_generation(path):
    """Return (`TrainingState`, arrays) of a generation.

    Raises:
        DataError: A file is missing or damaged.
    """
    state = read_document(path / STATE, TrainingState, schema=SCHEMA)
    for name, digest in state.sha256.items():
        if not (path / name).is_file() or _sha256(path / name) != digest:
            raise DataError(path / name, "expected the file that was written, found it damaged or missing")
    try:
        with np.load(path / ARRAYS, allow_pickle=False) as arrays:
            return state, dict(arrays)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(path / ARRAYS, f"expected arrays, found: {error}") from error


def _is_whole(path):
    try:
        read_generation(path)
    except DataError:
        return False
    return True


def list_generations(run):
    """Return the folders of the generations, the oldest first."""
    folder = Path(run) / FOLDER
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name)) if folder.is_dir() else []


def latest_state(run):
    """Return (`TrainingState`, arrays, folder) of the last generation that is whole, or three times `None`.

    Warns about a damaged one.

    Raises:
        DataError: All of them are damaged.
    """
    problem = None
    for path in reversed(list_generations(run)):
        try:
            return *read_generation(path), path
        except DataError as error:
            problem = error
            warnings.warn(f"{error} The generation before it is used.", stacklevel=2)
    if problem is not None:
        raise problem
    return None, None, None


def remove_generations(run, *, kept=0):
    """Remove what a finished training does not need any more: all generations but the last `kept`."""
    generations = list_generations(run)
    for path in generations[: len(generations) - kept]:
        shutil.rmtree(path, ignore_errors=True)
    if not kept:
        shutil.rmtree(Path(run) / FOLDER, ignore_errors=True)


def link_or_copy(source, target):
    """Give a file a second name, or copy it where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
