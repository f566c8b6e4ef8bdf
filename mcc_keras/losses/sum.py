"""A weighted sum of losses that is one loss: it saves, reloads and tells its parts."""

import keras
from keras import ops

from mcc_keras.errors import UsageError
from mcc_keras.losses import get_loss
from mcc_keras.losses.volume_loss import VolumeLoss


@keras.saving.register_keras_serializable(package="mcc_keras")
class SumLoss(VolumeLoss):
    """Weighted sum of losses of volumes.

        loss = Σ_j weight_j · loss_j

    Args:
        parts: Names in `LOSSES` with their weights, `{"mcc": 1, "cross_entropy": 1}`, or pairs of a loss and a weight,
            `[(MCCLoss(smooth=2), 1), (FocalLoss(), 0.5)]`. Their own reduction is of no effect here.
        from_logits, pool, ignore_class: Given on to the parts that are named; losses bring their own, and must agree in
            `pool`.
        reduction, name, dtype: As in `MCCLoss`.

    Call arguments: As in `MCCLoss`.

    Raises:
        UsageError: An unknown name; a part that is no loss of this package; a weight below 0; parts that pool unlike.

    To see the parts in the progress bar and in the history of `fit`, give them as metrics as well. They are named after
    their losses; give those of the same class names of their own.

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

    def __init__(self, parts, *, name="sum_loss", from_logits=False, pool=None, ignore_class=None, **kwargs):
        pairs = parts.items() if hasattr(parts, "items") else parts
        common = {"from_logits": from_logits, "pool": pool or "sample", "ignore_class": ignore_class}
        self.parts = [(_built(part, common), float(weight)) for part, weight in pairs]
        pools = {part.pool for part, _ in self.parts}
        if len(pools) != 1 or not all(0 <= weight < float("inf") for _, weight in self.parts):
            raise UsageError(
                "`parts` must be one loss or more that pool alike, with weights of 0 or more. "
                f"Received: {[(part.name, part.pool, weight) for part, weight in self.parts]}"
            )
        super().__init__(name=name, from_logits=from_logits, pool=pools.pop(), ignore_class=ignore_class, **kwargs)

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
        config = super().get_config()
        del config["class_weights"], config["include_background"], config["pool"]
        parts = [[keras.saving.serialize_keras_object(part), weight] for part, weight in self.parts]
        return {**config, "parts": parts}

    @classmethod
    def from_config(cls, config):
        parts = [(keras.saving.deserialize_keras_object(part), weight) for part, weight in config["parts"]]
        return cls(**{**config, "parts": parts})


def _built(part, common):
    part = get_loss(part, **common) if isinstance(part, str) else part
    if not isinstance(part, VolumeLoss):
        raise UsageError(f"`parts` must be names in LOSSES or losses of this package. Received: {part!r}")
    return part
