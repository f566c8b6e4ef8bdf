"""When a training is saved, and how it is stopped: at a signal, or at the first number that is not finite."""

import contextlib
import signal
import threading
import time

import keras
import numpy as np
import tensorflow as tf

from mcc_keras.errors import TrainingInterrupted
from mcc_keras.training.callback_states import CallbackStates
from mcc_keras.training.generations import TrainingState, write_generation
from mcc_keras.training.state import capture

COST_FACTOR = 50  # a save, or a page, is due once this many times the cost of the last one has passed: 2 % at most
LONGEST_SECONDS = 300  # after that, a save does not wait for the end of the epoch


def is_due(saved, cost, *, least=0):
    """Return whether a save, or a page, is due.

    Args:
        saved: Time of the last save, by `time.monotonic`.
        cost: Seconds that it took.
        least: Seconds that must have passed in any case.
    """
    return time.monotonic() - saved > max(least, COST_FACTOR * cost)


class Keeper(keras.callbacks.Callback):
    """Writes generations, and stops the training after a step when it was asked to.

    It must come after the callbacks whose state it saves.

    Args:
        run: Run folder.
        schedule: `Schedule`.
        best: `BestModel`.
        history: `HistoryFile`.
        speed: `SpeedLog`.
        average: `AveragedWeights`, or `None`.
        others: `CallbackStates`, or `None`.
        spent: Seconds that earlier sessions have spent on saving.
    """

    def __init__(self, run, *, schedule, best, history, speed, average=None, others=None, spent=0.0):
        super().__init__()
        self.run, self.schedule, self.best, self.history, self.speed = run, schedule, best, history, speed
        self.average, self.others, self.asked = average, others or CallbackStates(()), None
        self.cost, self.total_cost, self.saved = 0.0, spent, time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        position = self.schedule.position
        if position.done >= position.steps or self.model.stop_training:  # the end of the epoch saves
            return
        if self.asked or self._due(LONGEST_SECONDS):
            self.save(epoch=position.epoch, epoch_step=position.done)
        self._leave()

    def on_epoch_end(self, epoch, logs=None):
        if self.model.stop_training or epoch + 1 == self.schedule.recipe.epochs:
            return
        if self.asked or self._due(0):
            self.save(epoch=epoch + 1, epoch_step=0)
        self._leave()

    def save(self, *, epoch, epoch_step):
        """Write a generation."""
        begun = time.monotonic()
        rows = tuple({name: _finite(value) for name, value in row.items()} for row in self.history.rows)
        state = TrainingState(
            step=self.schedule.step,
            epoch=epoch,
            epoch_step=epoch_step,
            seconds=self.schedule.stopwatch.seconds(),
            best_epoch=self.best.epoch,
            best_value=_finite(self.best.value),
            history=rows,
            speed=self.speed.totals.to_dict(),
            callbacks=self.others.numbers(),
            saving_seconds=self.total_cost,
        )
        write_generation(self.run, state, capture(self.model, self.average) | self.others.arrays())
        self.saved = time.monotonic()
        self.cost = self.saved - begun
        self.total_cost += self.cost

    def _due(self, least):
        return is_due(self.saved, self.cost, least=least)

    def _leave(self):
        if self.asked:
            raise TrainingInterrupted(self.run, self.asked)

    @contextlib.contextmanager
    def listening(self):
        """Let SIGINT and SIGTERM end the training after the step at hand; in the main thread only."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number, frame):
            if self.asked:  # a second time: at once
                raise KeyboardInterrupt
            self.asked = signal.Signals(number).name

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class NaNGuard(keras.callbacks.Callback):
    """Stops at the first loss or weight that is not finite, before the epoch can become the best.

    Args:
        dataset: The training data set, with `cases_of`.
        position: `Position`.
    """

    def __init__(self, dataset, position):
        super().__init__()
        self.dataset, self.position, self._finite = dataset, position, None

    def on_train_batch_begin(self, batch, logs=None):
        if self._finite is None:
            weights = [weight.value for weight in self.model.trainable_weights]
            self._finite = tf.function(lambda: tf.reduce_all([tf.reduce_all(tf.math.is_finite(w)) for w in weights]))

    def on_train_batch_end(self, batch, logs=None):
        loss = float(logs["loss"])
        if np.isfinite(loss) and self._finite():
            return
        epoch, step = self.position.epoch + 1, self.position.done
        cases = self.dataset.cases_of(epoch, step - 1)
        first = "loss" if not np.isfinite(loss) else "gradient"
        raise NotFinite(epoch=epoch, step=step, cases=tuple(cases), first=first)


class NotFinite(Exception):
    """A loss or a weight became NaN or infinite."""

    def __init__(self, **facts):
        super().__init__()
        self.facts = facts


def _finite(value):
    return None if value is None or not np.isfinite(value) else value
