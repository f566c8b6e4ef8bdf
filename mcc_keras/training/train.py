"""`train`: prepared records in, a run folder out; what can be refused is refused before TensorFlow is loaded."""

import dataclasses
import sys
from pathlib import Path

from mcc_keras.augmentation.sides import refuse_sided_flip
from mcc_keras.errors import UsageError
from mcc_keras.losses import LOSSES
from mcc_keras.models import MODELS
from mcc_keras.pipeline.patches import refuse_whole
from mcc_keras.records.manifest import read_manifest
from mcc_keras.runs.data import describe_data
from mcc_keras.runs.recipe import LENGTHS, Recipe
from mcc_keras.runs.run import RESULT, read_run
from mcc_keras.runs.window import Window
from mcc_keras.training.resume import move_aside, refuse_other_folder, refuse_other_training


def train(work, run, *, recipe=None, restart=False, callbacks=(), verbose="auto", **changes):
    """Train a network on prepared records and keep the epoch with the best validation Dice.

    The same call on a run that was stopped goes on where it was, with the weights, the history and the best epoch of
    an undisturbed run, bit for bit where `epochs` or `steps` bounds it. On a finished run it returns that run.

    Two runs with the same arguments on the same machine and number of threads give the same weights: the seed is set
    for Python, NumPy and Keras, and TensorFlow uses deterministic kernels for the rest of the process. The only
    remaining source of variation is the order in which it adds three gradients, the first that is ready first; while
    other programs compete for the cores, only `TF_NUM_INTEROP_THREADS=1`, set before TensorFlow is imported, keeps it.

    Args:
        work: Folder that `write_tfrecords` wrote.
        run: Run folder: new, empty, or of a training with the same settings.
        recipe: `Recipe` with all settings, or the name of one: `"fast"`; `None` is `Recipe()`.
        restart: Begin again; an earlier run is renamed to RUN.1, RUN.2, ….
        callbacks: Further Keras callbacks. The state of EarlyStopping, ReduceLROnPlateau, ModelCheckpoint and
            SwapEMAWeights is saved with the training; a warning names the others.
        verbose: 0 prints nothing, 2 the plan and a line per epoch, 1 a bar as well; `"auto"`: 1 on a terminal, else 2.
        **changes: Fields of `Recipe` that differ from `recipe`, as `loss="dice", epochs=40, seed=7`. `loss` may also be
            a `keras.losses.Loss` for probabilities, and `model` a `keras.Model`, which is trained from its weights.

    Returns:
        The `Run`. Its history and TensorBoard's log hold the volumes per second and the share of a step spent waiting
        for data (`waiting_share`) of each epoch, its `result.speed` those of the run.

    Raises:
        UsageError: An unknown or invalid setting, or others than those of the stopped run; patches of a size that the
            network cannot take; no patches for records of native size. Nothing has been written.
        OutputExistsError: The run folder holds something else.
        RecordError: `work` holds no records, or damaged ones.
        RunError: A loss or a weight became NaN or infinite. The run keeps its last finite epoch, and `failed.json`
            names epoch, step and cases.
        TrainingInterrupted: SIGINT or SIGTERM, after the state was saved.
        EnvironmentFailure: bfloat16 on a processor where TensorFlow sums it wrongly.

    Example:

    >>> train("work", "run", loss="mcc", epochs=40, minutes=10)
    Traceback (most recent call last):
    mcc_keras.errors.UsageError: Give one of `epochs`, `minutes` and `steps`. Received: epochs=40, minutes=10.
    """
    recipe, given = _changed(recipe, changes)
    if restart:
        move_aside(run)
    refuse_other_folder(run)
    manifest = read_manifest(work)
    if (Path(run) / RESULT).is_file() and not given and not refuse_other_training(run, recipe, describe_data(manifest)):
        if verbose:
            sys.stdout.write(f"{run}: this training is finished.\n")
        return read_run(run)
    _refuse_impossible(recipe, manifest)
    from mcc_keras.training.fit import fit  # here, so that no refusal above waits for TensorFlow

    return fit(manifest, run, recipe=recipe, verbose=verbose, callbacks=callbacks, **given)


def plan_training(work, *, recipe=None, **changes):
    """Return what a training would be and what it would cost, from ten steps on weights that are dropped.

    Nothing is written.

    Args:
        work: Folder that `write_tfrecords` wrote.
        recipe: `Recipe` with all settings, or the name of one: `"fast"`; `None` is `Recipe()`.
        **changes: As in `train`.

    Returns:
        A `TrainingPlan`; `print` it.

    Raises:
        UsageError: An unknown or invalid setting.
        RecordError: `work` holds no records, or damaged ones.

    Example:

    >>> plan_training("work", schedule="linear")
    Traceback (most recent call last):
    mcc_keras.errors.UsageError: `schedule` must be one of constant, cosine, poly. Received: schedule='linear'.
    """
    recipe, given = _changed(recipe, changes)
    manifest = read_manifest(work)
    _refuse_impossible(recipe, manifest)
    from mcc_keras.training.rehearsal import rehearse  # here, so that no refusal above waits for TensorFlow

    return rehearse(manifest, recipe, **given)


def _refuse_impossible(recipe, manifest):
    if not recipe.patches:
        refuse_whole(manifest)
    refuse_sided_flip(recipe.augment, manifest.task)
    if recipe.patience and not manifest.counts.get("validation"):
        raise UsageError(f"`patience` must be None without a validation part. Received: patience={recipe.patience}.")
    if recipe.init:
        read_run(recipe.init)


def _changed(recipe, changes):
    """Return the `Recipe` with some fields changed, and the model and the loss that are given as objects."""
    given = {name: changes.pop(name) for name in ("model", "loss") if not isinstance(changes.get(name, ""), str | dict)}
    known = {field.name for field in dataclasses.fields(Recipe)}
    unknown = sorted(set(changes) - known)
    if unknown:
        raise UsageError(f"Unknown settings: {', '.join(unknown)}. Fields of Recipe are {', '.join(sorted(known))}.")
    for name, registry in {"loss": LOSSES, "model": MODELS}.items():
        if isinstance(changes.get(name), str) and changes[name] not in registry:
            names = ", ".join(sorted(registry))
            raise UsageError(f"`{name}` must be one of {names}. Received: {name}={changes[name]!r}.")
    if recipe is None:
        return Recipe(**changes), given
    if not isinstance(recipe, Recipe):
        recipe = Recipe.named(recipe)
    if any(changes.get(name) is not None for name in LENGTHS):  # one takes the place of the other
        changes = dict.fromkeys(LENGTHS) | changes
    if "patches" in changes and recipe.patches and recipe.window == Window(size=recipe.patches.size):
        changes = {"window": None} | changes  # it was that of the patches, and is that of the new ones
    return dataclasses.replace(recipe, **changes), given
