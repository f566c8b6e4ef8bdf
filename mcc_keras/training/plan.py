"""What a training is going to be: its plan in three lines, and its cost from ten steps on weights that are dropped."""

import dataclasses
import math

from mcc_keras.memory import GIB
from mcc_keras.runs.fields import varying_fields
from mcc_keras.runs.recipe import Recipe

SHORT_MINUTES = 1.0
TIMED_STEPS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What a training would be; `print` shows it, with the settings of its recipe that are not the defaults.

    Args:
        recipe: `Recipe`.
        lines: The plan in three lines: data, network, schedule.
        steps: Steps per epoch.
        seconds_per_step: Median of ten steps, without the time that a step waits for data.
        validation_seconds: Of the validation after each epoch; 0 without a validation part.
        peak_memory: Most bytes that the process had in memory.
    """

    recipe: Recipe
    lines: tuple[str, ...]
    steps: int
    seconds_per_step: float
    validation_seconds: float
    peak_memory: int

    def __str__(self):
        clock = {"steps": self.steps, "validation_seconds": self.validation_seconds}
        pace = describe_pace(self.recipe, seconds=self.seconds_per_step, **clock)
        return "\n".join(
            [
                f"recipe    {describe_recipe(self.recipe)}",
                *self.lines,
                f"time      {pace}",
                f"memory    {self.peak_memory / GIB:.1f} GiB at most so far",
            ]
        )


def describe_recipe(recipe):
    """Return the settings of a recipe that are not the defaults.

    Example:

    >>> describe_recipe(Recipe()), describe_recipe(Recipe.named("fast"))
    ('the defaults', 'model=residual_unet, else the defaults')
    """
    _, changed = varying_fields([vars(Recipe()), vars(recipe)])
    named = ", ".join(f"{name}={'none' if value is None else value}" for name, value in changed.items())
    return f"{named}, else the defaults" if named else "the defaults"


def describe_plan(manifest, recipe, model, *, steps):
    """Return the plan of a training as three lines: data, network, schedule.

    Args:
        manifest: `Manifest`.
        recipe: `Recipe`.
        model: Keras model.
        steps: Steps per epoch.
    """
    counts, task = manifest.counts, manifest.task
    size = describe_sizes(manifest)
    patches = f", patches of {_sides(recipe.patches.size)}" if recipe.patches else ""
    channels = f"{len(task.channel_names)} channel" + ("s" if len(task.channel_names) > 1 else "")
    length = describe_length(recipe)
    loss = recipe.loss if isinstance(recipe.loss, str) else recipe.loss["class_name"]
    yield (
        f"data      {counts['train']} training and {counts.get('validation', 0)} validation cases, {size} voxels"
        f"{patches}, {channels}; {', '.join(task.names)}"
    )
    init = f", weights of {recipe.init}" if recipe.init else ""
    trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    frozen = f", {trained:,} of them trained" if recipe.freeze else ""
    yield f"network   {model.name}, {model.count_params():,} parameters{frozen}, {recipe.precision}{init}"
    accumulated = f", {recipe.accumulate} steps per update" if recipe.accumulate > 1 else ""
    patience = f", patience of {recipe.patience} epochs" if recipe.patience else ""
    average = f", average of weights {recipe.ema:g}" if recipe.ema else ""
    yield (
        f"schedule  {length} of {steps} steps with {recipe.batch_size} volumes{accumulated}, {recipe.optimizer},"
        f" {recipe.schedule}{average}{patience}, loss {loss}, seed {recipe.seed};"
        " TensorFlow compiles the first step, which takes longer"
    )


def describe_sizes(manifest):
    """Return the size of the volumes, or the smallest and the largest number of voxels along each axis."""
    if None not in manifest.image_shape:
        return _sides(manifest.image_shape[:3])
    shapes = [record.shape for part, count in manifest.counts.items() if count for record in manifest.records(part)]
    least, most = (_sides(each(sides) for sides in zip(*shapes, strict=True)) for each in (min, max))
    return f"{least} to {most}"


def _sides(size):
    return "×".join(map(str, size))


def describe_length(recipe):
    """Return how long a training is, in words."""
    if recipe.steps:
        return f"{recipe.steps} updates in epochs"
    if recipe.epochs:
        return f"{recipe.epochs} epoch" + ("s" if recipe.epochs > 1 else "")
    return f"{format_minutes(60 * recipe.minutes)} in epochs"


def describe_pace(recipe, *, seconds, steps, validation_seconds=None):
    """Return what the time of a step means for the whole training.

    Args:
        recipe: `Recipe`.
        seconds: Time of a step.
        steps: Steps per epoch.
        validation_seconds: Time of the validation after each epoch, or `None` where it is not known.
    """
    if recipe.minutes is not None:
        count = f"{60 * recipe.minutes / seconds:.0f} steps"
        return f"{seconds:.2f} s per step, about {count}, fewer for the validations"
    total = recipe.accumulate * recipe.steps if recipe.steps else steps * recipe.epochs
    whole = seconds * total + (validation_seconds or 0) * math.ceil(total / steps)
    left_out = "" if validation_seconds is not None else ", without validation"
    return f"{seconds:.2f} s per step, about {format_minutes(whole)} in all{left_out}"


def format_minutes(seconds):
    """Return a duration in words.

    Example:

    >>> format_minutes(42), format_minutes(186), format_minutes(9000)
    ('42 s', '3.1 min', '2 h 30 min')
    """
    minutes = seconds / 60
    if minutes < SHORT_MINUTES:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes:.1f} min"
    return f"{int(minutes // 60)} h {minutes % 60:02.0f} min"
