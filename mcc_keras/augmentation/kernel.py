"""`Augmentation` as one compiled kernel: one resampling, then the intensity transforms in order."""

import functools

import tensorflow as tf

from mcc_keras.augmentation import acquisition, intensity, resampling, spatial
from mcc_keras.augmentation.boxes import center_of, corner_about, cut
from mcc_keras.augmentation.changes import INTENSITIES, SPATIAL
from mcc_keras.augmentation.deformation import Deformation
from mcc_keras.augmentation.draws import perhaps, split, uniform
from mcc_keras.augmentation.linear import LAST_TO_FIRST
from mcc_keras.errors import UsageError
from mcc_keras.preprocessing.graph import background_of

_INTENSITIES = {
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


def augment(policy, seed, image, mask, *, spacing_mm, patch_size, center):
    """Apply a policy; see `Augmentation.__call__`."""
    image, mask = tf.convert_to_tensor(image), tf.convert_to_tensor(mask)
    shape = tuple(image.shape[:3])
    if image.shape.rank != 4 or image.shape[:3] != mask.shape[:3] or mask.shape.rank != 4:
        shapes = f"image.shape={tuple(image.shape)}, mask.shape={tuple(mask.shape)}"
        raise UsageError(f"`image` must be (x, y, z, channels) and `mask` (x, y, z, 1). Received: {shapes}.")
    patch_size = shape if patch_size is None else tuple(patch_size)
    if len(patch_size) != 3 or not all(0 < m <= n for m, n in zip(patch_size, shape, strict=True)):
        raise UsageError(f"`patch_size` must fit into the volume, {shape}. Received: {patch_size=}.")
    center = center_of((0, 0, 0), shape) if center is None else center
    center, spacing_mm = (tf.cast(tf.convert_to_tensor(each), tf.float32) for each in (center, spacing_mm))
    # On a CPU the compiled form is many times faster than one kernel per operation; it is compiled once per shape.
    return compiled(policy, patch_size)(tf.convert_to_tensor(seed), image, mask, spacing_mm, center)


@functools.lru_cache(maxsize=64)
def compiled(policy, patch_size):
    """The whole policy as one XLA kernel: equal policies share it."""

    @tf.function(autograph=False, jit_compile=True)
    def apply(seed, image, mask, spacing_mm, center):
        place, light = split(seed, 2)
        image, mask = _move(policy, place, image, mask, spacing_mm=spacing_mm, patch_size=patch_size, center=center)
        return shade(policy, light, image, spacing_mm=spacing_mm), mask

    return apply


def _move(policy, seed, image, mask, *, spacing_mm, patch_size, center):
    """Draw a deformation and apply it."""
    shape = tuple(image.shape[:3])
    deformation = draw_deformation(policy, seed, shape, spacing_mm)
    whole = patch_size == shape
    if deformation is None and whole:
        return image, mask
    if deformation is None:
        corner = corner_about(center, patch_size, shape)
        return cut(image, corner, patch_size), cut(mask, corner, patch_size)
    corner = (0, 0, 0) if whole else corner_about(deformation.place_of(center), patch_size, shape)
    points = deformation.points(patch_size, corner)
    outside = background_of(image) if policy.padding == "background" else policy.padding
    image, mask = read_points(policy, image, mask, points, outside=outside)
    return image, swapped(mask, policy.swap_labels, deformation.flips[0])


def read_points(policy, image, mask, points, *, outside, ends=None):
    """Return image and mask at the points, both resampled once; `outside` is what the image is padded with."""
    mask_outside = "edge" if policy.padding == "edge" else 0
    read = resampling.resample_nearest if policy.mask_interpolation == "nearest" else resampling.resample_labels
    image = resampling.resample(image, points, interpolation=policy.interpolation, padding=outside, ends=ends)
    return image, read(mask, points, padding=mask_outside, ends=ends)


def draw_deformation(policy, seed, shape, spacing_mm):
    """Return a `Deformation`, or `None` where the policy allows none."""
    flips_seed, affine_seed, gates_seed, bend_seed, bent_seed = split(seed, 5)
    bends, moves = policy.chance("elastic"), any(policy.chance(name) for name in SPATIAL)
    if not policy.moves:
        return None
    parts = {}
    if bends:
        parts["bend"] = spatial.draw_elastic(bend_seed, shape, policy.elastic)
        parts["bent"] = bends >= 1 or uniform(bent_seed, ()) < bends
    if moves:
        most = {name: _most(policy, name, gate) for name, gate in zip(SPATIAL, split(gates_seed, 5), strict=True)}
        most["scaling_per_axis"] = policy.scaling_per_axis
        parts["matrix"], parts["shift"] = spatial.draw_affine(affine_seed, shape, spacing_mm, **most)
    flips = spatial.draw_flips(flips_seed, [axis for axis in range(3) if policy.flip[axis]])
    return Deformation(shape, flips, **parts)


def _most(policy, name, seed):
    """The strength of a spatial transform, or 0 if it is not applied this time."""
    chance, most = policy.chance(name), getattr(policy, name)
    return perhaps(seed, chance, lambda _: tf.constant(most), tf.constant(0.0)) if 0 < chance < 1 else most * chance


def swapped(mask, pairs, flipped):
    """Return the mask with the labels of each pair swapped if left and right are flipped."""
    result = mask
    for first, second in pairs:
        for old, new in ((first, second), (second, first)):
            result = tf.where(flipped & (mask == old), tf.cast(new, mask.dtype), result)
    return result


def shade(policy, seed, image, *, spacing_mm):
    """Return the image after the intensity transforms."""
    axes = LAST_TO_FIRST if policy.low_resolution_axis is None else (policy.low_resolution_axis,)
    more = {"motion_mm": {"spacing_mm": spacing_mm}, "low_resolution": {"axes": axes}}
    for name, each in zip(INTENSITIES, split(seed, len(INTENSITIES)), strict=True):
        chance, most = policy.chance(name), getattr(policy, name)
        if chance:
            gate, draws = split(each, 2)
            change = functools.partial(_INTENSITIES[name], draws, most=most, **more.get(name, {}))
            image = perhaps(gate, chance, change, image)
    return image
