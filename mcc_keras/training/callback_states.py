"""What the callbacks of a user's own remember from epoch to epoch: saved and restored for those of Keras that do."""

import warnings

import keras
import numpy as np

# Attributes that are numbers, or None. Other stateful callbacks of Keras keep all their state in variables.
STATES = {
    keras.callbacks.EarlyStopping: ("wait", "stopped_epoch", "best", "best_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
    keras.callbacks.ModelCheckpoint: ("best", "_batches_seen_since_last_saving", "_last_batch_seen"),
    keras.callbacks.SwapEMAWeights: ("_ema_weights_in_model",),
}
WEIGHTS = "best_weights"  # of EarlyStopping, a list of arrays or None
STATELESS = (keras.callbacks.History, keras.callbacks.TensorBoard, keras.callbacks.ProgbarLogger)
PREFIX = "callbacks/"


class CallbackStates:
    """The state of callbacks, by their place in the list and their class.

    Warns of those whose state is not known: a resumed training begins with them as they were built.

    Args:
        callbacks: Keras callbacks.

    Example:

    >>> states = CallbackStates([keras.callbacks.ReduceLROnPlateau(monitor="loss")])
    >>> states.numbers()
    {'0/ReduceLROnPlateau': {'wait': 0, 'best': None, 'cooldown_counter': 0}}
    """

    def __init__(self, callbacks):
        self.callbacks = list(callbacks)
        named = ((f"{place}/{type(callback).__name__}", callback) for place, callback in enumerate(self.callbacks))
        self._known = {name: callback for name, callback in named if _attributes(callback)}
        unknown = [type(c).__name__ for c in self.callbacks if not _attributes(c) and not isinstance(c, STATELESS)]
        if unknown:
            text = "Where a stopped training goes on, these callbacks begin again, as their state is not known: "
            warnings.warn(text + ", ".join(unknown), stacklevel=4)

    def numbers(self):
        """Return the numbers that each callback remembers."""
        return {
            name: {key: _plain(getattr(callback, key, None)) for key in _attributes(callback)}
            for name, callback in self._known.items()
        }

    def arrays(self):
        """Return the weights that callbacks remember, by name."""
        found = {}
        for name, callback in self._known.items():
            for number, value in enumerate(getattr(callback, WEIGHTS, None) or ()):
                found[f"{PREFIX}{name}/{number:05d}"] = np.asarray(value)
        return found

    def restore(self, numbers, arrays):
        """Set what `numbers` and `arrays` returned; after `on_train_begin` of the callbacks, which forgets it."""
        for name, callback in self._known.items():
            for key, value in numbers.get(name, {}).items():
                setattr(callback, key, value)
            weights = [arrays[key] for key in sorted(arrays) if key.startswith(f"{PREFIX}{name}/")]
            if weights:
                setattr(callback, WEIGHTS, weights)


class RestoredCallbacks(keras.callbacks.Callback):
    """Restores `CallbackStates` once, as a training begins; it comes after the callbacks."""

    def __init__(self, states, numbers, arrays):
        super().__init__()
        self.states, self.saved = states, (numbers, arrays)

    def on_train_begin(self, logs=None):
        if self.saved:
            self.states.restore(*self.saved)
        self.saved = None


def _attributes(callback):
    return next((names for kind, names in STATES.items() if isinstance(callback, kind)), ())


def _plain(value):
    if value is None or isinstance(value, bool | int):
        return value
    value = float(value)
    return value if np.isfinite(value) else None
