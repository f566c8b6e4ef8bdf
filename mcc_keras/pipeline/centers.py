"""Where the patches of a volume are centered, drawn inside the graph.

A patch is identified by the point at its center. An `Augmentation` follows that point to where it moves it and computes
only the voxels of the patch: those of the whole deformed volume. A rotated patch shows the anatomy around it instead of
padding, and a patch around foreground still holds it after the deformation.

Contract: mask integer (x, y, z, 1), whose sides need not be known when the graph is built; points float32 (3,); corner
integer (3,); seed integer (2,).
"""

import tensorflow as tf

from mcc_keras.augmentation.boxes import center_of


def draw_centers(patches, seed, mask, *, classes):
    """Return the centers of the patches of one reading, a list of `per_volume` points (3,) in voxels.

    Args:
        patches: `Patches`.
        seed: Key of this reading of this case.
        mask: The mask, at least as large as a patch; classes 1 to `classes` are foreground.
        classes: Number of foreground classes.
    """
    place = foreground_by_voxel if patches.foreground_by == "voxel" else foreground_by_class
    draw = place(mask, classes)
    centers = []
    for number in range(patches.per_volume):
        kind, there, anywhere = tf.unstack(tf.random.split(tf.random.fold_in(seed, number), 3))
        found, voxel = draw(there)
        wanted = tf.random.stateless_uniform((), kind, alg="philox") < patches.foreground_fraction
        elsewhere = center_of(random_corner(anywhere, patches.size, tf.shape(mask)[:3]), patches.size)
        centers.append(tf.where(wanted & found, tf.cast(voxel, tf.float32), elsewhere))
    return centers


def random_corner(seed, size, shape):
    """Draw a corner, uniform over all boxes that lie in the volume."""
    places = tf.cast(shape, tf.float64) - tf.constant(size, tf.float64) + 1
    draws = tf.random.stateless_uniform((3,), seed, dtype=tf.float64, alg="philox")
    return tf.cast(draws * places, tf.int64)


def foreground_by_voxel(mask, classes):
    """Return a function seed → (whether there is foreground, voxel): uniform over the foreground voxels."""
    return _chooser(_inside(mask, 1, classes))


def foreground_by_class(mask, classes):
    """Return a function seed → (is there any, voxel): uniform over the classes in the mask, then over its voxels."""
    present = tf.stack([tf.reduce_any(mask == number) for number in range(1, classes + 1)])
    labels = tf.where(present)[:, 0] + 1

    def draw(seed):
        which, where = tf.unstack(tf.random.split(seed, 2))
        label = _pick(which, tf.concat([labels, [0]], 0), tf.size(labels))
        found, voxel = _chooser(mask == tf.cast(label, mask.dtype))(where)
        return found & tf.reduce_any(present), voxel

    return draw


def pad(volume, size, *, value=None):
    """Pad the volume on both sides to at least `size`, with the value or the lowest value of each channel.

    Example:

    >>> pad(tf.reshape([5, 7], (1, 2, 1, 1)), (1, 4, 1))[0, :, 0, 0].numpy().tolist()
    [5, 5, 7, 5]
    """
    lacking = tf.maximum(tf.constant(size) - tf.shape(volume)[:3], 0)
    widths = tf.concat([tf.stack([lacking // 2, lacking - lacking // 2], axis=1), [[0, 0]]], 0)

    def padded():
        inside = tf.pad(tf.ones_like(volume, tf.bool), widths)
        outside = tf.reduce_min(volume, axis=(0, 1, 2)) if value is None else tf.cast(value, volume.dtype)
        return tf.where(inside, tf.pad(volume, widths), outside)

    sides = [None if n is None else max(n, m) for n, m in zip(volume.shape[:3], size, strict=True)]
    result = tf.cond(tf.reduce_any(lacking > 0), padded, lambda: volume)
    return tf.ensure_shape(result, (*sides, volume.shape[-1]))


def _inside(mask, low, high):
    return (mask >= low) & (mask <= high)


def _chooser(chosen):
    places = tf.where(tf.reshape(chosen, (-1,)))[:, 0]
    _, y, z, _ = tf.unstack(tf.shape(chosen, tf.int64))

    def draw(seed):
        place = _pick(seed, tf.concat([places, [0]], 0), tf.size(places))
        return tf.size(places) > 0, tf.stack([place // (y * z), place // z % y, place % z])

    return draw


def _pick(seed, values, count):
    """One of the first `count` values; the first if count is 0."""
    draw = tf.random.stateless_uniform((), seed, dtype=tf.float64, alg="philox")
    return values[tf.cast(draw * tf.cast(count, tf.float64), tf.int64)]
