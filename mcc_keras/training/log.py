"""What a training prints: its plan, a line per epoch, a bar with the time left on a terminal.

Lines are flushed as they are written, so that the log of a batch queue shows each epoch when it ends.
"""

import sys
import time

import keras
from tqdm import tqdm

from mcc_keras.training.plan import describe_pace, describe_plan, format_minutes

TIMED_STEPS = 10


class TrainingLog(keras.callbacks.Callback):
    """Writes the progress of a training.

    Args:
        manifest: `Manifest` of the records.
        recipe: `Recipe`.
        schedule: `Schedule`, which knows how far the training is.
        best: `BestModel`, or `None`.
        file: Stream to write to.
        bar: Whether a bar shows the steps of an epoch.
    """

    def __init__(self, manifest, recipe, *, schedule, best, file=None, bar=False):
        super().__init__()
        self.manifest, self.recipe, self.schedule, self.best = manifest, recipe, schedule, best
        self.steps, self.file, self.shows_bar, self.bar = schedule.position.steps, file or sys.stdout, bar, None
        self.timed, self.seconds = None, 0.0

    def on_train_begin(self, logs=None):
        if self.timed is not None:  # the second of two calls of `fit`
            return
        for line in describe_plan(self.manifest, self.recipe, self.model, steps=self.steps):
            self._write(line)
        if self.schedule.step:
            done = f"after {self.schedule.step} steps"
            self._write(f"goes on   {done}, {format_minutes(self.schedule.stopwatch.spent)} trained")
        self.timed, self.seconds = 0, 0.0

    def on_epoch_begin(self, epoch, logs=None):
        if self.shows_bar:
            self.bar = tqdm(total=self.steps, desc=self._name(epoch), file=self.file, leave=False, unit="step")

    def on_train_batch_begin(self, batch, logs=None):
        self.begun = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        if self.timed <= TIMED_STEPS:  # the first compiles, and does not count
            self.seconds += (time.monotonic() - self.begun) if self.timed else 0.0
            self.timed += 1
            if self.timed == TIMED_STEPS + 1:
                self._write(self._estimate(self.seconds / TIMED_STEPS))
        if self.bar is not None:
            self.bar.update()
            self.bar.set_postfix_str(f"loss {float(logs['loss']):.3f}, {self._left()}", refresh=False)

    def on_epoch_end(self, epoch, logs=None):
        if self.bar is not None:
            self.bar.close()
        parts = [self._name(epoch), f"loss {float(logs['loss']):.3f}"]
        if "val_dice" in logs:
            best = f" (best {self.best.value:.3f})" if self.best.value is not None else ""
            parts.append(f"val Dice {float(logs['val_dice']):.3f}{best}")
        alarms = float(logs.get("val_false_alarms", float("nan")))
        if alarms == alarms:  # not NaN: there are validation volumes without the organ
            parts.append(f"false alarms {alarms:.0%}")
        self._write("  ".join([*parts, self._left()]))

    def close(self):
        """Remove the bar of an epoch that did not end."""
        if self.bar is not None:
            self.bar.close()

    def _name(self, epoch):
        total = f"/{self.recipe.epochs}" if self.recipe.epochs else ""
        return f"epoch {epoch + 1}{total}"

    def _left(self):
        return f"{format_minutes(self.schedule.seconds_left())} left"

    def _estimate(self, seconds):
        return describe_pace(self.recipe, seconds=seconds, steps=self.steps)

    def _write(self, line):
        if self.bar is not None:
            tqdm.write(line, file=self.file)
        else:
            self.file.write(line + "\n")
        self.file.flush()
