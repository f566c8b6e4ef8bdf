"""Networks for volumes, as functions that return a functional `keras.Model`.

Dense V-Net is the network of the MCC-loss paper; V-Net, VoxResNet and 3D U-Net are its baselines, and the residual
U-Net is the fastest on a CPU. All take `(input_shape, num_classes, *, activation="auto", ...)`, read volumes as
`(batch, x, y, z, channels)`, accept any side, and end in float32 whatever the dtype policy. `MODELS` is the only
registry: a name, the function behind it and its arguments; `get_model` builds one. Importing this package imports no
Keras.
"""

import importlib

import lazy_loader

from mcc_keras.errors import UsageError

MODELS = {
    "dense_vnet": ("mcc_keras.models.dense_vnet:DenseVNet", {}),
    "vnet": ("mcc_keras.models.vnet:VNet", {}),
    "voxresnet": ("mcc_keras.models.voxresnet:VoxResNet", {}),
    "unet3d": ("mcc_keras.models.unet:UNet3D", {}),
    "residual_unet": ("mcc_keras.models.residual_unet:ResidualUNet", {}),
}

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "dense_vnet": ["DenseVNet"],
        "description": ["describe"],
        "residual_unet": ["ResidualUNet"],
        "transfer": ["transfer_weights"],
        "unet": ["UNet3D"],
        "vnet": ["VNet"],
        "voxresnet": ["VoxResNet"],
    },
)
__all__ += ["MODELS", "get_model"]


def get_model(name, /, input_shape, num_classes=1, **kwargs):
    """Build a network by its name in `MODELS`.

    Args:
        name: A key of `MODELS`.
        input_shape: `(x, y, z, channels)`; a side may be None.
        num_classes: 1 for one sigmoid channel, more for a softmax over as many channels.
        **kwargs: Arguments of the network; they override those that the name stands for.

    Returns:
        A functional `keras.Model`.

    Raises:
        UsageError: If the name is not in `MODELS`; the text lists those that are. If the network refuses an argument.

    Example:

    >>> get_model("unet3d", (16, 16, 16, 1), width=0.25).output_shape
    (None, 16, 16, 16, 1)
    """
    if name not in MODELS:
        raise UsageError(f"`name` must be one of {', '.join(sorted(MODELS))}. Received: name={name!r}")
    path, defaults = MODELS[name]
    module, function = path.split(":")
    return getattr(importlib.import_module(module), function)(input_shape, num_classes, **{**defaults, **kwargs})
