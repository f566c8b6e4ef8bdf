"""A weighted sum of losses that is one loss, saved and reloaded with its parts."""

from collections.abc import Mapping

import keras
from keras import ops

from mcc_keras.errors import UsageError
from mcc_keras.losses import get_loss
from mcc_keras.losses.volume_loss import VolumeLoss, checked_weights


@keras.saving.register_keras_serializable(package="mcc_keras")
class SumLoss(VolumeLoss):
    """Weighted sum of losses of volumes.

        loss = Σ_j weight_j · loss_j

    Args:
        parts: Names in `LOSSES` with their weights, `{"mcc": 1, "cross_entropy": 1}`, or pairs of a loss and a weight,
            `[(MCCLoss(smooth=2), 1), (FocalLoss(), 0.5)]`. Their own reduction has no effect here. All parts must have
            the same `pool` and `from_logits`.
        from_logits, pool, class_weights, include_background, ignore_class: Arguments of the parts that are named, and
            by default those that each part has by itself. A loss among the parts has its own, which must be the same.
        reduction, name, dtype: As in `MCCLoss`.

    Call arguments: As in `MCCLoss`.

    Raises:
        UsageError: An unknown name; a part that is no loss of this package; a weight below 0; an argument that a part
            does not take or does not have; parts that disagree in `pool` or `from_logits`.

    To see the parts in the progress bar and in the history of `fit`, pass them as metrics as well. They are named after
    their losses; name losses of the same class yourself, and build them with `reduction=None`, as named parts are:
    Keras counts the mean of a batch as one sample, however small the last batch is.

        loss = SumLoss({"mcc": 1, "cross_entropy": 1})
        model.compile("adam", loss=loss, metrics=[part for part, _ in loss.parts])

    Outside of `fit`, `values_of_parts` gives them.

    Example:

    >>> import numpy as np
    >>> y_true = np.array([[1, 0, 1, 1]], "float32")[..., None]
    >>> y_pred = np.array([[1, 0, 0, 1]], "float32")[..., None]
    >>> loss = SumLoss([(get_loss("mcc", smooth=0.0), 1.0), (get_loss("dice", smooth=0.0), 0.5)])
    >>> f"{float(loss(y_true, y_pred)):.4f}"
    '0.5226'
    >>> {name: f"{float(value[0]):.4f}" for name, value in loss.values_of_parts(y_true, y_pred).items()}
    {'mcc_loss': '0.4226', 'dice_loss': '0.2000'}
    """

    def __init__(
        self,
        parts,
        *,
        from_logits=None,
        pool=None,
        class_weights=None,
        include_background=None,
        ignore_class=None,
        name="sum_loss",
        **kwargs,
    ):
        common = {
            "from_logits": from_logits,
            "pool": pool,
            "class_weights": class_weights,
            "include_background": include_background,
            "ignore_class": ignore_class,
        }
        common = {key: value for key, value in common.items() if value is not None}
        pairs = parts.items() if isinstance(parts, Mapping) else parts
        self.parts = [(_built(part, common), float(weight)) for part, weight in pairs]
        agreed = {(part.pool, part.from_logits) for part, _ in self.parts}
        if len(agreed) != 1 or not all(0 <= weight < float("inf") for _, weight in self.parts):
            raise UsageError(
                "`parts` must be one loss or more of the same `pool` and `from_logits`, with weights of 0 or more. "
                f"Received: {[(part.name, part.pool, part.from_logits, weight) for part, weight in self.parts]}"
            )
        pool, from_logits = agreed.pop()
        super().__init__(name=name, pool=pool, from_logits=from_logits, **kwargs)

    def call(self, y_true, y_pred, sample_weight=None):
        values = self.values_of_parts(y_true, y_pred, sample_weight).values()
        return sum(weight * value for (_, weight), value in zip(self.parts, values, strict=True))

    def values_of_parts(self, y_true, y_pred, sample_weight=None):
        """Return the unweighted values (batch,) of each part, by its name; see `call` for the arguments."""
        values = {}
        for part, _ in self.parts:
            name = part.name if part.name not in values else f"{part.name}_{len(values)}"
            values[name] = part.call(ops.convert_to_tensor(y_true), y_pred, sample_weight)
        return values

    def get_config(self):
        config = {key: value for key, value in super().get_config().items() if key in ("name", "reduction", "dtype")}
        parts = [[keras.saving.serialize_keras_object(part), weight] for part, weight in self.parts]
        return {**config, "parts": parts}

    @classmethod
    def from_config(cls, config):
        parts = [(keras.saving.deserialize_keras_object(part), weight) for part, weight in config["parts"]]
        return cls(**{**config, "parts": parts})


def _built(part, common):
    """Build a part from its name, or check that a loss has the common arguments."""
    if isinstance(part, str):
        return get_loss(part, reduction=None, **common)
    if not isinstance(part, VolumeLoss):
        raise UsageError(f"`parts` must be names in LOSSES or losses of this package. Received: {part!r}")
    for key, value in common.items():
        own = getattr(part, key)
        if own != (checked_weights(value) if key == "class_weights" else value):
            raise UsageError(
                f"`{key}` of a sum must be that of the losses among its parts. Received: {key}={value!r}, "
                f"{part.name} with {key}={own!r}. Set it on the loss itself."
            )
    return part
