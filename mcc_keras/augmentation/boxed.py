"""A changed patch from a box of its volume: a kernel that is compiled for the shape of the patch, not of the volume.

`aim` draws the changes and finds the box of the volume that they read, `change` draws the same again and reads only
that box. With a box as large as `reach.reading_box` says, voxels are those of the whole changed volume.
"""

import functools
from typing import NamedTuple

import tensorflow as tf

from mcc_keras.augmentation.boxes import center_of, corner_about, read_box
from mcc_keras.augmentation.draws import split
from mcc_keras.augmentation.kernel import draw_deformation, read_points, shade, swapped
from mcc_keras.preprocessing.graph import background_of


class Box(NamedTuple):
    """A box of a volume, and what a changed patch needs to know of the volume; all are tensors.

    Args:
        image: float32 (*box, channels).
        mask: Integer (*box, 1).
        start: int32 (3,), its first voxel in the volume.
        corner: int32 (3,), first voxel of the patch in the changed volume.
        shape: int32 (3,), shape of the volume.
        background: float32 (channels,), what lies outside the volume where a policy pads with it.
    """

    image: tf.Tensor
    mask: tf.Tensor
    start: tf.Tensor
    corner: tf.Tensor
    shape: tf.Tensor
    background: tf.Tensor


def read_around(policy, seed, image, mask, *, spacing_mm, patch_size, center, box_size):
    """Return the `Box` that a changed patch is read from.

    Args:
        policy: `Augmentation`.
        seed: Integer (2,), as for `change_box`.
        image: float32 (x, y, z, channels), of any shape at least as large as the patch.
        mask: Integer (x, y, z, 1).
        spacing_mm: (3,), voxel sizes.
        patch_size: (x, y, z) of the patch.
        center: float32 (3,), the middle of the patch, in voxels of the volume; see `Augmentation.__call__`.
        box_size: (x, y, z) of the box, from `reading_box`.
    """
    shape = tf.shape(image)[:3]
    corner, start = _aim(policy, tuple(patch_size), tuple(box_size))(seed, shape, spacing_mm, center)
    image_box, mask_box = (read_box(volume, start, box_size) for volume in (image, mask))
    return Box(image_box, mask_box, start, corner, shape, background_of(image))


def change_box(policy, seed, box, *, spacing_mm, patch_size):
    """Return the changed image (*patch_size, channels) and mask (*patch_size, 1) of a `Box`."""
    return _change(policy, tuple(patch_size))(seed, box, spacing_mm)


@functools.lru_cache(maxsize=64)
def _aim(policy, patch_size, box_size):
    @tf.function(autograph=False, jit_compile=True)
    def aim(seed, shape, spacing_mm, center):
        place, _ = split(seed, 2)
        deformation = draw_deformation(policy, place, shape, spacing_mm)
        if deformation is None:
            corner = corner_about(center, patch_size, shape)
            return corner, corner
        corner = corner_about(deformation.place_of(center), patch_size, shape)
        middle = deformation.points((1, 1, 1), corner + tf.constant([n // 2 for n in patch_size]))[:, 0, 0, 0]
        first = tf.round(middle - center_of((0, 0, 0), box_size))
        return corner, tf.clip_by_value(tf.cast(first, tf.int32), 0, tf.maximum(shape - tf.constant(box_size), 0))

    return aim


@functools.lru_cache(maxsize=64)
def _change(policy, patch_size):
    @tf.function(autograph=False, jit_compile=True)
    def change(seed, box, spacing_mm):
        place, light = split(seed, 2)
        image, mask = box.image, box.mask
        deformation = draw_deformation(policy, place, box.shape, spacing_mm)
        if deformation is not None:
            start = tf.cast(box.start, tf.float32)
            points = deformation.points(patch_size, box.corner) - tf.reshape(start, (3, 1, 1, 1))
            ends = (-start, tf.cast(box.shape, tf.float32) - 1 - start)
            outside = box.background if policy.padding == "background" else policy.padding
            image, mask = read_points(policy, image, mask, points, outside=outside, ends=ends)
            mask = swapped(mask, policy.swap_labels, deformation.flips[0])
        return shade(policy, light, image, spacing_mm=spacing_mm), mask

    return change
