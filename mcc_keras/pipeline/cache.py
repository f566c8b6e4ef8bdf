"""Where the records of a part are read from: their shards, a copy in memory, or an uncompressed copy on disk.

A copy holds the records uncompressed and not augmented, each in the smallest exact type of its voxels, which takes a
quarter to a half of what float32 would. Cases are looked up in any order, so that every epoch can have its own.
"""

import atexit
import shutil
import tempfile
import zlib
from pathlib import Path

import tensorflow as tf

from mcc_keras.errors import EnvironmentFailure, UsageError
from mcc_keras.memory import free_memory

CACHES = (None, "memory", "disk", "auto")
SHARE = 0.5  # of what is free, at most; the rest is for the network and for what is in flight


def open_records(manifest, part, *, cache=None):
    """Return a function from a case's number to a data set of its one serialized record, and the records' compression.

    Args:
        manifest: `Manifest`.
        part: Name of the part.
        cache: `None` reads the shards each time. `"memory"` and `"disk"` copy the part first, uncompressed, `"disk"`
            into a temporary folder that goes when the process ends. `"auto"` is memory if the copy takes no more than
            half of what is free; else, of compressed records, disk on the same condition; else `None`.

    Raises:
        EnvironmentFailure: The copy would take more than half of the free memory or disk.
    """
    records, needed = manifest.records(part), estimate_bytes(manifest, part)
    free = {"memory": free_memory(), "disk": shutil.disk_usage(tempfile.gettempdir()).free}
    cache = choose_cache(cache, needed, free=free, compressed=bool(manifest.compression))
    if cache is None:
        return _reader(records), manifest.compression
    copies = (_uncompressed(_bytes_of(record), manifest.compression) for record in records)
    return (_keep(copies, len(records)) if cache == "memory" else _reader(_write(copies))), None


def choose_cache(cache, needed, *, free, compressed):
    """Return `"memory"`, `"disk"` or `None`: what `"auto"` stands for, or what was asked for, if it fits.

    Args:
        cache: One of `CACHES`.
        needed: Bytes of the copy.
        free: Dict of the free bytes in `"memory"` and on `"disk"`.
        compressed: Whether the records are; a copy on disk of others is no faster.

    Example:

    >>> choose_cache("auto", 60, free={"memory": 100, "disk": 1000}, compressed=True)
    'disk'
    """
    if cache not in CACHES:
        raise UsageError(f"Expected one of {', '.join(map(repr, CACHES))}. Received: cache={cache!r}.")
    if cache == "auto":
        kinds = ("memory", "disk") if compressed else ("memory",)
        return next((kind for kind in kinds if needed <= SHARE * free[kind]), None)
    if cache is not None and needed > SHARE * free[cache]:
        problem = f"a copy of the records takes {needed:,} bytes, more than half of the {free[cache]:,} that are free"
        raise EnvironmentFailure(f"cache={cache!r}: {problem}. Choose 'auto', which takes what fits.")
    return cache


def estimate_bytes(manifest, part):
    """Return how many bytes the uncompressed records of a part take; of compressed ones, the most they can take."""
    if not manifest.compression:
        return sum(length for _, _, length, _ in manifest.records(part))
    x, y, z, channels = manifest.image_shape
    return manifest.counts[part] * x * y * z * (4 * channels + 1)


def _reader(records):
    paths, *spans = zip(*records, strict=True)
    paths, spans = tf.constant(paths), [tf.constant(span, tf.int64) for span in spans]

    def read(case):
        before, length, behind = (span[case] for span in spans)
        return tf.data.FixedLengthRecordDataset(
            paths[case], record_bytes=length, header_bytes=before, footer_bytes=behind
        )

    return read


def _keep(copies, count):
    # A variable, since tf.data copies a constant into each of its graphs, which may not exceed 2 GiB.
    held = tf.Variable(tf.fill((count,), ""), trainable=False, name="records")
    for number, copy in enumerate(copies):
        held.scatter_update(tf.IndexedSlices(tf.constant([copy]), [number]))
    return lambda case: tf.data.Dataset.from_tensors(tf.gather(held, case))


def _write(copies):
    folder = tempfile.mkdtemp(prefix="mcc_keras_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    records = []
    for number, copy in enumerate(copies):
        path = Path(folder) / f"{number:06d}"
        path.write_bytes(copy)
        records.append((str(path), 0, len(copy), 0))
    return records


def _bytes_of(record):
    path, before, length, _ = record
    with open(path, "rb") as file:
        file.seek(before)
        return file.read(length)


def _uncompressed(serialized, compression):
    if not compression:
        return serialized
    example = tf.train.Example.FromString(serialized)
    for name in ("image", "mask"):
        values = example.features.feature[name].bytes_list.value
        values[0] = zlib.decompress(values[0], wbits=31)
    return example.SerializeToString(deterministic=True)
