"""Patches of a volume in two steps: boxes are cut from it, then changed.

A volume is in memory for the first step only, so that a pipeline of large volumes holds a few of them and many boxes.
"""

import tensorflow as tf

from mcc_keras.augmentation.boxed import Box, change_box, read_around
from mcc_keras.augmentation.boxes import corner_about, read_box
from mcc_keras.augmentation.reach import reading_box
from mcc_keras.pipeline.centers import draw_centers, pad


class PatchMaker:
    """Cuts the patches of a volume, and changes them.

    Args:
        patches: `Patches`.
        policy: `Augmentation` with class numbers, or `None`.
        records: `Record`s of the part, whose shapes and voxel sizes bound what a changed patch reads.
        classes: Number of foreground classes.
    """

    def __init__(self, patches, policy, records, *, classes):
        self.patches, self.policy, self.classes = patches, policy, classes
        self.box_size = reading_box(policy, patches.size, [(record.shape, record.spacing_mm) for record in records])

    def cut(self, change, place, image, mask, *, spacing_mm):
        """Return the patches of a volume, or where they are changed the `Box`es that they read, stacked.

        Args:
            change: Key of the changes.
            place: Key of the places.
            image: float32 (x, y, z, channels), of any shape.
            mask: Integer (x, y, z, 1).
            spacing_mm: (3,), voxel sizes.
        """
        size, found = self.patches.size, []
        image, mask = pad(image, size), pad(mask, size, value=0)
        for number, center in enumerate(draw_centers(self.patches, place, mask, classes=self.classes)):
            if self.policy is None:
                corner = corner_about(center, size, tf.shape(mask)[:3])
                found.append((read_box(image, corner, size), read_box(mask, corner, size)))
            else:
                seed = tf.random.fold_in(change, number)
                where = {"spacing_mm": spacing_mm, "patch_size": size, "center": center, "box_size": self.box_size}
                found.append(read_around(self.policy, seed, image, mask, **where))
        return tuple(tf.stack(part) for part in zip(*found, strict=True))

    def change(self, change, boxes, *, spacing_mm):
        """Return image and mask of the patches, (patches, *size, channels), from what `cut` returned."""
        if self.policy is None:
            return boxes
        shown = []
        for number, box in enumerate(zip(*map(tf.unstack, boxes), strict=True)):
            where = {"spacing_mm": spacing_mm, "patch_size": self.patches.size}
            shown.append(change_box(self.policy, tf.random.fold_in(change, number), Box(*box), **where))
        return tuple(tf.stack(part) for part in zip(*shown, strict=True))


def take_turns(*parts):
    """(volumes, patches, …) → (volumes · patches, …): the first patch of each volume, then the second of each."""
    turned = (tf.transpose(part, [1, 0, *range(2, len(part.shape))]) for part in parts)
    return tuple(tf.reshape(part, (-1, *part.shape[2:])) for part in turned)
