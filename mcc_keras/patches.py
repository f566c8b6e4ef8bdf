"""Patches: which boxes of a volume are shown, a chosen share of them around foreground.

Where a patch lies is said by the point in its centre. An `Augmentation` follows that point to where it moves it and
computes no voxel but those of the patch: they are the voxels of the whole volume, moved as a whole. So a patch that is
turned shows what lies beside it and no padding, and a patch around foreground holds it after the deformation, too.

Contract: mask integer (x, y, z, 1); points float32 (3,); corner integer (3,); seed integer (2,).
"""

import dataclasses
import warnings

import tensorflow as tf

from mcc_keras.augmentation.boxes import centre_of
from mcc_keras.errors import UsageError

FOREGROUNDS = ("voxels", "labels")
OVERSIZES = ("pad", "refuse")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Patches:
    """Which patches are shown of a volume; call it with a seed and a mask.

    Args:
        size: (x, y, z) in voxels.
        per_volume: Patches from one reading of a volume.
        foreground_share: Probability that a patch is centred on a foreground voxel (as far as the edge of the volume
            allows), in [0, 1]; the others lie anywhere with equal probability, and so do those of empty masks.
        foreground: The voxel is one of all foreground `"voxels"` with equal probability, or first one of the `"labels"`
            that the mask holds is drawn, then one of its voxels: small structures come as often as large ones.
        oversize: Where the size exceeds the volume: `"pad"` with the darkest value of each channel and background, on
            both sides and with a warning, or `"refuse"`.
    """

    size: tuple
    per_volume: int = 1
    foreground_share: float = 0.5
    foreground: str = "voxels"
    oversize: str = "pad"

    def __post_init__(self):
        if not (isinstance(self.size, tuple | list) and len(self.size) == 3 and all(map(_positive, self.size))):
            raise UsageError(f"Expected three positive integers. Received: patch_size={self.size!r}.")
        object.__setattr__(self, "size", tuple(int(n) for n in self.size))
        if not _positive(self.per_volume):
            raise UsageError(f"Expected a positive integer. Received: patches_per_volume={self.per_volume!r}.")
        share = self.foreground_share
        if not (isinstance(share, int | float) and 0 <= share <= 1):
            raise UsageError(f"Expected a share in [0, 1]. Received: foreground_share={share!r}.")
        for name, allowed in {"foreground": FOREGROUNDS, "oversize": OVERSIZES}.items():
            if getattr(self, name) not in allowed:
                raise UsageError(
                    f"Expected one of {', '.join(map(repr, allowed))}. Received: {name}={getattr(self, name)!r}."
                )

    def check(self, shape):
        """Warn of, or refuse, a size that exceeds a volume of `shape` (x, y, z)."""
        if all(n <= most for n, most in zip(self.size, shape, strict=True)):
            return
        text = f"patch_size={self.size} exceeds the volume, {tuple(shape)}"
        if self.oversize == "refuse":
            raise UsageError(f"Expected a patch within the volume. Received: {text}. Choose a smaller one, or 'pad'.")
        warnings.warn(f"{text}: every patch is padded with background.", stacklevel=3)

    def __call__(self, seed, mask, *, classes):
        """Return the centres of the patches of one reading, a list of `per_volume` points (3,) in voxels.

        Args:
            seed: Key of this reading of this case.
            mask: The mask, at least as large as a patch; classes 1 to `classes` are foreground.
            classes: Number of foreground classes.
        """
        place = foreground_by_voxels if self.foreground == "voxels" else foreground_by_labels
        draw = place(mask, classes)
        centres = []
        for number in range(self.per_volume):
            kind, there, anywhere = tf.unstack(tf.random.split(tf.random.fold_in(seed, number), 3))
            found, voxel = draw(there)
            wanted = tf.random.stateless_uniform((), kind, alg="philox") < self.foreground_share
            elsewhere = centre_of(random_corner(anywhere, self.size, mask.shape[:3]), self.size)
            centres.append(tf.where(wanted & found, tf.cast(voxel, tf.float32), elsewhere))
        return centres


def random_corner(seed, size, shape):
    """Draw a corner, uniform over all boxes that lie in the volume."""
    places = tf.constant([n - m + 1 for n, m in zip(shape, size, strict=True)], tf.int64)
    draws = tf.random.stateless_uniform((3,), seed, dtype=tf.float64, alg="philox")
    return tf.cast(draws * tf.cast(places, tf.float64), tf.int64)


def foreground_by_voxels(mask, classes):
    """Return a function seed → (is there any, voxel): uniform over the foreground voxels."""
    return _chooser(_inside(mask, 1, classes), mask.shape)


def foreground_by_labels(mask, classes):
    """Return a function seed → (is there any, voxel): uniform over the classes in the mask, then over its voxels."""
    present = tf.stack([tf.reduce_any(mask == number) for number in range(1, classes + 1)])
    labels = tf.where(present)[:, 0] + 1

    def draw(seed):
        which, where = tf.unstack(tf.random.split(seed, 2))
        label = _pick(which, tf.concat([labels, [0]], 0), tf.size(labels))
        found, voxel = _chooser(tf.cast(mask, tf.int64) == label, mask.shape)(where)
        return found & tf.reduce_any(present), voxel

    return draw


def pad(volume, size, *, value=None):
    """Return the volume made at least as large as `size`, on both sides, with the value, or the lowest of each channel.

    Example:

    >>> pad(tf.reshape([5, 7], (1, 2, 1, 1)), (1, 4, 1))[0, :, 0, 0].numpy().tolist()
    [5, 5, 7, 5]
    """
    lacking = [max(0, m - n) for n, m in zip(volume.shape[:3], size, strict=True)]
    if not any(lacking):
        return volume
    widths = [(n // 2, n - n // 2) for n in lacking] + [(0, 0)]
    inside = tf.pad(tf.ones_like(volume, tf.bool), widths)
    outside = tf.reduce_min(volume, axis=(0, 1, 2)) if value is None else tf.cast(value, volume.dtype)
    return tf.where(inside, tf.pad(volume, widths), outside)


def _inside(mask, low, high):
    return (mask >= low) & (mask <= high)


def _chooser(chosen, shape):
    places = tf.where(tf.reshape(chosen, (-1,)))[:, 0]

    def draw(seed):
        place = _pick(seed, tf.concat([places, [0]], 0), tf.size(places))
        _, y, z = shape[:3]
        return tf.size(places) > 0, tf.stack([place // (y * z), place // z % y, place % z])

    return draw


def _pick(seed, values, count):
    """One of the first `count` values; the first if count is 0."""
    draw = tf.random.stateless_uniform((), seed, dtype=tf.float64, alg="philox")
    return values[tf.cast(draw * tf.cast(count, tf.float64), tf.int64)]


def _positive(value):
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
