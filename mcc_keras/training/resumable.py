"""`ResumableRun`: exact resumption for a `model.fit` of a user's own."""

import contextlib
import time
from pathlib import Path

import keras

from mcc_keras.errors import UsageError
from mcc_keras.files import refuse_impossible_output
from mcc_keras.locks import owned
from mcc_keras.runs.run import LOCK
from mcc_keras.training.callback_states import CallbackStates
from mcc_keras.training.callbacks import begin_next_epoch, end_short_epoch
from mcc_keras.training.generations import TrainingState, latest_state, write_generation
from mcc_keras.training.keeper import LONGEST_SECONDS, is_due
from mcc_keras.training.state import Restored, build_state, capture, restore


class ResumableRun(keras.callbacks.Callback):
    """Lets the same script go on where it was stopped, with the weights of an undisturbed training, bit for bit.

    It saves weights, optimizer, seeds, metrics and the position in the data into `folder/generations`: at an epoch's
    end, but not before fifty times the cost of the last save has passed, and within an epoch after five minutes where
    the data come through `data`. The last two generations are kept; a damaged one falls back to the one before. The
    next `fit` of the same script, with `epochs` as before or more, begins where the last generation was written.

    Bit for bit means: the model is built from the same seed, kernels are deterministic
    (`tf.config.experimental.enable_op_determinism()`), and an epoch's data depend on nothing but its number, as those
    of `load_dataset` do with `data`.

    Args:
        folder: Folder of the training, new or of the same script. One process at a time writes there.
        callbacks: The Keras callbacks of the same `fit` whose state is to be saved with it: EarlyStopping,
            ReduceLROnPlateau, ModelCheckpoint and SwapEMAWeights; a warning names others. Give them to `fit` before
            this one.

    Raises:
        UsageError: `folder` cannot be one.
        DataError: All generations are damaged.
        RunError: They belong to another network, optimizer or set of metrics.
        BusyError: Another process trains into the folder.

    Example:

    >>> import tempfile
    >>> import numpy as np
    >>> def script(folder, epochs):
    ...     keras.utils.set_random_seed(1)
    ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    ...     model.compile("adam", "mse")
    ...     stop = keras.callbacks.EarlyStopping("loss", patience=5)
    ...     resumable = ResumableRun(folder, callbacks=[stop])
    ...     history = model.fit(np.eye(2), np.eye(2)[:, :1], epochs=epochs, callbacks=[stop, resumable], verbose=0)
    ...     return history.epoch, model.get_weights()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first, _ = script(f"{folder}/parts", epochs=2)
    ...     second, weights = script(f"{folder}/parts", epochs=4)
    ...     _, undisturbed = script(f"{folder}/whole", epochs=4)
    >>> first, second, all(map(np.array_equal, weights, undisturbed))
    ([0, 1], [2, 3], True)
    """

    def __init__(self, folder, *, callbacks=()):
        super().__init__()
        self.folder = Path(folder)
        refuse_impossible_output(self.folder / LOCK)
        self._others = CallbackStates(callbacks)
        self._dataset, self._owner, self._restored = None, None, None
        self._saved, self._cost = time.monotonic(), 0.0
        self._step, self._epoch, self._done, self._skip = 0, 0, 0, 0
        self._state, self._arrays, self._source = latest_state(self.folder)

    def data(self, dataset):
        """Return the training data for `fit`, which begin where the training was stopped, within an epoch as well.

        Args:
            dataset: What `load_dataset` returned.
        """
        if not hasattr(dataset, "resumed"):
            raise UsageError(f"`dataset` must be a data set of `load_dataset`. Received: {type(dataset).__name__}.")
        self._dataset = dataset
        if self._state is None:
            return dataset
        dataset.epoch.assign(self._state.epoch)
        return dataset.resumed(self._state.epoch_step) if self._state.epoch_step else dataset

    def on_train_begin(self, logs=None):
        if self._owner is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._owner = contextlib.ExitStack()
            self._owner.enter_context(owned(self.folder / LOCK, self.folder))
        if self._state is not None:
            self._go_on(self._state)
        self._saved, self._state = time.monotonic(), None

    def _go_on(self, state):
        if state.epoch_step and self._dataset is None:
            raise UsageError(
                f"{self.folder} was saved within an epoch: give the data to `fit` through `data`, as before."
            )
        within = state.epoch_step > 0
        if within:
            build_state(self.model, self._dataset)
        else:
            self.model.optimizer.build(self.model.trainable_variables)
        restore(self.model, self._arrays, path=self._source, metrics=within)
        self._others.restore(state.callbacks, self._arrays)
        self._restored = Restored(self._arrays if within else None)
        self._restored.set_model(self.model)
        self._step, self._skip = state.step, state.epoch_step
        self._arrays = None
        # Keras begins with this epoch; after the last one there is nothing to do.
        self.model._initial_epoch = self.params["epochs"] if state.ended else state.epoch

    def on_epoch_begin(self, epoch, logs=None):
        if self._restored is not None:
            self._restored.on_epoch_begin(epoch)
        self._epoch, self._done, self._restored = epoch, self._skip, None

    def on_train_batch_end(self, batch, logs=None):
        done = self._skip + batch + 1  # more than one after the other with `steps_per_execution`
        self._step, self._done = self._step + done - self._done, done
        within = self._dataset is not None and self._done < len(self._dataset)
        if within and not self.model.stop_training and is_due(self._saved, self._cost, least=LONGEST_SECONDS):
            self._save(epoch=self._epoch, epoch_step=self._done)
        if self._skip and self._done == len(self._dataset):
            end_short_epoch(self.model)

    def on_epoch_end(self, epoch, logs=None):
        begin_next_epoch(self.model)
        self._skip, ended = 0, self.model.stop_training
        last = epoch + 1 == self.params["epochs"]
        if ended or last or is_due(self._saved, self._cost):
            self._save(epoch=epoch + 1, epoch_step=0, ended=ended)

    def on_train_end(self, logs=None):
        self.model._initial_epoch = None
        self._owner.close()
        self._owner = None

    def _save(self, *, epoch, epoch_step, ended=False):
        begun = time.monotonic()
        state = TrainingState(
            step=self._step,
            epoch=epoch,
            epoch_step=epoch_step,
            seconds=0.0,
            best_epoch=None,
            best_value=None,
            history=(),
            speed={},
            callbacks=self._others.numbers(),
            ended=ended,
        )
        write_generation(self.folder, state, capture(self.model) | self._others.arrays())
        self._saved = time.monotonic()
        self._cost = self._saved - begun
