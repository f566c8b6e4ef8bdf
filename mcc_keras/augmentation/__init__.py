"""3-D augmentation inside the TensorFlow graph: stateless, compiled, and one interpolation per volume.

Functions come in pairs: `x(image, …)` is a pure function of its arguments, `random_x(seed, image, …)` draws them and
calls it. Spatial changes (flips, affine, elastic) only move sampling points; `resample` then reads image and mask once.
`Augmentation` is a policy: all of it as one value, compiled as one kernel.

Contract: image float32 (x, y, z, channels); mask integer (x, y, z, 1); points float32 (3, x, y, z), in voxels; seed
integer (2,), as `tf.random.stateless_uniform` takes it; the shape is known when the graph is built.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "acquisition": [
            "blur",
            "ghosting",
            "low_resolution",
            "motion",
            "noise",
            "random_blur",
            "random_ghosting",
            "random_low_resolution",
            "random_motion",
            "random_noise",
            "random_rician_noise",
            "random_spike",
            "rician_noise",
            "spike",
        ],
        "intensity": [
            "bias_field",
            "brightness",
            "channel_dropout",
            "contrast",
            "gamma",
            "histogram_shift",
            "random_bias_field",
            "random_brightness",
            "random_channel_dropout",
            "random_contrast",
            "random_gamma",
            "random_histogram_shift",
        ],
        "linear": ["smooth_field"],
        "policy": ["Augmentation"],
        "presets": ["PRESETS", "find_preset"],
        "resampling": ["resample", "resample_labels", "resample_nearest"],
        "spatial": ["affine", "elastic", "flip", "identity_points", "random_affine", "random_elastic", "random_flip"],
    },
)
