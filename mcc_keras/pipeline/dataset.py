"""`load_dataset`: prepared records → shuffled, augmented, batched `tf.data.Dataset` of fixed shapes.

Shuffling acts on case indices, so no volumes are buffered; a case is read from its place in the shard when it is due.
Every random draw is stateless, keyed on (seed, epoch, case, visit, patch); one pass over the dataset is one epoch, and
the next pass draws other values. The batches are the same on a rerun, in another process and with any number of
parallel calls.
"""

import functools

import joblib
import numpy as np
import tensorflow as tf

from mcc_keras.augmentation.presets import augmentation_policy
from mcc_keras.augmentation.sides import with_class_numbers
from mcc_keras.datasets.splits import PARTS
from mcc_keras.errors import UsageError
from mcc_keras.pipeline.cache import open_records
from mcc_keras.pipeline.order import class_groups, named_groups, order_cases
from mcc_keras.pipeline.parse import parse_example
from mcc_keras.pipeline.patches import Patches, refuse_whole
from mcc_keras.pipeline.patching import PatchMaker, take_turns
from mcc_keras.records.manifest import Manifest, read_manifest
from mcc_keras.seeds import check_seed

PREFETCH = 2  # batches prefetched
MOST_CALLS = 16  # most volumes, or boxes around patches, augmented at a time, each of which is held in memory
READERS = 2  # volumes that patches are cut from at a time


def load_dataset(
    work,
    part,
    *,
    batch_size=1,
    augment=False,
    seed=0,
    shuffle=None,
    patches=None,
    balance=None,
    cases_per_epoch=None,
    drop_remainder=False,
    ignore_class=None,
    cache=None,
    num_parallel_calls=None,
):
    """Return the cases of one part as a `tf.data.Dataset` for `model.fit`, under TensorFlow as under JAX.

    Args:
        work: Folder that `write_tfrecords` wrote, or its `Manifest`, so that several data sets read one set even if
            `work` gets another in between.
        part: `"train"`, `"validation"` or `"test"`.
        batch_size: Volumes, or patches, per batch; the last batch of an epoch may be smaller.
        augment: `True` (the default `Augmentation`), `False`, a preset's name, or an `Augmentation`.
        seed: Whole number from 0 to 2³² − 1: of order, patches and augmentation.
        shuffle: New order in every epoch; `None` means for the training part only.
        patches: `Patches` to draw from each volume; `None` gives whole volumes, which records of native size do not
            allow. Patches of one volume do not follow each other: a batch takes one patch from each of several volumes.
        balance: `"class"` draws for each place in an epoch first a class, then one of the cases that hold it, each with
            equal probability; cases without foreground are one more class. A dict case id → group does so with any
            groups, such as data sets or a column: `{case.case_id: case.columns["site"] for case in cases}`.
        cases_per_epoch: Cases per epoch; `None` is the number of cases. Shuffled epochs go on where the last one
            stopped, so that all cases come equally often.
        drop_remainder: Leave out a last batch that is smaller, for a fixed batch axis.
        ignore_class: Number of the last class, whose voxels are ignored: make it a class of its own with
            `find_cases(…, labels=(1, 2, 255))`, which makes 255 class 3. A third element then holds the weight of each
            voxel, 1 or 0, and the class is background in the mask. Losses of Keras and of this package take these.
        cache: Where records are read from: `None`, the shards; `"memory"` or `"disk"`, a copy that is uncompressed and
            not augmented; `"auto"`, memory if the copy takes at most half of the free bytes, else, for compressed
            records, disk on the same condition, else the shards.
        num_parallel_calls: Volumes augmented at a time; `None` is one per core, at most 16. It changes no batch. Of
            patches, at most two volumes are in memory at a time, and of the others the boxes that their patches read.

    Returns:
        Dataset of (image, mask). image: float32 (batch, x, y, z, channels). mask: (batch, x, y, z, 1), float32 0 or 1
        for one foreground class, int32 classes 0 … K otherwise. It has five further attributes. `epoch`, a
        `tf.Variable`, counts the passes begun; assign to it to go on from there. `rest(step)` is the remainder of one
        pass from a step on, without the work of the steps before. `resumed(step)` is the data set whose next pass is
        that remainder, for a `fit` that goes on within an epoch. `endless(step)` is that remainder and all passes after
        it in one, for `fit` with `steps_per_epoch=len(dataset)`: each pass is begun while the steps and the validation
        before it still run; `epoch` stays. `cases_of(number, step)` lists the case ids in a batch of pass `number`
        (from 1).

    Raises:
        RecordError: `work` holds no records, or damaged ones.
        EnvironmentFailure: The cache takes more than half of the free memory or disk.
        UsageError: The part has no cases, an argument is invalid, or whole volumes are asked for whose sizes differ.

    Example:

    >>> import tempfile
    >>> from mcc_keras.datasets import find_cases, write_synthetic
    >>> from mcc_keras.preprocessing import Preprocessing
    >>> from mcc_keras.records.write import write_tfrecords
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     source = write_synthetic(f"{folder}/scans", num_cases=10, size=(16, 16, 8), layout="pairs")
    ...     box = Preprocessing(size=(16, 16, 8))
    ...     _ = write_tfrecords(find_cases(source), f"{folder}/work", preprocessing=box, workers=1)
    ...     image, mask = next(iter(load_dataset(f"{folder}/work", "train", batch_size=2)))
    ...     patches, _ = next(iter(load_dataset(f"{folder}/work", "train", batch_size=2, patches=Patches(size=8))))
    >>> tuple(image.shape), tuple(mask.shape), tuple(patches.shape)
    ((2, 16, 16, 8, 1), (2, 16, 16, 8, 1), (2, 8, 8, 8, 1))
    """
    _check(part, batch_size=batch_size, cases_per_epoch=cases_per_epoch, num_parallel_calls=num_parallel_calls)
    seed = check_seed(seed)
    if not (patches is None or isinstance(patches, Patches)):
        raise UsageError(f"`patches` must be None or mk.Patches(size=…). Received: patches={patches!r}.")
    manifest = work if isinstance(work, Manifest) else read_manifest(work)
    policy = with_class_numbers(augmentation_policy(augment), manifest.task)
    records = manifest.records(part)
    num_cases = len(records)
    if patches:
        patches.check([record.shape for record in records])
    else:
        refuse_whole(manifest)
    maker = _Maker(manifest, seed, policy, ignore_class=ignore_class)
    patch_maker = PatchMaker(patches, policy, records, classes=maker.classes) if patches else None
    groups = _groups(manifest, part, balance)
    read, maker.compression = open_records(manifest, part, cache=cache)
    length = cases_per_epoch or num_cases
    ordered = {"num_cases": num_cases, "length": length, "groups": groups}
    ordered["shuffle"] = part == "train" if shuffle is None else shuffle
    num_parallel_calls = num_parallel_calls or min(joblib.cpu_count(), MOST_CALLS)
    epoch = tf.Variable(0, dtype=tf.int64, trainable=False, name="epoch")

    per_volume = patches.per_volume if patches else 1
    steps = length * per_volume // batch_size if drop_remainder else -(-length * per_volume // batch_size)

    # Traced once for all the forms of the data set below; its graph is that of the whole augmentation.
    @tf.function(autograph=False, input_signature=(tf.TensorSpec((), tf.int64),) * 2)
    def batches_of_epoch(number, first_step):
        def read_case(case, visit):
            return read(case).map(lambda serialized: (number, case, visit, serialized))

        # The patches of `batch_size` volumes are dealt out to `per_volume` batches.
        start, skipped = first_step // per_volume * batch_size, first_step % per_volume
        order = (each[start:] for each in order_cases(seed, number, **ordered))
        data = tf.data.Dataset.from_tensor_slices(tuple(order)).flat_map(read_case)
        if patches:
            cut = functools.partial(maker.cut, patch_maker)
            data = data.map(cut, num_parallel_calls=min(READERS, num_parallel_calls), deterministic=True)
            change = functools.partial(maker.change, patch_maker)
            data = data.map(change, num_parallel_calls=num_parallel_calls, deterministic=True)
            data = data.batch(batch_size).map(take_turns).unbatch()
        else:
            data = data.map(maker, num_parallel_calls=num_parallel_calls, deterministic=True)
        data = data.batch(batch_size, drop_remainder=drop_remainder)
        return (data.skip(skipped) if patches else data).prefetch(PREFETCH)

    def make(first_step):
        # An epoch is made as a whole inside `flat_map`. Outside, with the counter above it, TensorFlow would take away
        # the prefetching and the parallel calls as soon as kernels are deterministic, since a variable is written.
        begin = tf.data.Dataset.from_tensors(tf.constant(1, tf.int64)).map(epoch.assign_add)
        dataset = begin.flat_map(lambda number: batches_of_epoch(number, tf.constant(first_step, tf.int64)))
        return dataset.apply(tf.data.experimental.assert_cardinality(steps - first_step)).with_options(fixed_options())

    def cases_of(number, step):
        order, _ = order_cases(seed, tf.constant(number, tf.int64), **ordered)
        volumes = order.numpy()[step // per_volume * batch_size :][:batch_size]
        places = range(step % per_volume * batch_size, (step % per_volume + 1) * batch_size)
        dealt = [volumes[place % len(volumes)] for place in places if place < len(volumes) * per_volume]
        ids = [case.case_id for case in manifest.cases(part)]
        return [ids[number] for number in dict.fromkeys(dealt)]

    def begin_at(first_step, is_first):
        return tf.where(is_first, tf.constant(first_step, tf.int64), 0)

    def resumed(first_step):
        passes = tf.Variable(0, dtype=tf.int64, trainable=False)
        one = tf.data.Dataset.from_tensors(tf.constant(1, tf.int64))
        begin = one.map(lambda one: (epoch.assign_add(one), begin_at(first_step, passes.assign_add(one) == 1)))
        dataset = begin.flat_map(batches_of_epoch).with_options(fixed_options())
        # What Keras asks for, once; `end_short_epoch` of the training ends the pass that is shorter.
        dataset.cardinality = lambda: tf.constant(steps, tf.int64)
        return dataset

    def endless(first_step=0):
        first = epoch.numpy() + 1
        numbers = tf.data.Dataset.range(first, np.iinfo(np.int64).max)
        begin = numbers.map(lambda number: (number, begin_at(first_step, number == first)))
        return begin.flat_map(batches_of_epoch).prefetch(PREFETCH).with_options(fixed_options())

    dataset = make(0)
    dataset.epoch, dataset.rest, dataset.resumed = epoch, make, resumed
    dataset.endless, dataset.cases_of = endless, cases_of
    return dataset


def fixed_options():
    """Return `tf.data.Options` without TensorFlow's autotuning.

    Its tuning thread has nothing to tune here, and where it is on, the end of a pass now and then waits for the thread
    to wake: after 10 seconds, 20, 41 and so on from the start of the pass.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


class _Maker:
    """Map a serialized record to the elements of a batch: one (image, mask), or stacked patches in two steps."""

    def __init__(self, manifest, seed, policy, *, ignore_class):
        classes = len(manifest.task.labels)
        if ignore_class is not None and not (ignore_class == classes > 1):
            last = f"the last of several foreground classes, here {classes}" if classes > 1 else "None for one class"
            raise UsageError(f"`ignore_class` must be {last}. Received: ignore_class={ignore_class!r}.")
        self.shape, self.compression = manifest.image_shape, manifest.compression
        self.seed, self.policy, self.ignore_class = seed, policy, ignore_class
        self.classes = classes - (ignore_class is not None)

    def __call__(self, number, case, visit, serialized):
        change, _, image, mask, spacing_mm = self._read(number, case, visit, serialized)
        if self.policy is not None:
            image, mask = self.policy(change, image, mask, spacing_mm=spacing_mm)
        return self._for_loss(image, mask)

    def cut(self, patch_maker, number, case, visit, serialized):
        """Return the boxes that the patches of a volume are read from, and what `change` needs besides."""
        change, place, image, mask, spacing_mm = self._read(number, case, visit, serialized)
        return change, spacing_mm, patch_maker.cut(change, place, image, mask, spacing_mm=spacing_mm)

    def change(self, patch_maker, change, spacing_mm, boxes):
        """Return the patches, stacked."""
        return self._for_loss(*patch_maker.change(change, boxes, spacing_mm=spacing_mm))

    def _read(self, number, case, visit, serialized):
        """Return the keys of the changes and of the places, image, mask and voxel size."""
        example = parse_example(serialized, self.shape, compression=self.compression)
        key = tf.stack([tf.cast(self.seed, tf.int64), number])
        for part in (case, visit):
            key = tf.random.fold_in(key, part)
        change, place = tf.unstack(tf.random.split(key))
        return change, place, example["image"], example["mask"][..., None], example["spacing_mm"]

    def _for_loss(self, image, mask):
        dtype = tf.float32 if self.classes == 1 else tf.int32
        if self.ignore_class is None:
            return image, tf.cast(mask, dtype)
        counts = mask != self.ignore_class
        return image, tf.cast(tf.where(counts, mask, 0), dtype), tf.cast(counts, tf.float32)


def _groups(manifest, part, balance):
    if balance is None:
        return None
    if balance != "class":
        return named_groups(balance, [case.case_id for case in manifest.cases(part)])
    read, compression = open_records(manifest, part)
    numbers = tf.range(1, len(manifest.task.labels) + 1)

    def present(serialized):
        mask = parse_example(serialized, manifest.image_shape, compression=compression)["mask"]
        return tf.map_fn(lambda n: tf.reduce_any(tf.cast(mask, tf.int32) == n), numbers, fn_output_signature=tf.bool)

    cases = tf.data.Dataset.range(len(manifest.records(part))).flat_map(read)
    return class_groups(list(cases.map(present).as_numpy_iterator()))


def _check(part, **counts):
    if part not in PARTS:
        raise UsageError(f"`part` must be one of {', '.join(PARTS)}. Received: part={part!r}.")
    for name, value in counts.items():
        optional = name != "batch_size"
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not (whole and value > 0 or optional and value is None):
            expected = "a positive integer or None" if optional else "a positive integer"
            raise UsageError(f"`{name}` must be {expected}. Received: {name}={value!r}.")
