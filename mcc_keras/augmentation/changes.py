"""Names and limits of the changes that an `Augmentation` can make, in the order in which they are applied."""

SPATIAL = ("rotation_degrees", "scaling", "shear_degrees", "translation", "translation_mm")
# In physical order: motion, coil shading, k-space artifacts, voxel size, receiver noise, window.
INTENSITIES = ("motion_mm", "bias_field", "ghosting", "spike", "blur", "low_resolution", "noise", "rician_noise")
INTENSITIES += ("brightness", "contrast", "histogram_shift", "inverted_gamma", "gamma", "channel_dropout")
ANISOTROPIC = 3.0  # ratio of voxel sizes from which no rotation mixes two axes
CHANCES = ("elastic", *SPATIAL, *INTENSITIES)  # each has a maximum, where 0 disables it, and a probability
LIMITS = {
    **{"rotation_degrees": 180, "scaling": 4, "shear_degrees": 45, "translation": 0.99, "elastic": 0.1},
    **{"contrast": 0.99, "ghosting": 1, "histogram_shift": 0.5, "low_resolution": 7, "blur": 10, "gamma": 3},
    **{"inverted_gamma": 3, "bias_field": 3, "channel_dropout": 1},
}
