"""Callbacks of a training: learning rate, best epoch, history, speed."""

import contextlib
import math
import time

import keras

from mcc_keras.files import write_text, written_aside
from mcc_keras.pipeline.throughput import Throughput
from mcc_keras.training.optimizing import flush_gradients


class Stopwatch:
    """Time trained, over all sessions of a run."""

    def __init__(self, spent=0.0):
        self.spent, self.begun = spent, time.monotonic()

    def seconds(self):
        return self.spent + time.monotonic() - self.begun


CUT = object()  # in the place of `True`, so that whoever ends the training for good is not overruled


def end_short_epoch(model):
    """End the batches of an epoch that began within.

    Keras would go on into the next pass of endless data; of other data it would ask for one more batch to find them
    exhausted, and the step that fails advances seeds all the same.
    """
    if not model.stop_training:
        model.stop_training = CUT


def begin_next_epoch(model):
    """Take back what `end_short_epoch` did, once Keras has left the loop over batches."""
    if model.stop_training is CUT:
        model.stop_training = False


class Position(keras.callbacks.Callback):
    """Where in an epoch the training is; it comes before the callbacks that ask.

    Args:
        steps: Batches per epoch.

    Attributes:
        epoch: Complete epochs.
        done: Batches of the epoch that are done.
        skip: Batches of the epoch that an earlier session has done.
    """

    def __init__(self, steps):
        super().__init__()
        self.steps, self.epoch, self.done, self.skip = steps, 0, 0, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.done = epoch, self.skip

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        if self.skip and self.done == self.steps:
            end_short_epoch(self.model)

    def on_epoch_end(self, epoch, logs=None):
        self.skip = 0
        begin_next_epoch(self.model)


class Schedule(keras.callbacks.Callback):
    """The learning rate of a recipe, its updates, and its end.

    Args:
        recipe: `Recipe`.
        position: `Position`.
        stopwatch: `Stopwatch`.
        step: Updates that earlier sessions made.

    Attributes:
        step: Updates made.
        updated: Whether the last batch ended with an update.
    """

    def __init__(self, recipe, *, position, stopwatch, step=0):
        super().__init__()
        self.recipe, self.position, self.stopwatch, self.step = recipe, position, stopwatch, step
        self.first, self.updated = step, False
        self.total = recipe.steps or (count_updates(position.steps, recipe) * recipe.epochs if recipe.epochs else None)

    def on_train_batch_begin(self, batch, logs=None):
        warm = min(1.0, (self.step + 1) / max(1, self.recipe.warmup_steps))
        decay = DECAYS[self.recipe.schedule](self.progress())
        self.model.optimizer.learning_rate = self.recipe.learning_rate * warm * decay

    def on_train_batch_end(self, batch, logs=None):
        rest = self.position.done % self.recipe.accumulate
        self.updated = rest == 0
        self.step += self.updated
        if rest and (self.position.done == self.position.steps or self.progress() >= 1):
            flush_gradients(self.model.optimizer, rest)
            self.updated = True
            self.step += 1
        if self.progress() >= 1:
            self.model.stop_training = True

    def progress(self):
        """Share of the run that is done, in [0, 1]."""
        if self.total is not None:
            return min(1.0, self.step / self.total)
        return min(1.0, self.stopwatch.seconds() / (60 * self.recipe.minutes))

    def seconds_left(self):
        """Estimate of the time until the end: what is left of the minutes, or at the pace of this session."""
        if self.total is None:
            return max(0.0, 60 * self.recipe.minutes - self.stopwatch.seconds())
        done = self.step - self.first
        pace = (self.stopwatch.seconds() - self.stopwatch.spent) / done if done else 0.0
        return pace * (self.total - self.step)


DECAYS = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "poly": lambda done: (1 - done) ** 0.9,
}


def count_updates(batches, recipe):
    """Return the updates of the weights in an epoch of so many batches."""
    return -(-batches // recipe.accumulate)


class Patience(keras.callbacks.Callback):
    """Ends the training after `patience` epochs without a better one.

    Args:
        patience: Epochs.
        best: `BestModel`, which must come before.
    """

    def __init__(self, patience, best):
        super().__init__()
        self.patience, self.best = patience, best

    def on_epoch_end(self, epoch, logs=None):
        if self.best.epoch is not None and epoch + 1 - self.best.epoch >= self.patience:
            self.model.stop_training = True


class BestModel(keras.callbacks.Callback):
    """Keeps the model of the epoch with the largest `monitor`; without one, of the last epoch.

    Args:
        path: File of the model.
        monitor: Name in the logs, or `None`.
        epoch: The epoch that an earlier session kept, or `None`.
        value: Its value.
        average: `AveragedWeights` that are kept in place of the weights, or `None`.
    """

    def __init__(self, path, monitor, *, epoch=None, value=None, average=None):
        super().__init__()
        self.path, self.monitor, self.epoch, self.value, self.average = path, monitor, epoch, value, average

    def on_epoch_end(self, epoch, logs=None):
        if not math.isfinite(logs["loss"]):
            return
        value = float(logs[self.monitor]) if self.monitor else None
        if self.epoch is not None and value is not None and not value > self.value and math.isfinite(self.value):
            return
        self.epoch, self.value = epoch + 1, value
        with written_aside(self.path) as aside, self.average.in_place() if self.average else contextlib.nullcontext():
            save_network(self.model, aside)


def save_network(model, path):
    """Save a compiled model alone: its optimizer takes twice as much, and that of float16 cannot be loaded again."""
    optimizer, compiled = model.optimizer, model.compiled
    model.optimizer, model.compiled = None, False
    try:
        model.save(path)
    finally:
        model.optimizer, model.compiled = optimizer, compiled


class SpeedLog(keras.callbacks.Callback):
    """Adds to the log of each epoch, and sums in `totals`, how fast training went and how long it waited for data.

    Validation does not count. The first epoch is slower, since it compiles.
    """

    def __init__(self, clock, *, totals=None):
        super().__init__()
        self.clock, self.totals = clock, totals or Throughput(0, 0, 0.0, 0.0)

    def on_epoch_begin(self, epoch, logs=None):
        self.before = self.clock.steps, self.clock.volumes, self.clock.seconds
        self.begun, self.opening = time.perf_counter(), None

    def on_train_batch_begin(self, batch, logs=None):
        if self.opening is None:  # Keras opens the data set between the two
            self.opening = time.perf_counter() - self.begun

    def on_train_batch_end(self, batch, logs=None):
        self.ended = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        steps, volumes, waited = self.before
        now = self.clock
        waited = now.seconds - waited + self.opening
        done = Throughput(now.steps - steps, now.volumes - volumes, self.ended - self.begun, waited)
        logs.update(volumes_per_second=done.volumes_per_second, waiting_share=done.waiting_share)
        self.totals += done


class HistoryFile(keras.callbacks.Callback):
    """Writes `history.csv`, whole again after every epoch.

    Args:
        path: The file.
        stopwatch: `Stopwatch`.
        rows: Rows of earlier sessions.
    """

    def __init__(self, path, stopwatch, *, rows=()):
        super().__init__()
        self.path, self.stopwatch, self.rows = path, stopwatch, list(rows)

    def on_epoch_end(self, epoch, logs=None):
        rate = float(self.model.optimizer.learning_rate)
        logs = {name: float(value) for name, value in logs.items() if name != "learning_rate"}
        seconds = round(self.stopwatch.seconds(), 2)
        self.rows.append({"epoch": epoch + 1, **logs, "learning_rate": rate, "seconds": seconds})
        lines = [",".join(self.rows[0]), *(",".join(f"{v:.6g}" for v in row.values()) for row in self.rows)]
        write_text(self.path, "\n".join(lines) + "\n")
