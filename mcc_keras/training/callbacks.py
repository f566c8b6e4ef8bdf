"""Callbacks of a training: learning rate, best epoch, history, speed."""

import math
import time

import keras

from mcc_keras.files import write_text, written_aside
from mcc_keras.pipeline.throughput import Throughput


class Schedule(keras.callbacks.Callback):
    """Linear warm-up, then a cosine to 0 over the steps or the minutes of the run, whichever bounds it."""

    def __init__(self, recipe, *, total_steps):
        super().__init__()
        self.recipe, self.total_steps, self.step = recipe, total_steps, 0

    def on_train_begin(self, logs=None):
        self.begun = time.monotonic()

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
            return min(1.0, self.step / self.total_steps)
        return min(1.0, (time.monotonic() - self.begun) / (60 * self.recipe.minutes))


class BestModel(keras.callbacks.Callback):
    """Keeps the model of the epoch with the largest `monitor`; without one, of the last epoch."""

    def __init__(self, path, monitor):
        super().__init__()
        self.path, self.monitor, self.epoch, self.value = path, monitor, None, None

    def on_epoch_end(self, epoch, logs=None):
        if not math.isfinite(logs["loss"]):
            return
        value = float(logs[self.monitor]) if self.monitor else None
        if self.epoch is not None and value is not None and not value > self.value and math.isfinite(self.value):
            return
        self.epoch, self.value = epoch + 1, value
        with written_aside(self.path) as aside:
            self.model.save(aside, include_optimizer=False)


class SpeedLog(keras.callbacks.Callback):
    """Adds to the log of each epoch, and sums in `totals`, how fast training went and how long it waited for data.

    Validation does not count. The first epoch is slower, since it compiles.
    """

    def __init__(self, clock):
        super().__init__()
        self.clock, self.totals = clock, Throughput(0, 0, 0.0, 0.0)

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
    """Writes `history.csv`, whole again after every epoch."""

    def __init__(self, path):
        super().__init__()
        self.path, self.rows, self.seconds = path, [], 0.0

    def on_train_begin(self, logs=None):
        self.begun = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds = time.monotonic() - self.begun
        rate = float(self.model.optimizer.learning_rate)
        logs = {name: float(value) for name, value in logs.items() if name != "learning_rate"}
        self.rows.append({"epoch": epoch + 1, **logs, "learning_rate": rate, "seconds": round(self.seconds, 2)})
        lines = [",".join(self.rows[0]), *(",".join(f"{v:.6g}" for v in row.values()) for row in self.rows)]
        write_text(self.path, "\n".join(lines) + "\n")
