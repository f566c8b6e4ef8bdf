"""Whether a run folder may be trained into: new, or of a stopped training with the same settings and records."""

import contextlib
import dataclasses
import itertools
import json
from pathlib import Path

from mcc_keras.documents import read_document
from mcc_keras.errors import OutputExistsError, RunError, UsageError
from mcc_keras.files import is_leftover, remove_leftovers, write_text
from mcc_keras.locks import owned
from mcc_keras.runs.data import RunData
from mcc_keras.runs.recipe import SCHEMA, Recipe
from mcc_keras.runs.run import (
    AGAIN,
    DATA,
    DATA_SCHEMA,
    LOCK,
    PREPROCESSING,
    RECIPE,
    RESULT,
    refuse_failed_run,
    start_run,
)
from mcc_keras.training.generations import list_generations

EPOCHS_RULE = "Epochs can be added only with schedule='constant'; init=RUN begins a new run with the weights of this. "
_STARTED = (DATA, PREPROCESSING, RECIPE, LOCK)  # by a call that was killed before it had written all of them


def refuse_other_folder(run):
    """Refuse a folder that is neither new nor empty nor of a training.

    Raises:
        OutputExistsError: It holds something else, or is a file.
        RunError: Its training failed.
    """
    run = Path(run)
    if _is_new(run):
        return
    if not (run / RECIPE).is_file():
        raise OutputExistsError(run, "a folder that is not empty", "Choose another run folder, or move this one away.")
    refuse_failed_run(run)


def move_aside(run):
    """Rename a run folder to the first free name RUN.1, RUN.2, …; return it, or `None` where there is no run.

    Raises:
        OutputExistsError: The folder holds something else.
        BusyError: Another process trains into it.
    """
    run = Path(run)
    if _is_new(run) and not (run / RECIPE).is_file():
        return None
    if not (run / RECIPE).is_file():
        raise OutputExistsError(run, "a folder that is not empty", "Choose another run folder, or move this one away.")
    number = next(n for n in itertools.count(1) if not run.with_name(f"{run.name}.{n}").exists())
    with owned(run / LOCK, run):  # a training that is alive stays where it is
        moved = run.rename(run.with_name(f"{run.name}.{number}"))
        (moved / LOCK).unlink(missing_ok=True)
        return moved


@contextlib.contextmanager
def owned_run(run, *, recipe, data, preprocessing):
    """Be the only process that trains into a folder; yield its path when it holds the settings of the training.

    Args:
        run: Run folder: new, empty, or of a training with the same settings.
        recipe: `Recipe`.
        data: `RunData`.
        preprocessing: `Preprocessing`.

    Raises:
        BusyError: Another process trains into it.
        UsageError: It holds a training with other settings.
    """
    run = Path(run)
    run.mkdir(parents=True, exist_ok=True)
    with owned(run / LOCK, run):
        refuse_other_training(run, recipe, data)
        remove_leftovers(run)
        yield start_run(run, recipe=recipe, data=data, preprocessing=preprocessing)


def refuse_other_training(run, recipe, data):
    """Refuse to go on with a training that was given other settings or records; a new folder is accepted.

    More epochs are accepted with a constant learning rate.

    Returns:
        Whether the run is given more epochs than before.

    Raises:
        UsageError: With each setting that differs.
    """
    run = Path(run)
    if not (run / RECIPE).is_file():
        return False
    earlier = _read_recipe(run)
    differing = differences(earlier, recipe)
    grows = recipe.can_grow and earlier.can_grow and recipe.epochs > earlier.epochs
    if grows:
        differing = differences(dataclasses.replace(earlier, epochs=recipe.epochs), recipe)
    if (run / DATA).is_file():
        seen = read_document(run / DATA, RunData, schema=DATA_SCHEMA, error=RunError, way_out=AGAIN)
        if seen.manifest_sha256 != data.manifest_sha256:
            differing.append(f"the records in {data.work} have changed since")
    if differing:
        rule = "" if recipe.epochs == earlier.epochs else EPOCHS_RULE
        raise UsageError(
            f"{run}: a training goes on only with its own settings. Received others: {'; '.join(differing)}. {rule}"
            "Give those of the run, choose another folder, or begin again with restart=True."
        )
    if grows and (run / RESULT).is_file() and not list_generations(run):
        raise RunError(run, "expected the last state of the training, found none", "Choose another folder.")
    return grows


def extend_run(run, recipe):
    """Give a run its new number of epochs, after `refuse_other_training` has accepted them; by the run's owner."""
    (run / RESULT).unlink(missing_ok=True)  # first: a kill in between leaves a stopped training
    write_text(run / RECIPE, recipe.to_json())


def _read_recipe(run):
    return read_document(run / RECIPE, Recipe, schema=SCHEMA, error=RunError, way_out=AGAIN)


def differences(earlier, recipe):
    """Return one text per field of two recipes that differs.

    Example:

    >>> differences(Recipe(seed=1), Recipe(seed=2))
    ['seed=2, the run has seed=1']
    """
    found = []
    for field in dataclasses.fields(Recipe):
        old, new = getattr(earlier, field.name), getattr(recipe, field.name)
        if old == new or isinstance(new, dict) and isinstance(old, dict) and _unnamed(old) == _unnamed(new):
            continue
        old, new = (value.get("class_name", "other") if isinstance(value, dict) else value for value in (old, new))
        found.append(f"{field.name}={new!r}, the run has {field.name}={old!r}")
    return found


def _is_new(run):
    names = run.iterdir() if run.is_dir() else ()
    return not run.is_file() and all(path.name in _STARTED or is_leftover(path) for path in names)


def _unnamed(config):
    """Return the configuration of a Keras object as text, its layers numbered: Keras counts names up in a process."""
    names = list(dict.fromkeys(_names(config)))
    text = json.dumps(config, sort_keys=True)
    for number, name in enumerate(names):
        text = text.replace(f'"{name}"', f'"#{number}"')
    return text


def _names(config):
    if isinstance(config, dict):
        if isinstance(config.get("name"), str) and (
            "layers" in config or "trainable" in config or "batch_shape" in config
        ):
            yield config["name"]
        for value in config.values():
            yield from _names(value)
    elif isinstance(config, list):
        for value in config:
            yield from _names(value)
