"""What an `Augmentation` does, in one compiled kernel: draw points, read once, then change intensities in order."""

import functools

import tensorflow as tf

from mcc_keras.augmentation import acquisition, intensity, resampling, spatial
from mcc_keras.augmentation.draws import perhaps, split
from mcc_keras.augmentation.linear import LAST_TO_FIRST

SPATIAL = ("rotation_degrees", "scaling", "shear_degrees", "translation", "translation_mm")
# What happens to intensities, in this order: the patient moves, the coils shade, k-space is disturbed, voxels are
# large, the receiver is noisy, and a window is chosen.
INTENSITIES = {
    "motion_mm": acquisition.random_motion,
    "bias_field": intensity.random_bias_field,
    "ghosting": acquisition.random_ghosting,
    "spike": acquisition.random_spike,
    "blur": acquisition.random_blur,
    "low_resolution": acquisition.random_low_resolution,
    "noise": acquisition.random_noise,
    "rician_noise": acquisition.random_rician_noise,
    "brightness": intensity.random_brightness,
    "contrast": intensity.random_contrast,
    "histogram_shift": intensity.random_histogram_shift,
    "inverted_gamma": functools.partial(intensity.random_gamma, inverted=True),
    "gamma": intensity.random_gamma,
    "channel_dropout": intensity.random_channel_dropout,
}


@functools.lru_cache(maxsize=64)
def compiled(policy, patch_size):
    """The whole policy as one XLA kernel: equal policies share it."""

    @tf.function(jit_compile=True)
    def augment(seed, image, mask, spacing_mm, corner):
        place, light = split(seed, 2)
        image, mask = _move(policy, place, image, mask, spacing_mm=spacing_mm, patch_size=patch_size, corner=corner)
        return _shade(policy, light, image, spacing_mm=spacing_mm), mask

    return augment


def _move(policy, seed, image, mask, *, spacing_mm, patch_size, corner):
    """Draw the points, from the result back to the volume, and read image and mask there once."""
    flips_seed, affine_seed, gates_seed, bend_seed, bent_seed = split(seed, 5)
    points = spatial.identity_points(patch_size)
    if policy.chance("elastic"):
        bend = functools.partial(spatial.random_elastic, bend_seed, deviation=policy.elastic)
        points = perhaps(bent_seed, policy.chance("elastic"), bend, points)
    if any(policy.chance(name) for name in SPATIAL):
        most = {name: _most(policy, name, gate) for name, gate in zip(SPATIAL, split(gates_seed, 5), strict=True)}
        per_axis = policy.scaling_per_axis
        points = spatial.random_affine(affine_seed, points, spacing_mm, scaling_per_axis=per_axis, **most)
    elif not policy.chance("elastic") and not any(policy.flip) and patch_size == image.shape[:3]:
        return image, mask
    flips = spatial.draw_flips(flips_seed, [axis for axis in range(3) if policy.flip[axis]])
    points = spatial.translate(spatial.flip(points, flips), corner)
    outside = intensity.background_of(image) if policy.padding == "background" else policy.padding
    mask_outside = "edge" if policy.padding == "edge" else 0
    read = resampling.resample_nearest if policy.mask_interpolation == "nearest" else resampling.resample_labels
    image = resampling.resample(image, points, interpolation=policy.interpolation, padding=outside)
    return image, _swapped(read(mask, points, padding=mask_outside), policy.swap_labels, flips[0])


def _most(policy, name, seed):
    """The number of a spatial change, or 0 when its turn has not come."""
    chance, most = policy.chance(name), getattr(policy, name)
    return perhaps(seed, chance, lambda _: tf.constant(most), tf.constant(0.0)) if 0 < chance < 1 else most * chance


def _swapped(mask, pairs, flipped):
    result = mask
    for first, second in pairs:
        for old, new in ((first, second), (second, first)):
            result = tf.where(flipped & (mask == old), tf.cast(new, mask.dtype), result)
    return result


def _shade(policy, seed, image, *, spacing_mm):
    axes = LAST_TO_FIRST if policy.low_resolution_axis is None else (policy.low_resolution_axis,)
    more = {"motion_mm": {"spacing_mm": spacing_mm}, "low_resolution": {"axes": axes}}
    for name, each in zip(INTENSITIES, split(seed, len(INTENSITIES)), strict=True):
        chance, most = policy.chance(name), getattr(policy, name)
        if chance:
            gate, draws = split(each, 2)
            change = functools.partial(INTENSITIES[name], draws, most=most, **more.get(name, {}))
            image = perhaps(gate, chance, change, image)
    return image
