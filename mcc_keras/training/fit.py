"""Everything of a training that needs Keras and TensorFlow, through `model.fit`."""

import dataclasses
import platform
import sys
from importlib import metadata

import keras
import tensorflow as tf

from mcc_keras.documents import write_document
from mcc_keras.errors import RunError
from mcc_keras.files import written_aside
from mcc_keras.losses import get_loss
from mcc_keras.metrics import DiceScore, MatthewsCorrelationCoefficient
from mcc_keras.models import get_model
from mcc_keras.models.model_file import without_code
from mcc_keras.pipeline.dataset import load_dataset
from mcc_keras.pipeline.reading import record_errors
from mcc_keras.pipeline.throughput import Throughput, watch
from mcc_keras.runs.data import describe_data
from mcc_keras.runs.run import (
    FAILED,
    FAILURE_SCHEMA,
    HISTORY,
    LOGS,
    MODEL,
    RESULT,
    Failure,
    RunResult,
    finish_run,
    read_run,
)
from mcc_keras.training.callbacks import BestModel, HistoryFile, Schedule, SpeedLog, Stopwatch
from mcc_keras.training.false_alarms import FalseAlarmRate
from mcc_keras.training.generations import latest_state, link_or_copy, remove_generations
from mcc_keras.training.gradients import released_gradients
from mcc_keras.training.keeper import Keeper, NaNGuard, NotFinite
from mcc_keras.training.log import TrainingLog
from mcc_keras.training.precision import check_bfloat16
from mcc_keras.training.resume import owned_run, refuse_other_training
from mcc_keras.training.state import Restored, build_metrics, restore

MONITOR = "val_dice"
FAILED_WAY_OUT = "Train into another folder with a smaller learning rate, or look at these cases with `check`."
ENDLESS = 10**6  # epochs of a run that is bounded by minutes: the schedule ends it


def fit(manifest, run, *, recipe, verbose="auto", model=None, loss=None):
    """Train on the records of a manifest, or go on with a stopped training, and return the `Run`.

    Args:
        manifest: `Manifest`.
        run: Path of the run folder: new, empty, or of a stopped training with the same recipe.
        recipe: `Recipe`.
        verbose: As in `train`.
        model: A `keras.Model` in place of the recipe's, kept in the recipe by its configuration.
        loss: A `keras.losses.Loss` in place of the recipe's, kept likewise.

    Raises:
        UsageError: The stopped training had other settings or other records; the text lists the differences.
        RunError: A loss or a weight was not finite, or the saved state is damaged.
        TrainingInterrupted: SIGINT or SIGTERM; what was done is saved.
        BusyError: Another process trains into the same folder.
    """
    given = {name: value for name, value in {"model": model, "loss": loss}.items() if value is not None}
    configs = {name: keras.saving.serialize_keras_object(value) for name, value in given.items()}
    recipe, data = dataclasses.replace(recipe, **configs), describe_data(manifest)
    if recipe.precision == "mixed_bfloat16":
        check_bfloat16()
    refuse_other_training(run, recipe, data)
    keras.utils.set_random_seed(recipe.seed)
    tf.config.experimental.enable_op_determinism()
    model = _compiled(manifest, recipe, model=model, loss=_build_loss(recipe) if loss is None else loss)
    with (
        owned_run(run, recipe=recipe, data=data, preprocessing=manifest.preprocessing) as folder,
        released_gradients(),
        record_errors(manifest),
    ):
        if (folder / RESULT).is_file():  # another process has finished it in the meantime
            return read_run(folder)
        return Session(manifest, recipe, model, folder).run(verbose)


class Session:
    """One uninterrupted stretch of a training, from the beginning or from the last generation."""

    def __init__(self, manifest, recipe, model, folder):
        self.manifest, self.recipe, self.model, self.folder = manifest, recipe, model, folder
        shown = {"batch_size": recipe.batch_size, "seed": recipe.seed, "patches": recipe.patches}
        data = load_dataset(manifest, "train", augment=recipe.augment or False, **shown)
        self.data, self.clock = watch(data)
        self.steps = len(self.data)
        has_validation = bool(manifest.counts.get("validation"))
        self.validation = load_dataset(manifest, "validation", batch_size=recipe.batch_size) if has_validation else None
        self.state, self.arrays, self.source = latest_state(folder)

    def run(self, verbose):
        """Train to the end and return the `Run`."""
        callbacks, state, epochs = self._callbacks(verbose), self.state, self.recipe.epochs or ENDLESS
        self._restore()
        begin = state.epoch if state else 0
        try:
            with self.keeper.listening():
                if state and state.epoch_step:
                    self.keeper.offset = self.guard.offset = state.epoch_step
                    self._fit(self.data.rest(state.epoch_step), begin, begin + 1, callbacks)
                    begin += 1
                if begin < epochs and self.schedule.progress() < 1:
                    self._fit(self.data, begin, epochs, callbacks)
        except NotFinite as problem:
            raise self._failed(problem) from None
        finally:
            for callback in callbacks:
                getattr(callback, "close", lambda: None)()
        return self._finish()

    def _fit(self, data, first, last, callbacks):
        self.model.fit(
            data,
            validation_data=self.validation,
            initial_epoch=first,
            epochs=last,
            callbacks=callbacks,
            shuffle=False,  # the dataset does it
            verbose=0,
        )

    def _callbacks(self, verbose):
        state = self.state
        self.stopwatch = Stopwatch(state.seconds if state else 0.0)
        self.schedule = Schedule(
            self.recipe, steps=self.steps, stopwatch=self.stopwatch, step=state.step if state else 0
        )
        kept = {"epoch": state.best_epoch, "value": state.best_value} if state else {}
        self.best = BestModel(self.folder / MODEL, MONITOR if self.validation else None, **kept)
        rows = [{n: float("nan") if v is None else v for n, v in row.items()} for row in state.history] if state else ()
        self.history = HistoryFile(self.folder / HISTORY, self.stopwatch, rows=rows)
        self.speed = SpeedLog(self.clock, totals=Throughput.from_dict(state.speed) if state else None)
        self.guard = NaNGuard(self.data)
        self.keeper = Keeper(
            self.folder,
            steps=self.steps,
            schedule=self.schedule,
            best=self.best,
            history=self.history,
            speed=self.speed,
        )
        board = keras.callbacks.TensorBoard(self.folder / LOGS, write_graph=False, profile_batch=0)
        in_epoch = self.arrays if state and state.epoch_step else None
        callbacks = [Restored(in_epoch), self.guard, self.speed, self.schedule, self.best, self.history, board]
        if verbose:
            bar = verbose == 1 or (verbose == "auto" and sys.stdout.isatty())
            log = {"schedule": self.schedule, "best": self.best, "steps": self.steps}
            callbacks.append(TrainingLog(self.manifest, self.recipe, **log, bar=bar))
        return [*callbacks, self.keeper]

    def _restore(self):
        if self.state is None:
            return
        build_metrics(self.model, self.manifest.image_shape)
        restore(self.model, self.arrays, path=self.source)
        self.data.epoch.assign(self.state.epoch)
        if (self.source / MODEL).exists():  # a later epoch may have become the best since then
            with written_aside(self.folder / MODEL) as aside:
                link_or_copy(self.source / MODEL, aside)

    def _failed(self, problem):
        facts = problem.facts
        self.data.epoch.assign(facts["epoch"] - 1)
        batch = next(iter(self.data.rest(facts["step"] - 1)))
        if not all(bool(tf.reduce_all(tf.math.is_finite(tf.cast(part, tf.float32)))) for part in batch):
            facts["first"] = "input"
        failure = Failure(**facts)
        write_document(failure, self.folder / FAILED, schema=FAILURE_SCHEMA)
        return RunError(self.folder, f"expected finite numbers, but {failure.reason}", FAILED_WAY_OUT)

    def _finish(self):
        result = RunResult(
            best_epoch=self.best.epoch,
            best_value=self.best.value,
            steps=self.schedule.step,
            seconds=round(self.stopwatch.seconds(), 1),
            parameters=self.model.count_params(),
            speed=self.speed.totals.to_dict(),
            versions=_versions(),
        )
        finished = finish_run(self.folder, result)
        remove_generations(self.folder)
        return finished


def _build_loss(recipe):
    if isinstance(recipe.loss, str):
        return get_loss(recipe.loss, **recipe.loss_arguments)
    with without_code():
        return keras.saving.deserialize_keras_object(recipe.loss)


def _build_model(manifest, recipe):
    if isinstance(recipe.model, str):
        # Patches have another shape than the volumes of validation and prediction.
        shape = (None, None, None, manifest.image_shape[-1]) if recipe.patches else manifest.image_shape
        return get_model(recipe.model, shape, manifest.task.num_classes, **recipe.model_arguments)
    with without_code():
        return keras.saving.deserialize_keras_object(recipe.model)


def _compiled(manifest, recipe, *, model, loss):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(recipe.precision)
    try:
        model = _build_model(manifest, recipe) if model is None else model
        optimizer = keras.optimizers.AdamW(
            recipe.learning_rate, weight_decay=recipe.weight_decay, global_clipnorm=recipe.clip_norm
        )
        metrics = [
            DiceScore(empty="exclude", only_present=True, name="dice"),
            MatthewsCorrelationCoefficient(name="mcc"),
            FalseAlarmRate(name="false_alarms"),
        ]
        model.compile(optimizer, loss=loss, metrics=metrics)
    finally:
        keras.config.set_dtype_policy(before)
    return model


def _versions():
    packages = ("mcc_keras", "keras", "tensorflow", "numpy", "nibabel", "SimpleITK")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}
