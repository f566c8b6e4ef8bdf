"""Losses for volumes with rare foreground: the MCC loss and the losses it is compared with.

All take the same arguments and return one value per sample. `LOSSES` is the only registry: a name, the class behind it
and its arguments; `get_loss` builds one. Nothing here imports Keras before a class is used.
"""

import importlib

import lazy_loader

from mcc_keras.errors import UsageError

LOSSES = {
    "mcc": ("mcc_keras.losses.mcc:MCCLoss", {}),
    "dice": ("mcc_keras.losses.dice:DiceLoss", {}),
    "dice_squared": ("mcc_keras.losses.dice:DiceLoss", {"squared": True}),
    "gwd": ("mcc_keras.losses.wasserstein_dice:GeneralizedWassersteinDiceLoss", {}),
    "cross_entropy": ("mcc_keras.losses.cross_entropy:CrossEntropyLoss", {}),
    "generalized_dice": ("mcc_keras.losses.generalized_dice:GeneralizedDiceLoss", {}),
    "tversky": ("mcc_keras.losses.tversky:TverskyLoss", {}),
    "focal_tversky": ("mcc_keras.losses.tversky:TverskyLoss", {"gamma": 0.75}),
    "focal": ("mcc_keras.losses.focal:FocalLoss", {}),
    "auc": ("mcc_keras.losses.auc:AUCLoss", {}),
    "mcc_cross_entropy": ("mcc_keras.losses.sum:SumLoss", {"parts": {"mcc": 1.0, "cross_entropy": 1.0}}),
    "dice_cross_entropy": ("mcc_keras.losses.sum:SumLoss", {"parts": {"dice": 1.0, "cross_entropy": 1.0}}),
}

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "auc": ["AUCLoss"],
        "cross_entropy": ["CrossEntropyLoss"],
        "dice": ["DiceLoss"],
        "focal": ["FocalLoss"],
        "generalized_dice": ["GeneralizedDiceLoss"],
        "mcc": ["MCCLoss"],
        "sum": ["SumLoss"],
        "tversky": ["TverskyLoss"],
        "wasserstein_dice": ["BRATS_DISTANCES", "GeneralizedWassersteinDiceLoss"],
    },
)
__all__ += ["LOSSES", "get_loss"]


def get_loss(name, /, **kwargs):
    """Build a loss by its name in `LOSSES`.

    Args:
        name: A key of `LOSSES`.
        **kwargs: Arguments of the class; they override those that the name stands for.

    Returns:
        A `keras.losses.Loss`.

    Raises:
        UsageError: If the name is not in `LOSSES`; the text lists those that are.

    Example:

    >>> get_loss("dice_squared", smooth=0.0).squared
    True
    """
    if name not in LOSSES:
        raise UsageError(f"`name` must be one of {', '.join(sorted(LOSSES))}. Received: name={name!r}")
    path, defaults = LOSSES[name]
    module, class_name = path.split(":")
    return getattr(importlib.import_module(module), class_name)(**{**defaults, **kwargs})
