"""3-D augmentation inside the TensorFlow graph: stateless, compiled, and one interpolation a volume.

Everything comes in pairs: `x(image, …)` is a pure function of its arguments, `random_x(seed, image, …)` draws them and
calls it. Spatial changes (flips, affine, elastic) only move sampling points; `resample` then reads image and mask once.
`Augmentation` is a policy: all of it as one value, compiled as one kernel.

Contract: image float32 (x, y, z, channels); mask integer (x, y, z, 1); points float32 (3, x, y, z), in voxels; seed
integer (2,), as `tf.random.stateless_uniform` takes it; the shape is known when the graph is built.
"""

from mcc_keras.augmentation.acquisition import (
    blur,
    ghosting,
    low_resolution,
    motion,
    noise,
    random_blur,
    random_ghosting,
    random_low_resolution,
    random_motion,
    random_noise,
    random_rician_noise,
    random_spike,
    rician_noise,
    spike,
)
from mcc_keras.augmentation.intensity import (
    bias_field,
    brightness,
    channel_dropout,
    contrast,
    gamma,
    histogram_shift,
    random_bias_field,
    random_brightness,
    random_channel_dropout,
    random_contrast,
    random_gamma,
    random_histogram_shift,
)
from mcc_keras.augmentation.linear import smooth_field
from mcc_keras.augmentation.policy import Augmentation
from mcc_keras.augmentation.presets import PRESETS, find_preset
from mcc_keras.augmentation.resampling import resample, resample_labels, resample_nearest
from mcc_keras.augmentation.spatial import (
    affine,
    elastic,
    flip,
    identity_points,
    random_affine,
    random_elastic,
    random_flip,
)

__all__ = [
    "Augmentation",
    "PRESETS",
    "affine",
    "bias_field",
    "blur",
    "brightness",
    "channel_dropout",
    "contrast",
    "elastic",
    "find_preset",
    "flip",
    "gamma",
    "ghosting",
    "histogram_shift",
    "identity_points",
    "low_resolution",
    "motion",
    "noise",
    "random_affine",
    "random_bias_field",
    "random_blur",
    "random_brightness",
    "random_channel_dropout",
    "random_contrast",
    "random_elastic",
    "random_flip",
    "random_gamma",
    "random_ghosting",
    "random_histogram_shift",
    "random_low_resolution",
    "random_motion",
    "random_noise",
    "random_rician_noise",
    "random_spike",
    "resample",
    "resample_labels",
    "resample_nearest",
    "rician_noise",
    "smooth_field",
    "spike",
]
