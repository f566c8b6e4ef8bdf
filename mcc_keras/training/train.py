"""`train`: prepared records in, a run folder out; all of it through `model.fit`."""

import dataclasses
import platform
import sys
from importlib import metadata

import keras
import tensorflow as tf

from mcc_keras.errors import RunError, UsageError
from mcc_keras.losses import get_loss
from mcc_keras.metrics import DiceScore, MatthewsCorrelationCoefficient
from mcc_keras.models import DenseVNet
from mcc_keras.pipeline.dataset import load_dataset
from mcc_keras.pipeline.throughput import watch
from mcc_keras.records.manifest import read_manifest
from mcc_keras.runs.data import describe_data
from mcc_keras.runs.recipe import Recipe
from mcc_keras.runs.run import HISTORY, LOGS, MODEL, RunResult, finish_run, refuse_run_folder, start_run
from mcc_keras.training.callbacks import BestModel, HistoryFile, Schedule, SpeedLog
from mcc_keras.training.precision import check_bfloat16

MONITOR = "val_dice"
ENDLESS = 10**6  # epochs of a run that is bounded by minutes: the schedule ends it


def train(work, run, *, recipe=None, verbose="auto", **changes):
    """Train a network on prepared records and keep the epoch with the best validation Dice.

    Two runs with the same arguments on the same machine and number of threads give the same weights: the seed is set
    for Python, NumPy and Keras, and TensorFlow uses deterministic kernels for the rest of the process. What is left is
    the order in which it adds three gradients, the first that is ready first; while other programs compete for the
    cores, only `TF_NUM_INTEROP_THREADS=1`, set before TensorFlow is imported, keeps that order.

    Args:
        work: Folder that `write_tfrecords` wrote.
        run: Run folder to write; one that is not empty is refused.
        recipe: `Recipe` with all settings; `None` is `Recipe()`.
        verbose: As in `model.fit`; `"auto"` is a bar on a terminal and a line per epoch elsewhere.
        **changes: Fields of `Recipe` that differ from `recipe`, as `loss="dice", epochs=40, seed=7`. `loss` may also be
            a `keras.losses.Loss` for probabilities, and `model` a `keras.Model`, which is trained from its weights.

    Returns:
        The `Run`. Its history and TensorBoard's log hold the volumes per second and the share of a step spent waiting
        for data (`waiting_share`) of each epoch, its `result.speed` those of the run.

    Raises:
        UsageError: An unknown or invalid setting; nothing has been written.
        OutputExistsError: The run folder is not empty.
        RecordError: `work` holds no records, or damaged ones.
        RunError: The loss was NaN from the start.
        EnvironmentFailure: bfloat16 on a processor where TensorFlow sums it wrongly.

    Example:

    >>> train("work", "run", loss="mcc", epochs=40, minutes=10)
    Traceback (most recent call last):
    mcc_keras.errors.UsageError: Give `epochs` or `minutes`. Received both: epochs=40, minutes=10.
    """
    objects = keras.Model | keras.losses.Loss
    given = {name: changes[name] for name in ("model", "loss") if isinstance(changes.get(name), objects)}
    recipe = _complete(recipe, changes, given)
    if recipe.precision == "mixed_bfloat16":
        check_bfloat16()
    loss = given.get("loss") or _build_loss(recipe)
    refuse_run_folder(run)
    manifest = read_manifest(work)
    keras.utils.set_random_seed(recipe.seed)
    tf.config.experimental.enable_op_determinism()
    shown = {"batch_size": recipe.batch_size, "seed": recipe.seed, "patches": recipe.patches}
    data, clock = watch(load_dataset(work, "train", augment=recipe.augment or False, **shown))
    has_validation = bool(manifest.counts.get("validation"))
    validation = load_dataset(work, "validation", batch_size=recipe.batch_size) if has_validation else None
    model = _build(manifest, recipe, loss, model=given.get("model"))
    folder = start_run(run, recipe=recipe, data=describe_data(manifest), preprocessing=manifest.preprocessing)
    epochs = recipe.epochs or ENDLESS
    schedule = Schedule(recipe, total_steps=epochs * len(data))
    best, history = BestModel(folder / MODEL, MONITOR if has_validation else None), HistoryFile(folder / HISTORY)
    board, speed = keras.callbacks.TensorBoard(folder / LOGS, write_graph=False, profile_batch=0), SpeedLog(clock)
    model.fit(
        data,
        validation_data=validation,
        epochs=epochs,
        callbacks=[speed, schedule, best, history, board, keras.callbacks.TerminateOnNaN()],
        shuffle=False,  # the dataset does it
        verbose=_verbosity(verbose),
    )
    if best.epoch is None:
        problem = "expected a finite loss, found NaN in the first epoch"
        raise RunError(folder, problem, "Try a smaller learning rate, or look at the data with `check`.")
    result = RunResult(
        best_epoch=best.epoch,
        best_value=best.value,
        steps=schedule.step,
        seconds=round(history.seconds, 1),
        parameters=model.count_params(),
        speed=speed.totals.to_dict(),
        versions=_versions(),
    )
    return finish_run(folder, result)


def _complete(recipe, changes, given):
    """Return the `Recipe` with the changes, objects of Keras as their configuration."""
    known = {field.name for field in dataclasses.fields(Recipe)}
    unknown = sorted(set(changes) - known)
    if unknown:
        raise UsageError(
            f"Unknown settings: {', '.join(unknown)}. Expected fields of Recipe: {', '.join(sorted(known))}."
        )
    changes = changes | {name: keras.saving.serialize_keras_object(value) for name, value in given.items()}
    if recipe is None:
        return Recipe(**changes)
    if changes.get("minutes") is not None or changes.get("epochs") is not None:  # one takes the place of the other
        changes = {"epochs": None, "minutes": None} | changes
    return dataclasses.replace(recipe, **changes)


def _build_loss(recipe):
    if isinstance(recipe.loss, str):
        return get_loss(recipe.loss, **recipe.loss_arguments)
    return keras.saving.deserialize_keras_object(recipe.loss)


def _build(manifest, recipe, loss, *, model):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(recipe.precision)
    try:
        if model is None:
            model = DenseVNet(manifest.image_shape, manifest.task.num_classes, **recipe.model_arguments)
        optimizer = keras.optimizers.AdamW(
            recipe.learning_rate, weight_decay=recipe.weight_decay, global_clipnorm=recipe.clip_norm
        )
        metrics = [DiceScore(empty="exclude", name="dice"), MatthewsCorrelationCoefficient(name="mcc")]
        model.compile(optimizer, loss=loss, metrics=metrics)
    finally:
        keras.config.set_dtype_policy(before)
    return model


def _verbosity(verbose):
    if verbose != "auto":
        return verbose
    return 1 if sys.stdout.isatty() else 2


def _versions():
    packages = ("mcc_keras", "keras", "tensorflow", "numpy", "nibabel", "SimpleITK")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}
