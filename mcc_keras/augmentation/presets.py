"""Named policies, for `augment="strong"`."""

import numpy as np

from mcc_keras.augmentation.changes import CHANCES
from mcc_keras.augmentation.policy import Augmentation
from mcc_keras.errors import UsageError

NOTHING = dict.fromkeys(CHANCES, 0.0)
_LIGHT = {
    "rotation_degrees": 5,
    "scaling": 0.05,
    "translation": 0.02,
    "noise": 0.05,
    "brightness": 0.1,
    "contrast": 0.1,
}
# NiftyNet's demo of Dense V-Net.
_PAPER = {"rotation_degrees": 10, "scaling": 0.1}
# The list of nnU-Net's trainer: number and probability; γ from 0.7 to 1.5 is e^±0.4, noise has a variance up to 0.1.
_STRONG = {
    "rotation_degrees": (30, 0.2),
    "scaling": (0.4, 0.2),
    "elastic": (0.02, 0.2),
    "noise": (0.3, 0.1),
    "blur": (1.0, 0.2),
    "brightness": (0.25, 0.15),
    "contrast": (0.25, 0.15),
    "low_resolution": (1.0, 0.25),
    "inverted_gamma": (0.4, 0.1),
    "gamma": (0.4, 0.3),
}
PRESETS = {
    "default": Augmentation(),
    "light": Augmentation(**{**NOTHING, **_LIGHT}),
    "paper": Augmentation(**{**NOTHING, **_PAPER}),
    "strong": Augmentation(
        flip=(True, True, True),
        scaling_per_axis=False,
        padding="background",
        probability={name: chance for name, (_, chance) in _STRONG.items()},
        **{**NOTHING, **{name: most for name, (most, _) in _STRONG.items()}},
    ),
}


def find_preset(name):
    """Return the policy of a name in `PRESETS`.

    Raises:
        UsageError: There is no such preset.

    Example:

    >>> find_preset("paper").rotation_degrees
    10.0
    """
    if name not in PRESETS:
        raise UsageError(f"`augment` must be one of {', '.join(PRESETS)}. Received: augment={name!r}.")
    return PRESETS[name]


def augmentation_policy(augment):
    """Return the `Augmentation` for the value of `augment`; `None` for `False`."""
    if isinstance(augment, Augmentation):
        return augment
    if isinstance(augment, str):
        return find_preset(augment)
    if isinstance(augment, bool | np.bool_):
        return Augmentation() if augment else None
    names = ", ".join(PRESETS)
    raise UsageError(f"`augment` must be True, False, {names} or an Augmentation. Received: augment={augment!r}.")
