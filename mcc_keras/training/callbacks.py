"""Callbacks of a training: learning rate, best epoch, history, speed."""

import math
import time

import keras

from mcc_keras.files import write_text, written_aside
from mcc_keras.pipeline.throughput import Throughput


class Stopwatch:
    """Time trained, over all sessions of a run."""

    def __init__(self, spent=0.0):
        self.spent, self.begun = spent, time.monotonic()

    def seconds(self):
        return self.spent + time.monotonic() - self.begun


class Schedule(keras.callbacks.Callback):
    """Linear warm-up, then a cosine to 0 over the steps or the minutes of the run, whichever bounds it.

    Args:
        recipe: `Recipe`.
        steps: Steps per epoch.
        stopwatch: `Stopwatch`.
        step: Updates that earlier sessions made.
    """

    def __init__(self, recipe, *, steps, stopwatch, step=0):
        super().__init__()
        self.recipe, self.steps, self.stopwatch, self.step = recipe, steps, stopwatch, step
        self.first = step

    def on_train_batch_begin(self, batch, logs=None):
        done = self.progress()
        warm = min(1.0, (self.step + 1) / max(1, self.recipe.warmup_steps))
        self.model.optimizer.learning_rate = self.recipe.learning_rate * warm * (1 + math.cos(math.pi * done)) / 2

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if self.progress() >= 1:
            self.model.stop_training = True

    def progress(self):
        """Share of the run that is done, in [0, 1]."""
        if self.recipe.minutes is None:
            return min(1.0, self.step / (self.steps * self.recipe.epochs))
        return min(1.0, self.stopwatch.seconds() / (60 * self.recipe.minutes))

    def seconds_left(self):
        """Estimate of the time until the end: what is left of the minutes, or at the pace of this session."""
        if self.recipe.minutes is not None:
            return max(0.0, 60 * self.recipe.minutes - self.stopwatch.seconds())
        done = self.step - self.first
        pace = (self.stopwatch.seconds() - self.stopwatch.spent) / done if done else 0.0
        return pace * (self.steps * self.recipe.epochs - self.step)


class BestModel(keras.callbacks.Callback):
    """Keeps the model of the epoch with the largest `monitor`; without one, of the last epoch.

    Args:
        path: File of the model.
        monitor: Name in the logs, or `None`.
        epoch: The epoch that an earlier session kept, or `None`.
        value: Its value.
    """

    def __init__(self, path, monitor, *, epoch=None, value=None):
        super().__init__()
        self.path, self.monitor, self.epoch, self.value = path, monitor, epoch, value

    def on_epoch_end(self, epoch, logs=None):
        if not math.isfinite(logs["loss"]):
            return
        value = float(logs[self.monitor]) if self.monitor else None
        if self.epoch is not None and value is not None and not value > self.value and math.isfinite(self.value):
            return
        self.epoch, self.value = epoch + 1, value
        with written_aside(self.path) as aside:
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
