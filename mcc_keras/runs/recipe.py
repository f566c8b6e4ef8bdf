"""`Recipe`: all settings of a training, as one frozen value with JSON."""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path

from mcc_keras.augmentation.policy import Augmentation
from mcc_keras.augmentation.presets import augmentation_policy
from mcc_keras.documents import parse_document, to_text
from mcc_keras.errors import UsageError
from mcc_keras.pipeline.patches import Patches
from mcc_keras.runs.choices import OPTIMIZERS, PRECISIONS, RECIPES, SCHEDULES
from mcc_keras.runs.window import Window
from mcc_keras.seeds import check_seed

SCHEMA = 1
DEFAULT_EPOCHS = 100
LENGTHS = ("epochs", "minutes", "steps")
_CHOICES = {"optimizer": tuple(OPTIMIZERS), "schedule": SCHEDULES, "precision": PRECISIONS}
_INTEGERS = ("epochs", "steps", "batch_size", "warmup_steps", "patience", "accumulate")
_POSITIVE = ("learning_rate", *LENGTHS, "clip_norm", "batch_size", "patience", "accumulate")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of a training. The defaults were found on hippocampus and prostate MRI on a CPU.

    Args:
        model: Name in `mcc_keras.models.MODELS`, or the serialized configuration of a Keras model.
        model_arguments: Further arguments of the network, as `{"width": 0.5}`.
        loss: Name in `mcc_keras.losses.LOSSES`, or the serialized configuration of a Keras loss for probabilities.
        loss_arguments: Further arguments of a named loss.
        init: Folder of a finished run whose weights the network starts from, where path and shape of a weight agree: a
            run with other classes or channels can be used. `None`: random weights.
        freeze: Patterns of layer names, such as `"block*"`, whose weights are not trained.
        epochs: Passes over the training part (100 where neither `minutes` nor `steps` is given).
        minutes: Instead of `epochs`, the time to train for.
        steps: Instead of `epochs`, the number of updates of the weights.
        patience: End the training after so many epochs without a better validation Dice; `None`: never.
        batch_size: Volumes, or patches, per batch. Two fit into memory, and batch norm has millions of voxels all the
            same.
        accumulate: Batches whose mean gradient makes one update. The last update of an epoch may have fewer. Batch
            norm still takes its statistics from single batches.
        optimizer: Name in `OPTIMIZERS`.
        optimizer_arguments: Further arguments of the Keras optimizer, as `{"momentum": 0.9}`.
        learning_rate: Peak of the schedule, > 0. Batch norm keeps 2e-3 stable, and budgets are short.
        schedule: After the warm-up, `"cosine"` and `"poly"` (a power of 0.9) fall to 0 over the run, `"constant"`
            stays; a constant run can be given more epochs later.
        warmup_steps: Updates of linear warm-up.
        weight_decay: 0 or more.
        clip_norm: Largest norm of the gradient. The MCC of a volume with few foreground voxels has rare, steep ones.
        ema: Momentum of an exponential moving average of the weights, in (0, 1), as 0.999. The average is validated,
            kept, evaluated and exported. `None`: the weights themselves.
        precision: `"float32"`, `"mixed_bfloat16"` (where the processor has it) or `"mixed_float16"` (for GPUs).
        augment: `True`, `False`, the name of a preset, or an `Augmentation`; kept as an `Augmentation` or `None`. Axes
            that are flipped in training are flipped and averaged in prediction as well.
        patches: `Patches`, or `None` for whole volumes.
        window: `Window` in which scans are segmented; `None`: the size of the patches, or the whole box without them.
        seed: Integer seed of weights, order, patches and augmentation.

    Raises:
        UsageError: A value out of range, more than one of `epochs`, `minutes` and `steps`, or settings that exclude
            each other.

    Example:

    >>> recipe = Recipe(epochs=40, augment="light", seed=7)
    >>> Recipe.from_json(recipe.to_json()) == recipe
    True
    >>> Recipe(epochs=40, minutes=10)
    Traceback (most recent call last):
    mcc_keras.errors.UsageError: Give one of `epochs`, `minutes` and `steps`. Received: epochs=40, minutes=10.
    """

    model: str | dict = "dense_vnet"
    model_arguments: Mapping[str, object] = dataclasses.field(default_factory=dict)
    loss: str | dict = "mcc"
    loss_arguments: Mapping[str, object] = dataclasses.field(default_factory=dict)
    init: str | None = None
    freeze: tuple[str, ...] = ()
    epochs: int | None = None
    minutes: float | None = None
    steps: int | None = None
    patience: int | None = None
    batch_size: int = 2
    accumulate: int = 1
    optimizer: str = "adamw"
    optimizer_arguments: Mapping[str, object] = dataclasses.field(default_factory=dict)
    learning_rate: float = 2e-3
    schedule: str = "cosine"
    warmup_steps: int = 50
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    ema: float | None = None
    precision: str = "float32"
    augment: Augmentation | None = dataclasses.field(default_factory=Augmentation)
    patches: Patches | None = None
    window: Window | None = None
    seed: int = 0

    def __post_init__(self):
        self._check_length()
        if not (self.augment is None or isinstance(self.augment, Augmentation)):
            object.__setattr__(self, "augment", augmentation_policy(self.augment))
        if self.init is not None:
            object.__setattr__(self, "init", str(Path(self.init).resolve()))
        object.__setattr__(self, "freeze", (self.freeze,) if isinstance(self.freeze, str) else tuple(self.freeze))
        for name in ("model", "loss"):  # as JSON would bring a configuration back
            object.__setattr__(self, name, json.loads(json.dumps(getattr(self, name))))
        object.__setattr__(self, "seed", check_seed(self.seed))
        self._check_numbers()
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise UsageError(
                    f"`{name}` must be one of {', '.join(choices)}. Received: {name}={getattr(self, name)!r}."
                )
        if not (self.patches is None or isinstance(self.patches, Patches)):
            raise UsageError(f"`patches` must be None or mk.Patches(size=…). Received: patches={self.patches!r}.")
        if not (self.window is None or isinstance(self.window, Window)):
            raise UsageError(f"`window` must be None or mk.Window(size=…). Received: window={self.window!r}.")
        if self.window is None and self.patches:
            object.__setattr__(self, "window", Window(size=self.patches.size))
        self._check_accumulation()

    def _check_length(self):
        given = {name: getattr(self, name) for name in LENGTHS if getattr(self, name) is not None}
        if len(given) > 1:
            received = ", ".join(f"{name}={value}" for name, value in given.items())
            raise UsageError(f"Give one of `epochs`, `minutes` and `steps`. Received: {received}.")
        if not given:
            object.__setattr__(self, "epochs", DEFAULT_EPOCHS)

    def _check_numbers(self):
        for name in _INTEGERS:
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
                raise UsageError(f"`{name}` must be an integer. Received: {name}={value!r}.")
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"`{name}` must be above 0. Received: {name}={value!r}.")
        for name in ("warmup_steps", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"`{name}` must be 0 or more. Received: {name}={getattr(self, name)!r}.")
        if self.ema is not None and not 0 < self.ema < 1:
            raise UsageError(f"`ema` must be a momentum between 0 and 1, such as 0.999. Received: ema={self.ema!r}.")

    def _check_accumulation(self):
        if self.accumulate == 1:
            return
        if self.precision == "mixed_float16":
            raise UsageError("`accumulate` must be 1 in mixed_float16, where Keras scales the loss of each batch.")
        arguments = self.loss_arguments if isinstance(self.loss, str) else self.loss.get("config", {})
        if arguments.get("pool") == "batch":
            raise UsageError(
                "`accumulate` must be 1 where the loss pools a batch: that of several batches is not their mean loss."
                f" Received: accumulate={self.accumulate}. Give a larger `batch_size` instead."
            )

    @property
    def flip_axes(self):
        """Axes of the box along which predictions are flipped and averaged."""
        return self.augment.flip_axes if self.augment else ()

    @property
    def can_grow(self):
        """Whether a run may be given more epochs later: the learning rate does not depend on their number."""
        return self.epochs is not None and self.schedule == "constant"

    @classmethod
    def named(cls, name):
        """Return a recipe by its name: `"fast"` for the most epochs in given minutes on a CPU.

        Raises:
            UsageError: Another name.

        Example:

        >>> Recipe.named("fast").model
        'residual_unet'
        """
        if name not in RECIPES:
            raise UsageError(
                f"`recipe` must be a `Recipe`, the recipe.json of a run, or one of {', '.join(RECIPES)}."
                f" Received: recipe={name!r}."
            )
        return cls(**RECIPES[name])

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
