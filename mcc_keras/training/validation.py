"""Validation of a training on patches: each case is segmented window by window, as scans are, and scored whole."""

import keras
import tensorflow as tf

from mcc_keras.models.deep_supervision import AuxiliaryHead
from mcc_keras.pipeline.arrays import read_arrays
from mcc_keras.segmentation.windows import count_windows
from mcc_keras.training.windows import WindowedNetwork


class WindowedValidation(keras.callbacks.Callback):
    """Adds to the log of each epoch what Keras adds for a validation data set: the loss and the metrics as `val_…`.

    One case is in memory at a time. It comes before the callbacks that read the log, and they hear of the beginning and
    the end of the validation as they hear of Keras' own.

    Args:
        manifest: `Manifest` with a validation part.
        recipe: `Recipe` with a window.
    """

    def __init__(self, manifest, recipe):
        super().__init__()
        self.manifest, self.recipe, self.listeners, self._network = manifest, recipe, (), None

    def on_epoch_end(self, epoch, logs=None):
        for listener in self.listeners:
            listener.on_test_begin()
        found = self.validate()
        for listener in self.listeners:
            listener.on_test_end(found)
        logs.update({f"val_{name}": value for name, value in found.items()})

    def validate(self, *, most=None):
        """Return the loss and the metrics over the validation cases, or over the first of them."""
        if self._network is None:
            self._build()
        self.model.reset_metrics()
        for number, record in enumerate(read_arrays(self.manifest, "validation")):
            if number == most:
                break
            self._score(record.mask[None, ..., None], self._network(record.image)[None])
        heads = {layer.loss_tracker.name for layer in self.model.layers if isinstance(layer, AuxiliaryHead)}
        found = sorted(self.model.get_metrics_result().items())  # as Keras orders them
        return {name: float(value) for name, value in found if name not in heads}  # which no joined windows have

    def count_windows(self, *, most=None):
        """Return the number of windows over the validation cases, or over the first of them."""
        records = self.manifest.records("validation")[:most]
        return sum(count_windows(record.shape, self.recipe.window) for record in records)

    def _build(self):
        model = self.model
        self._network = WindowedNetwork(model, self.recipe.window)
        truth = tf.float32 if self.manifest.task.num_classes == 1 else tf.int32
        whole = (1, None, None, None)
        mask, probability = (*whole, 1), (*whole, model.output_shape[-1])

        @tf.function(
            autograph=False, input_signature=[tf.TensorSpec(mask, tf.uint8), tf.TensorSpec(probability, tf.float32)]
        )
        def score(mask, probability):
            mask = tf.cast(mask, truth)
            model._loss_tracker.update_state(model._compute_loss(y=mask, y_pred=probability, training=False))
            model.compute_metrics(None, mask, probability)

        self._score = score
        none = [tf.zeros((1, 1, 1, 1, 1), truth), tf.zeros((1, 1, 1, 1, model.output_shape[-1]))]
        model.compute_metrics(None, *none)  # metrics have variables once they have seen a batch
