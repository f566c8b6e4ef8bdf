"""Networks for volumes, as functions that return a functional `keras.Model`.

Dense V-Net is the network of the MCC-loss paper; V-Net, VoxResNet and 3D U-Net are what it is measured against. All
take `(input_shape, num_classes, *, activation="auto", ...)`, read volumes as `(batch, x, y, z, channels)`, accept any
side, and end in float32 whatever the dtype policy. Importing this package imports no Keras.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "dense_vnet": ["DenseVNet"],
        "description": ["describe"],
        "transfer": ["transfer_weights"],
        "unet": ["UNet3D"],
        "vnet": ["VNet"],
        "voxresnet": ["VoxResNet"],
    },
)
