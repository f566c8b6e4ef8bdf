"""Where the records of a part are read from: their shards, a copy in memory, or an uncompressed copy on disk.

A copy holds the records uncompressed and without augmentation, each in the smallest exact type of its voxels, which
takes a quarter to a half of the space of float32. Cases are read in any order, so that every epoch can have its own.
"""

import atexit
import math
import shutil
import tempfile
import zlib
from pathlib import Path

import tensorflow as tf

from mcc_keras.errors import EnvironmentFailure, UsageError, disk_failure
from mcc_keras.memory import free_memory
from mcc_keras.pipeline.reading import read_payload, record_reader
from mcc_keras.records.example import FRAME, frame_record

CACHES = (None, "memory", "disk", "auto")
SHARE = 0.5  # of the free bytes, at most; the rest is for the network and for batches in flight


def open_records(manifest, part, *, cache=None):
    """Return a function from a case's number to a data set of its one serialized record, and the records' compression.

    The function holds the manifest, and with it the lock that keeps the set.

    Args:
        manifest: `Manifest`.
        part: Name of the part.
        cache: `None` reads the shards each time. `"memory"` and `"disk"` copy the part first, uncompressed, `"disk"`
            into a temporary folder that is removed when the process ends. `"auto"` is memory if the copy takes no more
            than half of the free memory; else, of compressed records, disk on the same condition; else `None`.

    Raises:
        EnvironmentFailure: The copy would take more than half of the free memory or disk, or cannot be written.
        RecordError: A record that is to be copied is damaged.
    """
    records, needed = manifest.records(part), estimate_bytes(manifest, part)
    cache = choose_cache(cache, needed, free=_free(cache), compressed=bool(manifest.compression))
    if cache is None:
        return record_reader(records, keep=manifest), manifest.compression
    copies = (_uncompressed(read_payload(record), manifest.compression) for record in records)
    if cache == "memory":
        return _keep(copies, len(records)), None
    return record_reader(_write(records, copies)), None


def choose_cache(cache, needed, *, free, compressed):
    """Return `"memory"`, `"disk"` or `None`: the choice of `"auto"`, or the requested cache, if it fits.

    Args:
        cache: One of `CACHES`.
        needed: Bytes of the copy.
        free: Dict of the free bytes in `"memory"` and on `"disk"`.
        compressed: Whether the records are; a copy on disk of uncompressed ones is no faster.

    Example:

    >>> choose_cache("auto", 60, free={"memory": 100, "disk": 1000}, compressed=True)
    'disk'
    """
    if cache not in CACHES:
        raise UsageError(f"`cache` must be one of {', '.join(map(repr, CACHES))}. Received: cache={cache!r}.")
    if cache == "auto":
        kinds = ("memory", "disk") if compressed else ("memory",)
        return next((kind for kind in kinds if needed <= SHARE * free[kind]), None)
    if cache is not None and needed > SHARE * free[cache]:
        raise EnvironmentFailure(
            f"`cache` must fit into half of the {free[cache]:,} free bytes. Received: cache={cache!r}, which takes "
            f"{needed:,} bytes. Use cache='auto', which takes what fits."
        )
    return cache


def estimate_bytes(manifest, part):
    """Return the bytes of the uncompressed records of a part; for compressed ones, an upper bound."""
    if not manifest.compression:
        return sum(record.bytes for record in manifest.records(part))
    channels = manifest.image_shape[-1]
    return sum(math.prod(record.shape) for record in manifest.records(part)) * (4 * channels + 1)


def _free(cache):
    if cache is None:
        return {}
    try:
        disk = shutil.disk_usage(tempfile.gettempdir()).free
    except OSError:  # no folder for temporary files, as in a read-only container
        disk = 0
    return {"memory": free_memory(), "disk": disk}


def _keep(copies, count):
    # A variable, since tf.data copies a constant into each of its graphs, which may not exceed 2 GiB.
    held = tf.Variable(tf.fill((count,), ""), trainable=False, name="records")
    for number, copy in enumerate(copies):
        held.scatter_update(tf.IndexedSlices(tf.constant([copy]), [number]))
    return lambda case: tf.data.Dataset.from_tensors(tf.gather(held, case))


def _write(records, copies):
    """Write one file of one record per case, checksums included, and return the `Record`s."""
    folder = tempfile.mkdtemp(prefix="mcc_keras_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    written = []
    for number, (record, copy) in enumerate(zip(records, copies, strict=True)):
        path, (before, behind) = Path(folder) / f"{number:06d}", frame_record(copy)
        try:
            path.write_bytes(b"".join((before, copy, behind)))
        except OSError as error:
            raise disk_failure(path, error) from error
        written.append(record._replace(path=str(path), position=FRAME[0], bytes=len(copy)))
    return written


def _uncompressed(serialized, compression):
    if not compression:
        return serialized
    example = tf.train.Example.FromString(serialized)
    for name in ("image", "mask"):
        values = example.features.feature[name].bytes_list.value
        values[0] = zlib.decompress(values[0], wbits=31)
    return example.SerializeToString(deterministic=True)
