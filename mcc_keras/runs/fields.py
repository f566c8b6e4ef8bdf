"""The fields of recipes as numbers and text, and those in which several recipes differ."""

import msgspec

from mcc_keras.augmentation.presets import PRESETS

MOST_FIELDS = 8  # of a part that is shown as text


def flat_fields(settings):
    """Return the fields of a recipe as numbers or text, those of its parts as `part.field`.

    Args:
        settings: Mapping of name to value, as `vars(recipe)`. The configuration of a Keras object becomes the name of
            its class.

    Example:

    >>> from mcc_keras.pipeline.patches import Patches
    >>> flat = flat_fields({"seed": 7, "patches": Patches(size=32), "loss": {"class_name": "Focal", "config": {}}})
    >>> flat["seed"], flat["patches.size"], flat["loss"]
    (7, '32,32,32', 'Focal')
    """
    flat = {}
    for name, value in msgspec.to_builtins(dict(settings)).items():
        if isinstance(value, dict) and "class_name" not in value:
            flat |= {f"{name}.{inner}": each for inner, each in flat_fields(value).items()}
        else:
            flat[name] = _plain(value)
    return flat


def varying_fields(recipes):
    """Return for each recipe the fields in which not all are equal.

    A part that only some of them have, or whose values all have a name, is one field.

    Args:
        recipes: Mappings as for `flat_fields`, or `None` for a recipe that cannot be read.

    Returns:
        A list of dicts with the same keys; for `None` the values are `None`.

    Example:

    >>> varying_fields([{"loss": "mcc", "seed": 1}, {"loss": "mcc", "seed": 2}, None])
    [{'seed': 1}, {'seed': 2}, {'seed': None}]
    """
    known = [recipe for recipe in recipes if recipe is not None]
    columns = {}
    for name in dict.fromkeys(name for recipe in known for name in recipe):
        columns |= _varying_part(name, [recipe.get(name) for recipe in known])
    read = iter(range(len(known)))
    places = [None if recipe is None else next(read) for recipe in recipes]
    return [{name: None if at is None else values[at] for name, values in columns.items()} for at in places]


def _varying_part(name, values):
    """Return column → values of one field of all recipes; nothing where they are equal."""
    if all(value == values[0] for value in values):
        return {}
    flat = [flat_fields({name: value}) for value in values]
    if any(name in fields for fields in flat) or all(map(_preset, values)):
        return {name: [_brief(value) for value in values]}
    columns = {key: [fields.get(key) for fields in flat] for key in dict.fromkeys(key for each in flat for key in each)}
    return {key: column for key, column in columns.items() if any(value != column[0] for value in column)}


def _brief(value):
    """Return a value as one number or text."""
    value = _preset(value) or msgspec.to_builtins(value)
    if not isinstance(value, dict) or "class_name" in value:
        return _plain(value)
    fields = flat_fields(value)
    return " ".join(f"{name}={each}" for name, each in fields.items()) if len(fields) <= MOST_FIELDS else "custom"


def _preset(value):
    """Return the name of an augmentation; `None` of anything else."""
    return next((name for name, policy in PRESETS.items() if policy == value), None)


def _plain(value):
    if isinstance(value, dict):
        return value["class_name"]
    if isinstance(value, list | tuple):
        return ",".join(str(_plain(each)) for each in value)
    return value
