"""`Recipe`: all settings of a training, as one frozen value with JSON."""

import dataclasses
import json
import math
from collections.abc import Mapping

from mcc_keras.augmentation.policy import Augmentation
from mcc_keras.augmentation.presets import augmentation_policy
from mcc_keras.documents import parse_document, to_text
from mcc_keras.errors import UsageError
from mcc_keras.pipeline.patches import Patches
from mcc_keras.seeds import check_seed

SCHEMA = 1
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
DEFAULT_EPOCHS = 100
_POSITIVE = ("learning_rate", "epochs", "minutes", "clip_norm", "batch_size")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of a training. The defaults were found on hippocampus and prostate MRI on a CPU.

    Args:
        model: Name in `mcc_keras.models.MODELS`, or the serialized configuration of a Keras model.
        model_arguments: Further arguments of the network, as `{"width": 0.5}`.
        loss: Name in `mcc_keras.losses.LOSSES`, or the serialized configuration of a Keras loss for probabilities.
        loss_arguments: Further arguments of a named loss.
        epochs: Passes over the training part (100 where `minutes` is not given either).
        minutes: Instead of `epochs`, the time to train for.
        batch_size: Volumes, or patches, per step. Two fit into memory, and batch norm has millions of voxels all the
            same.
        learning_rate: Peak of the schedule, > 0. Batch norm keeps 2e-3 stable, and budgets are short.
        warmup_steps: Steps of linear warm-up; then a cosine falls to 0 over the run.
        weight_decay: Of AdamW, 0 or more.
        clip_norm: Largest norm of the gradient. The MCC of a volume with few foreground voxels has rare, steep ones.
        precision: `"float32"`, `"mixed_bfloat16"` (where the processor has it) or `"mixed_float16"` (for GPUs).
        augment: `True`, `False`, the name of a preset, or an `Augmentation`; kept as an `Augmentation` or `None`. Axes
            that are flipped in training are flipped and averaged in prediction as well.
        patches: `Patches`, or `None` for whole volumes.
        seed: Integer seed of weights, order, patches and augmentation.

    Raises:
        UsageError: A value out of range, or both `epochs` and `minutes`.

    Example:

    >>> recipe = Recipe(epochs=40, augment="light", seed=7)
    >>> Recipe.from_json(recipe.to_json()) == recipe
    True
    >>> Recipe(epochs=40, minutes=10)
    Traceback (most recent call last):
    mcc_keras.errors.UsageError: Give `epochs` or `minutes`. Received both: epochs=40, minutes=10.
    """

    model: str | dict = "dense_vnet"
    model_arguments: Mapping[str, object] = dataclasses.field(default_factory=dict)
    loss: str | dict = "mcc"
    loss_arguments: Mapping[str, object] = dataclasses.field(default_factory=dict)
    epochs: int | None = None
    minutes: float | None = None
    batch_size: int = 2
    learning_rate: float = 2e-3
    warmup_steps: int = 50
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    precision: str = "float32"
    augment: Augmentation | None = dataclasses.field(default_factory=Augmentation)
    patches: Patches | None = None
    seed: int = 0

    def __post_init__(self):
        if self.epochs is not None and self.minutes is not None:
            raise UsageError(
                f"Give `epochs` or `minutes`. Received both: epochs={self.epochs}, minutes={self.minutes}."
            )
        if self.epochs is None and self.minutes is None:
            object.__setattr__(self, "epochs", DEFAULT_EPOCHS)
        if not (self.augment is None or isinstance(self.augment, Augmentation)):
            object.__setattr__(self, "augment", augmentation_policy(self.augment))
        for name in ("model", "loss"):  # as JSON would bring a configuration back
            object.__setattr__(self, name, json.loads(json.dumps(getattr(self, name))))
        for name, type_ in {"epochs": int, "batch_size": int, "warmup_steps": int}.items():
            value = getattr(self, name)
            if value is not None and (not isinstance(value, type_) or isinstance(value, bool)):
                raise UsageError(f"`{name}` must be an integer. Received: {name}={value!r}.")
        object.__setattr__(self, "seed", check_seed(self.seed))
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"`{name}` must be above 0. Received: {name}={value!r}.")
        for name in ("warmup_steps", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"`{name}` must be 0 or more. Received: {name}={getattr(self, name)!r}.")
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"`precision` must be one of {', '.join(PRECISIONS)}. Received: precision={self.precision!r}."
            )
        if not (self.patches is None or isinstance(self.patches, Patches)):
            raise UsageError(f"`patches` must be None or mk.Patches(size=…). Received: patches={self.patches!r}.")

    @property
    def flip_axes(self):
        """Axes of the box along which predictions are flipped and averaged."""
        return self.augment.flip_axes if self.augment else ()

    def to_json(self):
        """Return the recipe as JSON text."""
        return to_text(self, schema=SCHEMA)

    @classmethod
    def from_json(cls, text, *, path="recipe.json"):
        """Return the recipe that `to_json` wrote; `path` is named in errors.

        Raises:
            DataError: Other text, an unknown key, or a value of another type or out of range.
        """
        return parse_document(text, cls, path=path, schema=SCHEMA)
