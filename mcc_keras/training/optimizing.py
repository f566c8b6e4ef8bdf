"""The optimizer of a recipe, its gradients over several batches, and the average of the weights."""

import contextlib

import keras
import numpy as np
from keras import ops

from mcc_keras.errors import UsageError
from mcc_keras.runs.choices import OPTIMIZERS


def build_optimizer(recipe):
    """Return the Keras optimizer of a `Recipe`.

    Raises:
        UsageError: Keras refuses one of `optimizer_arguments`.

    Example:

    >>> from mcc_keras.runs.recipe import Recipe
    >>> build_optimizer(Recipe(optimizer="sgd", optimizer_arguments={"momentum": 0.9})).momentum
    0.9
    """
    settings = {
        "learning_rate": recipe.learning_rate,
        "weight_decay": recipe.weight_decay,
        "global_clipnorm": recipe.clip_norm,
        "gradient_accumulation_steps": recipe.accumulate if recipe.accumulate > 1 else None,
    }
    kind = getattr(keras.optimizers, OPTIMIZERS[recipe.optimizer])
    try:
        return kind(**settings, **recipe.optimizer_arguments)
    except (TypeError, ValueError) as error:
        arguments = dict(recipe.optimizer_arguments)
        raise UsageError(
            f"`optimizer_arguments` must be arguments of keras.optimizers.{kind.__name__} that the recipe has no field"
            f" for. Received: optimizer_arguments={arguments!r} ({error})."
        ) from None


def flush_gradients(optimizer, batches):
    """Update the weights with the mean gradient of the batches accumulated so far, fewer than a whole group.

    Keras divides a group by its full length, so the sum is scaled and the group is filled up with gradients of 0.

    Args:
        optimizer: Keras optimizer with `gradient_accumulation_steps`.
        batches: Batches since the last update.
    """
    steps = optimizer.gradient_accumulation_steps
    for gradient in optimizer._accumulated_gradients:
        gradient.assign(gradient * (steps / batches))
    variables = optimizer._trainable_variables
    for _ in range(steps - batches):
        optimizer.apply([ops.zeros_like(variable) for variable in variables], variables)


class AveragedWeights(keras.callbacks.Callback):
    """An exponential moving average of the weights, and of the statistics of batch norm, after every update.

    It takes the place of the weights in validation, and within `in_place`. Its momentum rises to `momentum` as
    (1 + n) / (10 + n) after n updates, so that the initial weights are soon forgotten.

    Args:
        model: Built Keras model.
        momentum: In (0, 1).
        schedule: `Schedule`, which counts the updates; it must come before.
    """

    def __init__(self, model, momentum, schedule):
        super().__init__()
        self.momentum, self.schedule = momentum, schedule
        self.weights = [weight for weight in model.weights if "float" in keras.backend.standardize_dtype(weight.dtype)]
        self.variables = [
            keras.Variable(weight, trainable=False, dtype="float32", name=f"average_{number}")
            for number, weight in enumerate(self.weights)
        ]
        self._update, self._raw = None, None

    def on_train_batch_end(self, batch, logs=None):
        if not self.schedule.updated:
            return
        number = self.schedule.step
        momentum = min(self.momentum, (1 + number) / (10 + number))
        if self._update is None:
            self._update = _compiled_update(self.variables, self.weights)
        self._update(np.float32(1 - momentum))

    def on_test_begin(self, logs=None):
        self._raw = [ops.copy(weight.value) for weight in self.weights]
        for weight, average in zip(self.weights, self.variables, strict=True):
            weight.assign(average.value)

    def on_test_end(self, logs=None):
        for weight, raw in zip(self.weights, self._raw, strict=True):
            weight.assign(raw)
        self._raw = None

    @contextlib.contextmanager
    def in_place(self):
        """Put the average in the place of the weights within the block."""
        self.on_test_begin()
        try:
            yield
        finally:
            self.on_test_end()


def _compiled_update(averages, weights):
    import tensorflow as tf

    @tf.function(autograph=False, input_signature=[tf.TensorSpec((), tf.float32)])
    def update(share):
        for average, weight in zip(averages, weights, strict=True):
            average.assign_add(share * (ops.cast(weight.value, "float32") - average.value))

    return update
