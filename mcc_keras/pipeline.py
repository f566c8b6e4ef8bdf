"""`load_dataset`: prepared records → shuffled, augmented, batched `tf.data.Dataset` of fixed shapes.

Names are shuffled and not volumes: a case is read from its place in the shard when its turn comes. Every random draw
is stateless, keyed on (seed, epoch, case); one pass over the dataset is one epoch, and the next pass draws anew.
"""

import numpy as np
import tensorflow as tf

from mcc_keras.augmentation import PRESETS, Augmentation, find_preset
from mcc_keras.errors import UsageError
from mcc_keras.tfrecords import parse_example, read_manifest

PARTS = ("train", "validation", "test")


def load_dataset(work, part, *, batch_size=1, augment=False, seed=0, shuffle=None):
    """Return the cases of one part as a `tf.data.Dataset` for `model.fit`.

    Args:
        work: Folder that `write_tfrecords` wrote.
        part: `"train"`, `"validation"` or `"test"`.
        batch_size: Cases a batch; the last batch of an epoch may be smaller.
        augment: `True` (the default `Augmentation`), `False`, or an `Augmentation`.
        seed: Integer seed of order and augmentation.
        shuffle: New order in every epoch; `None` means for the training part only.

    Returns:
        Dataset of (image, mask). image: float32 (batch, x, y, z, channels). mask: (batch, x, y, z, 1), float32 0 or 1
        for one foreground class, int32 classes 0 … K otherwise. Its attribute `epoch` is a `tf.Variable`: the number of
        passes begun; assign to it to go on from there.

    Raises:
        RecordError: `work` holds no records, or damaged ones.
        UsageError: A part without cases, or an argument that makes no sense.

    Example:

    >>> import tempfile
    >>> from mcc_keras.datasets import find_cases, write_synthetic
    >>> from mcc_keras.preprocessing import Preprocessing
    >>> from mcc_keras.tfrecords import write_tfrecords
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     source = write_synthetic(f"{folder}/scans", num_cases=10, size=(16, 16, 8), layout="pairs")
    ...     box = Preprocessing(size=(16, 16, 8))
    ...     _ = write_tfrecords(find_cases(source), f"{folder}/work", preprocessing=box, workers=1)
    ...     image, mask = next(iter(load_dataset(f"{folder}/work", "train", batch_size=2)))
    >>> tuple(image.shape), tuple(mask.shape)
    ((2, 16, 16, 8, 1), (2, 16, 16, 8, 1))
    """
    if part not in PARTS:
        raise UsageError(f"Expected a part: one of {', '.join(PARTS)}. Received: part={part!r}.")
    if not (isinstance(batch_size, int | np.integer) and batch_size > 0):
        raise UsageError(f"Expected a positive integer. Received: batch_size={batch_size!r}.")
    manifest = read_manifest(work)
    paths, *spans = zip(*manifest.records(part), strict=True)
    table = tf.constant(paths), *(tf.constant(span, tf.int64) for span in spans)
    shuffle = part == "train" if shuffle is None else shuffle
    policy = augmentation_policy(augment)
    binary = manifest.num_classes == 1
    epoch = tf.Variable(0, dtype=tf.int64, trainable=False, name="epoch")

    def cases_of_epoch(number):
        order = tf.range(len(paths))
        if shuffle:
            order = tf.random.experimental.stateless_shuffle(order, seed=tf.stack([seed, number]))
        return tf.data.Dataset.from_tensor_slices(order).flat_map(lambda case: _read(case, number, *table))

    def to_pair(case, number, serialized):
        example = parse_example(serialized, manifest.image_shape, compression=manifest.compression)
        image, mask = example["image"], example["mask"][..., None]
        if policy is not None:
            key = tf.random.fold_in(tf.stack([tf.cast(seed, tf.int64), number]), tf.cast(case, tf.int64))
            image, mask = policy(key, image, mask, spacing_mm=example["spacing_mm"])
        return image, tf.cast(mask, tf.float32 if binary else tf.int32)

    dataset = tf.data.Dataset.from_tensors(tf.constant(1, tf.int64)).map(epoch.assign_add).flat_map(cases_of_epoch)
    dataset = dataset.map(to_pair, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    dataset = dataset.batch(batch_size)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(-(-len(paths) // batch_size)))
    dataset = dataset.prefetch(tf.data.AUTOTUNE)
    dataset.epoch = epoch
    return dataset


def augmentation_policy(augment):
    """Return the `Augmentation` that `augment` stands for (`None` for `False`), a name's or itself."""
    if isinstance(augment, Augmentation):
        return augment
    if isinstance(augment, str):
        return find_preset(augment)
    if augment in (True, False):
        return Augmentation() if augment else None
    raise UsageError(f"Expected True, False, {', '.join(PRESETS)} or an Augmentation. Received: augment={augment!r}.")


def _read(case, number, paths, *spans):
    """The one record of a case, read from its place in the shard, with the case's number and the epoch's."""
    before, length, behind = (span[case] for span in spans)
    record = tf.data.FixedLengthRecordDataset(
        paths[case], record_bytes=length, header_bytes=before, footer_bytes=behind
    )
    return record.map(lambda serialized: (case, number, serialized))
