"""Everything of a training that needs Keras and TensorFlow, through `model.fit`."""

import dataclasses
import platform
import sys
from importlib import metadata

import keras
import tensorflow as tf

from mcc_keras.errors import RunError
from mcc_keras.losses import get_loss
from mcc_keras.metrics import DiceScore, MatthewsCorrelationCoefficient
from mcc_keras.models import DenseVNet
from mcc_keras.pipeline.dataset import load_dataset
from mcc_keras.pipeline.throughput import watch
from mcc_keras.runs.data import describe_data
from mcc_keras.runs.run import HISTORY, LOGS, MODEL, RunResult, finish_run, start_run
from mcc_keras.training.callbacks import BestModel, HistoryFile, Schedule, SpeedLog
from mcc_keras.training.precision import check_bfloat16

MONITOR = "val_dice"
ENDLESS = 10**6  # epochs of a run that is bounded by minutes: the schedule ends it


def fit(manifest, run, *, recipe, verbose="auto", model=None, loss=None):
    """Train on the records of a manifest and return the `Run`.

    Args:
        manifest: `Manifest`.
        run: Path of the run folder, new or empty.
        recipe: `Recipe`.
        verbose: As in `model.fit`, or `"auto"`.
        model: A `keras.Model` in place of the recipe's, kept in the recipe by its configuration.
        loss: A `keras.losses.Loss` in place of the recipe's, kept likewise.
    """
    given = {name: value for name, value in {"model": model, "loss": loss}.items() if value is not None}
    configs = {name: keras.saving.serialize_keras_object(value) for name, value in given.items()}
    recipe = dataclasses.replace(recipe, **configs)
    if recipe.precision == "mixed_bfloat16":
        check_bfloat16()
    keras.utils.set_random_seed(recipe.seed)
    tf.config.experimental.enable_op_determinism()
    shown = {"batch_size": recipe.batch_size, "seed": recipe.seed, "patches": recipe.patches}
    data, clock = watch(load_dataset(manifest.work, "train", augment=recipe.augment or False, **shown))
    has_validation = bool(manifest.counts.get("validation"))
    validation = load_dataset(manifest.work, "validation", batch_size=recipe.batch_size) if has_validation else None
    model = _compiled(manifest, recipe, model=model, loss=_build_loss(recipe) if loss is None else loss)
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


def _build_loss(recipe):
    if isinstance(recipe.loss, str):
        return get_loss(recipe.loss, **recipe.loss_arguments)
    return keras.saving.deserialize_keras_object(recipe.loss)


def _build_model(manifest, recipe):
    if isinstance(recipe.model, str):
        return DenseVNet(manifest.image_shape, manifest.task.num_classes, **recipe.model_arguments)
    return keras.saving.deserialize_keras_object(recipe.model)


def _compiled(manifest, recipe, *, model, loss):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(recipe.precision)
    try:
        model = _build_model(manifest, recipe) if model is None else model
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
