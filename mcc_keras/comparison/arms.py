"""What is compared: arms, each a `Recipe`, one for every combination of the axes.

An arm says nothing of folds, seeds and length, which all arms share.
"""

import dataclasses
import itertools
import json
import re
from collections.abc import Mapping

from mcc_keras.errors import UsageError
from mcc_keras.losses import LOSSES
from mcc_keras.models import MODELS
from mcc_keras.runs.recipe import LENGTHS, Recipe

DEFAULT_LOSSES = ("mcc", "dice", "cross_entropy")
TRAINING = "training"
_REGISTRIES = {"loss": LOSSES, "model": MODELS}
_OWN = {
    "seed": "seeds",
    "steps": "steps",
    "minutes": "minutes_per_cell",
    "epochs": "steps",
    "patience": "steps",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arm:
    """One of the things that are compared.

    Args:
        name: Its name on pages and in tables.
        folder: Its folder in OUT/cells.
        recipe: `Recipe`; its length and its seed are not used.
        same_as: Name of the arm that is the same by definition and stands for this one; `None`: it is trained.
        kind: What a cell of it is, a key of `cells.KINDS`.
    """

    name: str
    folder: str
    recipe: Recipe
    same_as: str | None = None
    kind: str = TRAINING

    @property
    def batch(self):
        """Volumes, or patches, per update."""
        return self.recipe.batch_size * self.recipe.accumulate


def build_arms(*, losses=None, vary=None, recipe=None, num_classes=1, **changes):
    """Return the `Arm`s of all combinations of the axes, in the order of the axes.

    Args:
        losses: Names in `LOSSES`: the axis `loss`. `None`: that of `vary`, the three of the paper without `vary`.
        vary: Mapping of a field of `Recipe`, or of an argument as `"loss_arguments.smooth"`, to its values.
        recipe: `Recipe` with the settings that all arms share; `None` is `Recipe()`.
        num_classes: Foreground classes. With one, `gwd` is `dice` by definition, and is not trained beside it.
        **changes: Fields of `Recipe`, or their arguments, that differ from `recipe`.

    Raises:
        UsageError: An axis, a loss or a network that is unknown, a field that the comparison itself sets, a value out
            of range, or fewer than two arms.

    Example:

    >>> [arm.name for arm in build_arms(losses=("mcc", "dice"), vary={"batch_size": (1, 4)})]
    ['mcc, batch_size=1', 'mcc, batch_size=4', 'dice, batch_size=1', 'dice, batch_size=4']
    >>> [(arm.name, arm.same_as) for arm in build_arms(losses=("dice", "gwd"))]
    [('dice', None), ('gwd', 'dice')]
    """
    vary = dict(vary or {})
    if losses is not None and "loss" in vary:
        raise UsageError(f"Give the losses once, by `losses` or by `vary`. Received: losses={losses!r} and vary=loss.")
    if losses is None and not vary:
        losses = DEFAULT_LOSSES
    axes = ({} if losses is None else {"loss": losses}) | vary
    axes = {name: (values,) if isinstance(values, str | Mapping) else tuple(values) for name, values in axes.items()}
    base = _without_length(Recipe() if recipe is None else recipe)
    for name in (*axes, *changes):
        _check_field(name)
    for name, value in [*((n, v) for n, values in axes.items() for v in values), *changes.items()]:
        _check_name(name, value)
    base = _changed(base, changes)
    arms = []
    for values in itertools.product(*axes.values()):
        name = ", ".join(map(_describe, axes, values))
        folder = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "arm"
        arms.append(Arm(name=name, folder=folder, recipe=_changed(base, dict(zip(axes, values, strict=True)))))
    _refuse_repeated(arms)
    return tuple(_with_same(arm, arms) if num_classes == 1 else arm for arm in arms)


def _check_field(name):
    field = name.partition(".")[0]
    known = [each.name for each in dataclasses.fields(Recipe)]
    if field in _OWN:
        raise UsageError(
            f"`vary` and settings must not name `{field}`, which is the same for all: `{_OWN[field]}` sets it."
            f" Received: {name}."
        )
    if field not in known or ("." in name and not field.endswith("_arguments")):
        free = ", ".join(each for each in known if each not in _OWN)
        raise UsageError(
            f"`vary` must name fields of Recipe ({free}), or arguments such as loss_arguments.smooth. Received: {name}."
        )


def _check_name(field, value):
    registry = _REGISTRIES.get(field)
    if registry is not None and isinstance(value, str) and value not in registry:
        raise UsageError(f"`{field}` must be one of {', '.join(sorted(registry))}. Received: {field}={value!r}.")


def _without_length(recipe):
    return dataclasses.replace(recipe, **dict.fromkeys(LENGTHS), patience=None, seed=0)


def _changed(recipe, changes):
    fields = {}
    for name, value in changes.items():
        field, dot, argument = name.partition(".")
        fields[field] = {**fields.get(field, getattr(recipe, field)), argument: value} if dot else value
    try:
        return dataclasses.replace(recipe, **fields)
    except (TypeError, AttributeError):
        received = ", ".join(f"{name}={value!r}" for name, value in changes.items())
        raise UsageError(f"A field of Recipe must have a value of its type. Received: {received}.") from None


def _describe(field, value):
    text = value if isinstance(value, str) else getattr(value, "name", None) or json.dumps(value, default=str)
    return text if field in _REGISTRIES and isinstance(value, str) else f"{field}={text}"


def _refuse_repeated(arms):
    names = [arm.name for arm in arms]
    if len(arms) < 2:
        received = ", ".join(names) or "none"
        raise UsageError(f"Two arms or more must be compared: `losses` or `vary` names them. Received: {received}.")
    folders = [arm.folder.lower() for arm in arms]
    repeated = [name for name, folder in zip(names, folders, strict=True) if folders.count(folder) > 1]
    if repeated:
        raise UsageError(f"Each value of an axis must be there once. Received: {', '.join(repeated)}.")


def _with_same(arm, arms):
    """Return an arm of `gwd` that refers to the arm of `dice` with the same settings, where there is one."""
    own = {"distance_matrix", "weighting"} & set(arm.recipe.loss_arguments)
    if arm.recipe.loss != "gwd" or own:
        return arm
    dice = dataclasses.replace(arm.recipe, loss="dice")
    return dataclasses.replace(arm, same_as=next((each.name for each in arms if each.recipe == dice), None))
