"""What a training prints: its plan, a line per epoch, a bar with the time left on a terminal.

Lines are flushed as they are written, so that the log of a batch queue shows each epoch when it ends.
"""

import sys
import time

import keras
from tqdm import tqdm

TIMED_STEPS = 10
SHORT_MINUTES = 1.0


class TrainingLog(keras.callbacks.Callback):
    """Writes the progress of a training.

    Args:
        manifest: `Manifest` of the records.
        recipe: `Recipe`.
        schedule: `Schedule`, which knows how far the training is.
        best: `BestModel`, or `None`.
        steps: Steps per epoch.
        file: Stream to write to.
        bar: Whether a bar shows the steps of an epoch.
    """

    def __init__(self, manifest, recipe, *, schedule, best, steps, file=None, bar=False):
        super().__init__()
        self.manifest, self.recipe, self.schedule, self.best = manifest, recipe, schedule, best
        self.steps, self.file, self.shows_bar, self.bar = steps, file or sys.stdout, bar, None
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
        if self.recipe.minutes is not None:
            return f"{seconds:.2f} s per step, about {60 * self.recipe.minutes / seconds:.0f} steps"
        total = seconds * self.steps * self.recipe.epochs
        return f"{seconds:.2f} s per step, about {format_minutes(total)} in all, without validation"

    def _write(self, line):
        if self.bar is not None:
            tqdm.write(line, file=self.file)
        else:
            self.file.write(line + "\n")
        self.file.flush()


def describe_plan(manifest, recipe, model, *, steps):
    """Return the plan of a training as three lines: data, network, schedule.

    Args:
        manifest: `Manifest`.
        recipe: `Recipe`.
        model: Keras model.
        steps: Steps per epoch.
    """
    counts, task = manifest.counts, manifest.task
    size = "×".join(map(str, manifest.image_shape[:3]))
    patches = f", patches of {'×'.join(map(str, recipe.patches.size))}" if recipe.patches else ""
    channels = f"{len(task.channel_names)} channel" + ("s" if len(task.channel_names) > 1 else "")
    length = f"{recipe.epochs} epochs" if recipe.epochs else format_minutes(60 * recipe.minutes)
    loss = recipe.loss if isinstance(recipe.loss, str) else recipe.loss["class_name"]
    yield (
        f"data      {counts['train']} training and {counts.get('validation', 0)} validation cases, {size} voxels"
        f"{patches}, {channels}; {', '.join(task.names)}"
    )
    yield f"network   {model.name}, {model.count_params():,} parameters, {recipe.precision}"
    yield (
        f"schedule  {length} of {steps} steps with {recipe.batch_size} volumes, loss {loss}, seed {recipe.seed};"
        " TensorFlow compiles the first step, which takes longer"
    )


def format_minutes(seconds):
    """Return a duration in words.

    Example:

    >>> format_minutes(42), format_minutes(186), format_minutes(9000)
    ('42 s', '3.1 min', '2 h 30 min')
    """
    minutes = seconds / 60
    if minutes < SHORT_MINUTES:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes:.1f} min"
    return f"{int(minutes // 60)} h {minutes % 60:02.0f} min"
