"""A model whose auxiliary heads are trained by `fit`, and seen by nobody else."""

import keras

from mcc_keras.models.resampling import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class DeeplySupervised(keras.Model):
    """A functional model of several outputs that answers with `output` and learns from all of them.

    Built from a dict of outputs, one of them `output`. In training the compiled loss is taken of every output against
    the same target, and summed; metrics, `evaluate`, `predict` and exports concern `output` alone.
    """

    def call(self, inputs, training=None, mask=None):
        outputs = super().call(inputs, training=training, mask=mask)
        return outputs if training else outputs["output"]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if not isinstance(y_pred, dict):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        loss = super().compute_loss(x, y, y_pred["output"], sample_weight, training)
        for name, auxiliary in y_pred.items():
            if name != "output":
                loss = loss + self._compile_loss(y, auxiliary, sample_weight)
        return loss

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        y_pred = y_pred["output"] if isinstance(y_pred, dict) else y_pred
        return super().compute_metrics(x, y, y_pred, sample_weight)
