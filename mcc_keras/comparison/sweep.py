"""A sweep: each arm first chooses its own value of a field by validation on one fold, since one may favour one loss."""

import dataclasses
import math
from pathlib import Path

from mcc_keras.comparison.cells import BUSY, FINISHED, STOPPED, Cell, read_result, run_cell
from mcc_keras.documents import read_document, write_document
from mcc_keras.errors import RunError, TrainingInterrupted, UsageError
from mcc_keras.runs.recipe import Recipe

SCHEMA = 1
FIELDS = ("learning_rate", "weight_decay", "clip_norm")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """What an arm chose.

    Args:
        value: The value.
        tried: Pairs (value, validation Dice); the Dice of a training that failed is `None`.
    """

    value: float
    tried: tuple[tuple[float, float | None], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choices:
    """What all arms chose.

    Args:
        field: The field of `Recipe`.
        arms: Arm name → `Choice`.
    """

    field: str
    arms: dict[str, Choice]


def check_sweep(sweep, arms):
    """Return a sweep as (field, texts of values), or refuse it; `None` stays `None`.

    Args:
        sweep: Pair of a field and two values or more, or a mapping with one such entry. A value such as `"x0.3"` is a
            multiple of the arm's own, a number is itself.
        arms: `Arm`s.

    Raises:
        UsageError: Another field, a value that is no positive number, or fewer than two different values for an arm.

    Example:

    >>> check_sweep({"learning_rate": ("x0.3", "x1")}, ())
    ('learning_rate', ('x0.3', 'x1'))
    >>> check_sweep({"learning_rate": ("x1",)}, ())
    Traceback (most recent call last):
    mcc_keras.errors.UsageError: `sweep` must leave two values or more to choose from. Received: learning_rate=x1.
    """
    if sweep is None:
        return None
    pairs = tuple(sweep.items()) if hasattr(sweep, "items") else (tuple(sweep),)
    if len(pairs) != 1 or len(pairs[0]) != 2 or pairs[0][0] not in FIELDS:
        raise UsageError(f"`sweep` must name one of {', '.join(FIELDS)} with its values. Received: sweep={sweep!r}.")
    field, values = pairs[0]
    texts = tuple(str(value) for value in ((values,) if isinstance(values, str | int | float) else values))
    for text in texts:
        _value_of(text, 1.0)
    for own in {getattr(arm.recipe, field) for arm in arms} or {1.0}:
        if len({_value_of(text, own) for text in texts}) < max(2, len(texts)):
            received = f"{field}={','.join(texts)}"
            raise UsageError(f"`sweep` must leave two values or more to choose from. Received: {received}.")
    return field, texts


def _value_of(text, own):
    """Return the number that the text of a value means for an arm."""
    try:
        value = float(text[1:]) * own if text.startswith("x") else float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UsageError(f"A value of `sweep` must be a positive number or a multiple as x0.3. Received: {text!r}.")
    return float(f"{value:.6g}")


def choose_values(plan, out, work, *, progress=None):
    """Return the `Choices` of all arms, `None` without a sweep: the value with the best validation Dice of each.

    Trainings that are done, or were stopped, are not begun again.

    Args:
        plan: `Plan`.
        out: Folder of the comparison.
        work: WORK folder of the first fold.
        progress: `None`, or a callable that gets a line of text after each training.

    Raises:
        RunError: No training of an arm succeeded.
        TrainingInterrupted: By a signal.
    """
    sweep, path = plan.design.sweep, Path(out) / "sweep.json"
    if sweep is None:
        return None
    if path.is_file():
        way_out = "Remove the file: the same call makes it again."
        return read_document(path, Choices, schema=SCHEMA, error=RunError, way_out=way_out)
    field, texts = sweep
    arms = {}
    for arm in plan.design.trained:
        tried = []
        for text in texts:
            value = _value_of(text, getattr(arm.recipe, field))
            dice = _validation_dice(plan, arm, {field: value}, Path(out) / "sweep" / arm.folder / text, work)
            tried.append((value, dice))
            if progress is not None:
                progress(f"sweep     {arm.name}, {field} {value:g}: {'failed' if dice is None else f'{dice:.3f}'}")
        known = [pair for pair in tried if pair[1] is not None]
        if not known:
            problem = f"expected a training of {arm.name} that ends, found none in the sweep"
            raise RunError(Path(out) / "sweep" / arm.folder, problem, "Choose smaller values.")
        arms[arm.name] = Choice(value=max(known, key=lambda pair: pair[1])[0], tried=tuple(tried))
    choices = Choices(field=field, arms=arms)
    write_document(choices, path, schema=SCHEMA)
    return choices


def _validation_dice(plan, arm, changes, folder, work):
    seed = plan.design.seeds[0]
    recipe = dataclasses.replace(arm.recipe, epochs=None, steps=plan.steps[arm.name], seed=seed, **changes)
    cell = Cell(arm=arm, fold=0, seed=seed, recipe=recipe, work=str(work), folder=str(folder), scored=False)
    result = read_result(cell) or run_cell(cell)
    if result.state in (STOPPED, BUSY):
        raise TrainingInterrupted(folder, "a signal")
    return result.best_value if result.state == FINISHED else None


def chosen_recipes(plan, choices) -> dict[str, Recipe]:
    """Return arm name → `Recipe`, with what a sweep has chosen."""
    recipes = {arm.name: arm.recipe for arm in plan.design.trained}
    if choices is None:
        return recipes
    return {
        name: dataclasses.replace(recipe, **{choices.field: choices.arms[name].value})
        for name, recipe in recipes.items()
    }
