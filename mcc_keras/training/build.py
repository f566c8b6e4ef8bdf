"""The network of a training, compiled: what a recipe and the records ask for."""

import copy

import keras

from mcc_keras.losses import get_loss
from mcc_keras.metrics import DiceScore, MatthewsCorrelationCoefficient
from mcc_keras.models import get_model
from mcc_keras.models.model_file import without_code
from mcc_keras.training.false_alarms import FalseAlarmRate
from mcc_keras.training.optimizing import build_optimizer
from mcc_keras.training.sizes import refuse_sizes
from mcc_keras.training.starting import freeze_layers, load_weights


def _build_loss(recipe):
    if isinstance(recipe.loss, str):
        return get_loss(recipe.loss, **recipe.loss_arguments)
    with without_code():
        return keras.saving.deserialize_keras_object(copy.deepcopy(recipe.loss))  # Keras empties it


def _build_model(manifest, recipe):
    if isinstance(recipe.model, str):
        # Patches may have another shape than the windows in which scans are segmented.
        shape = (None, None, None, manifest.image_shape[-1]) if recipe.window else manifest.image_shape
        return get_model(recipe.model, shape, manifest.task.num_classes, **recipe.model_arguments)
    with without_code():
        return keras.saving.deserialize_keras_object(copy.deepcopy(recipe.model))  # Keras empties it


def compile_model(manifest, recipe, *, model=None, loss=None):
    """Return the compiled network of a training, with the weights that it starts from.

    Args:
        manifest: `Manifest` of the records.
        recipe: `Recipe`.
        model: A `keras.Model` in place of the recipe's.
        loss: A `keras.losses.Loss` in place of the recipe's.

    Raises:
        UsageError: Settings that the network, the loss or the optimizer refuses.
        RunError: `recipe.init` is no finished run.
    """
    loss = _build_loss(recipe) if loss is None else loss
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(recipe.precision)
    try:
        model = _build_model(manifest, recipe) if model is None else model
        refuse_sizes(model, recipe)
        if recipe.init:
            load_weights(model, recipe.init)
        freeze_layers(model, recipe.freeze)
        metrics = [
            DiceScore(empty="exclude", only_present=True, name="dice"),
            MatthewsCorrelationCoefficient(name="mcc"),
            FalseAlarmRate(name="false_alarms"),
        ]
        model.compile(build_optimizer(recipe), loss=loss, metrics=metrics)
    finally:
        keras.config.set_dtype_policy(before)
    return model
