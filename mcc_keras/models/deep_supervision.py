"""Deep supervision with auxiliary heads whose losses `fit` and `evaluate` log, in a model of one output."""

import contextvars
import warnings

import keras
from keras import ops

from mcc_keras.models.resampling import PACKAGE

# Whether a training or an evaluation step is running; per thread, since strategies run each replica in one.
_STEP = contextvars.ContextVar("mcc_keras_supervised_step", default=False)


@keras.saving.register_keras_serializable(package=PACKAGE)
class AuxiliaryHead(keras.layers.Layer):
    """Return logits unchanged and mark them as an output with a loss of its own in a `DeeplySupervised` model.

    Args:
        activation: Activation applied to these logits before the loss: that of the network's output.
        loss_weight: Weight of the loss, 0 or more.

    Call arguments:
        logits: `(batch, x, y, z, classes)`; the result is the same.

    Example:

    >>> import numpy as np
    >>> AuxiliaryHead("sigmoid", loss_weight=0.5, name="head1")(np.ones((1, 2, 2, 2, 1), "float32")).shape
    TensorShape([1, 2, 2, 2, 1])
    """

    def __init__(self, activation, *, loss_weight=1.0, **kwargs):
        super().__init__(**kwargs)
        self.activation, self.loss_weight = keras.activations.get(activation), loss_weight
        # Keras lists, resets and logs the metrics of layers with those of the model.
        self.loss_tracker = keras.metrics.Mean(name=f"{self.name}_loss")

    def call(self, logits):
        return logits

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = {"activation": keras.activations.serialize(self.activation), "loss_weight": self.loss_weight}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package=PACKAGE)
class DeeplySupervised(keras.Model):
    """A functional model of one output, whose steps of `fit` and `evaluate` add the loss of every `AuxiliaryHead`.

    `loss = loss(y, output) + Σ_h loss_weight_h · loss(y, head_h)`, the compiled loss against the same target, in
    training and in evaluation. The logs hold the loss of each head, unweighted, as `head1_loss` or `val_head1_loss`.
    Compiled metrics concern the output alone; calls, `predict` and exports return nothing else. The supervision is part
    of the steps of this model: inside another model it is off, with a warning.
    """

    def __call__(self, *args, **kwargs):
        if any(isinstance(value, keras.KerasTensor) for value in keras.tree.flatten((args, kwargs))):
            warnings.warn(
                f"The deep supervision of {self.name!r} is off where it becomes part of another model. Compile "
                "and fit the network itself, or build it with deep_supervision=False.",
                stacklevel=2,
            )
        return super().__call__(*args, **kwargs)

    def call(self, inputs, training=None, mask=None):
        if not _STEP.get():
            return super().call(inputs, training=training, mask=mask)
        # Built whenever it is traced: a model that is kept as an attribute would be saved a second time.
        tensors = {"output": self.output, **{head.name: head.output for head in self._heads()}}
        answers = keras.Model(self.input, tensors)(inputs, training=training)
        return {"output": answers["output"], **{h.name: h.activation(answers[h.name]) for h in self._heads()}}

    def train_step(self, *arguments):
        return _as_step(super().train_step, arguments)

    def test_step(self, *arguments):
        return _as_step(super().test_step, arguments)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if not isinstance(y_pred, dict):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        total = super().compute_loss(x, y, y_pred["output"], sample_weight, training)
        for head in self._heads():
            loss = self._compile_loss(y, y_pred[head.name], sample_weight)
            head.loss_tracker.update_state(loss / _replica_share(), sample_weight=ops.shape(y_pred[head.name])[0])
            total = total + head.loss_weight * loss
        return total

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        y_pred = y_pred["output"] if isinstance(y_pred, dict) else y_pred
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def _heads(self):
        return [layer for layer in self.layers if isinstance(layer, AuxiliaryHead)]


def _replica_share():
    """Return 1 / the number of replicas in sync, by which Keras multiplies each mean, so that their sum is a mean."""
    return keras.losses.MeanSquaredError()(ops.zeros((1, 1)), ops.ones((1, 1)))


def _as_step(function, arguments):
    token = _STEP.set(True)
    try:
        return function(*arguments)
    finally:
        _STEP.reset(token)
