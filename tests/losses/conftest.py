"""The gradient of a loss on whichever backend KERAS_BACKEND names."""

import keras
import pytest
from keras import ops


@pytest.fixture(scope="session")
def gradient_step():
    """Return a function that makes steps: of a loss, eager or compiled ("graph", "xla").

    A step takes target and prediction and returns the sum of the loss and its gradient, in NumPy.
    """
    return _gradient_step


def _gradient_step(loss, *, compiled=None):
    step = STEPS[keras.backend.backend()](lambda y, p: ops.sum(loss(y, p)), compiled)

    def in_numpy(y_true, y_pred):
        value, gradient = step(y_true, y_pred)
        return float(value), ops.convert_to_numpy(gradient)

    return in_numpy


def _on_tensorflow(total, compiled):
    import tensorflow as tf

    def step(y, p):
        with tf.GradientTape() as tape:
            tape.watch(p)
            value = total(y, p)
        return value, tape.gradient(value, p)

    if compiled:
        step = tf.function(step, jit_compile=compiled == "xla")
    return lambda y_true, y_pred: step(tf.constant(y_true), tf.constant(y_pred))


def _on_jax(total, compiled):
    import jax

    step = jax.value_and_grad(total, argnums=1)
    if compiled:
        step = jax.jit(step)
    return lambda y_true, y_pred: step(jax.numpy.asarray(y_true), jax.numpy.asarray(y_pred))


def _on_torch(total, compiled):
    import torch

    def step(y_true, y_pred):
        p = torch.tensor(y_pred, requires_grad=True)
        value = total(torch.tensor(y_true), p)
        (gradient,) = torch.autograd.grad(value, p)
        return value.detach(), gradient

    return step


STEPS = {"tensorflow": _on_tensorflow, "jax": _on_jax, "torch": _on_torch}
