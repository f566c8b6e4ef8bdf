"""Everything of a training that needs Keras and TensorFlow, through `model.fit`."""

import contextlib
import dataclasses
import platform
import sys
from importlib import metadata
from pathlib import Path

import keras
import tensorflow as tf

from mcc_keras.documents import write_document
from mcc_keras.errors import RunError
from mcc_keras.files import written_aside
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
from mcc_keras.segmentation.fingerprint import fingerprint_run
from mcc_keras.training.build import compile_model
from mcc_keras.training.callback_states import CallbackStates, RestoredCallbacks
from mcc_keras.training.callbacks import BestModel, HistoryFile, Patience, Position, Schedule, SpeedLog, Stopwatch
from mcc_keras.training.generations import latest_state, link_or_copy, remove_generations
from mcc_keras.training.gradients import released_gradients
from mcc_keras.training.keeper import Keeper, NaNGuard, NotFinite
from mcc_keras.training.log import TrainingLog
from mcc_keras.training.optimizing import AveragedWeights
from mcc_keras.training.page import RunPage
from mcc_keras.training.precision import check_bfloat16
from mcc_keras.training.resume import extend_run, owned_run, refuse_other_training
from mcc_keras.training.state import Restored, build_state, restore
from mcc_keras.training.validation import WindowedValidation

MONITOR = "val_dice"
FAILED_WAY_OUT = "Train into another folder with a smaller learning rate, or look at these cases with `check`."
ENDLESS = 10**6  # epochs of a run that is bounded by minutes or steps: the schedule ends it


def fit(manifest, run, *, recipe, verbose="auto", model=None, loss=None, callbacks=()):
    """Train on the records of a manifest, or go on with a stopped training, and return the `Run`.

    Args:
        manifest: `Manifest`.
        run: Path of the run folder: new, empty, or of a stopped training with the same recipe.
        recipe: `Recipe`.
        verbose: As in `train`.
        model: A `keras.Model` in place of the recipe's, kept in the recipe by its configuration.
        loss: A `keras.losses.Loss` in place of the recipe's, kept likewise.
        callbacks: Further Keras callbacks.

    Raises:
        UsageError: The stopped training had other settings or other records; the text lists the differences.
        RunError: A loss or a weight was not finite, or the saved state is damaged.
        TrainingInterrupted: SIGINT or SIGTERM; what was done is saved.
        BusyError: Another process trains into the same folder.
    """
    recipe, data = with_objects(recipe, model=model, loss=loss), describe_data(manifest)
    grows = refuse_other_training(run, recipe, data)
    if (Path(run) / RESULT).is_file() and not grows:
        return read_run(run)
    prepare_process(recipe)
    model = compile_model(manifest, recipe, model=model, loss=loss)
    with (
        owned_run(run, recipe=recipe, data=data, preprocessing=manifest.preprocessing) as folder,
        released_gradients(),
        record_errors(manifest),
    ):
        if grows:
            extend_run(folder, recipe)
        elif (folder / RESULT).is_file():  # another process has finished it in the meantime
            return read_run(folder)
        return Session(manifest, recipe, model, folder, callbacks).run(verbose)


def with_objects(recipe, *, model=None, loss=None):
    """Return the recipe with the configurations of a Keras model and a loss that take the place of its own."""
    given = {name: value for name, value in {"model": model, "loss": loss}.items() if value is not None}
    configs = {name: keras.saving.serialize_keras_object(value) for name, value in given.items()}
    return dataclasses.replace(recipe, **configs)


def prepare_process(recipe):
    """Set the seeds of this process and make TensorFlow's kernels deterministic.

    Raises:
        EnvironmentFailure: The precision cannot be trusted here.
    """
    if recipe.precision == "mixed_bfloat16":
        check_bfloat16()
    keras.utils.set_random_seed(recipe.seed)
    tf.config.experimental.enable_op_determinism()


def open_data(manifest, recipe):
    """Return the training part and the validation part as `fit` takes them.

    The validation part is a data set, or a `WindowedValidation` where the recipe has a window; `None` if it is empty.
    """
    shown = {"batch_size": recipe.batch_size, "seed": recipe.seed, "patches": recipe.patches}
    data = load_dataset(manifest, "train", augment=recipe.augment or False, **shown)
    if not manifest.counts.get("validation"):
        return data, None
    if recipe.window:
        return data, WindowedValidation(manifest, recipe)
    return data, load_dataset(manifest, "validation", batch_size=recipe.batch_size)


class Session:
    """One uninterrupted stretch of a training, from the beginning or from the last generation."""

    def __init__(self, manifest, recipe, model, folder, callbacks=()):
        self.manifest, self.recipe, self.model, self.folder = manifest, recipe, model, folder
        data, self.validation = open_data(manifest, recipe)
        self.windows = [self.validation] if isinstance(self.validation, WindowedValidation) else []
        self.data, self.clock = watch(data)
        self.others = CallbackStates(callbacks)
        self.state, self.arrays, self.source = latest_state(folder)

    def run(self, verbose):
        """Train to the end and return the `Run`."""
        callbacks, epochs = self._callbacks(verbose), self.recipe.epochs or ENDLESS
        self._restore()
        begin, step = (self.state.epoch, self.state.epoch_step) if self.state else (0, 0)
        try:
            with self.keeper.listening():
                if begin < epochs and self.schedule.progress() < 1:
                    self._fit(self.data.endless(step), begin, epochs, callbacks)
        except NotFinite as problem:
            raise self._failed(problem) from None
        finally:
            for callback in callbacks:
                if callback not in self.others.callbacks:
                    getattr(callback, "close", lambda: None)()
        return self._finish()

    def _fit(self, data, first, last, callbacks):
        self.model.fit(
            data,
            validation_data=None if self.windows else self.validation,
            initial_epoch=first,
            epochs=last,
            steps_per_epoch=len(self.data),
            callbacks=callbacks,
            shuffle=False,  # the dataset does it
            verbose=0,
        )

    def _callbacks(self, verbose):
        state, recipe, model = self.state, self.recipe, self.model
        self.stopwatch = Stopwatch(state.seconds if state else 0.0)
        self.position = Position(len(self.data))
        clocks = {"position": self.position, "stopwatch": self.stopwatch}
        self.schedule = Schedule(recipe, **clocks, step=state.step if state else 0)
        self.average = AveragedWeights(model, recipe.ema, self.schedule) if recipe.ema else None
        kept = {"epoch": state.best_epoch, "value": state.best_value} if state else {}
        self.best = BestModel(self.folder / MODEL, MONITOR if self.validation else None, **kept, average=self.average)
        rows = [{n: float("nan") if v is None else v for n, v in row.items()} for row in state.history] if state else ()
        self.history = HistoryFile(self.folder / HISTORY, self.stopwatch, rows=rows)
        self.speed = SpeedLog(self.clock, totals=Throughput.from_dict(state.speed) if state else None)
        saved = {"schedule": self.schedule, "best": self.best, "history": self.history, "speed": self.speed}
        saved |= {"average": self.average, "others": self.others, "spent": state.saving_seconds if state else 0.0}
        self.keeper = Keeper(self.folder, **saved)
        board = keras.callbacks.TensorBoard(self.folder / LOGS, write_graph=False, profile_batch=0)
        in_epoch = self.arrays if state and state.epoch_step else None
        callbacks = [self.position, Restored(in_epoch), NaNGuard(self.data, self.position), *self.windows]
        callbacks += [self.speed, self.schedule, *([self.average] if self.average else [])]
        callbacks += [self.best, self.history, board]
        callbacks += [Patience(recipe.patience, self.best)] if recipe.patience else []
        if verbose:
            bar = verbose == 1 or (verbose == "auto" and sys.stdout.isatty())
            callbacks.append(TrainingLog(self.manifest, recipe, schedule=self.schedule, best=self.best, bar=bar))
        remembered = [RestoredCallbacks(self.others, state.callbacks, self.arrays)] if state else []
        shown = {"schedule": self.schedule, "best": self.best, "history": self.history}
        self.page = RunPage(self.folder, self.manifest, recipe, **shown)
        callbacks += [self.page, *self.others.callbacks, *remembered, self.keeper]
        for windows in self.windows:
            windows.listeners = [callback for callback in callbacks if callback is not windows]
        return callbacks

    def _restore(self):
        build_state(self.model, self.data)
        if self.state is None:
            return
        restore(self.model, self.arrays, self.average, path=self.source)
        self.data.epoch.assign(self.state.epoch)
        self.position.skip = self.state.epoch_step
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
            saving_seconds=round(self.keeper.total_cost, 3),
            parameters=self.model.count_params(),
            speed=self.speed.totals.to_dict(),
            versions=_versions(),
        )
        can_grow = self.recipe.can_grow and self.position.done in (0, self.position.steps)
        if can_grow and self.position.done:  # 0: it was saved, and killed before it could finish
            self.keeper.save(epoch=self.position.epoch + 1, epoch_step=0)
        finished = finish_run(self.folder, result)
        remove_generations(self.folder, kept=int(can_grow))
        self.page.finish()
        with contextlib.suppress(RunError):  # a network of classes that are not registered
            fingerprint_run(finished)
        return finished


def _versions():
    packages = ("mcc_keras", "keras", "tensorflow", "numpy", "nibabel", "SimpleITK")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}
