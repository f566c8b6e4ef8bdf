"""Records read inside the graph, by their places in the shards; the checksum of each is compared on every read."""

import contextlib
import re

import tensorflow as tf

from mcc_keras.errors import RecordError
from mcc_keras.records.damage import AGAIN
from mcc_keras.records.example import FRAME, frame_record

_UNBUFFERED = 0  # a record is read with one call, without a copy through a buffer
_DAMAGED = re.compile(r"the record of case (\S+) in (.+?) is damaged or gone")


def record_reader(records, *, keep=None):
    """Return a function from a case's number to a data set of its one serialized record.

    A record that does not have its checksum, or whose shard is gone, is an error of TensorFlow that names case and
    shard; `record_errors` makes it a `RecordError`.

    Args:
        records: `Record`s.
        keep: Something to keep alive as long as the function is.
    """
    ids, paths, positions, _ = zip(*records, strict=True)
    starts = tf.constant([position - FRAME[0] for position in positions], tf.int64)
    ids, paths = tf.constant(ids), tf.constant(paths)

    def read(case):
        # `tf.data.TFRecordDataset` begins at the first byte of a file; its operation begins anywhere.
        shard = tf.raw_ops.TFRecordDatasetV2(
            filenames=paths[case],
            compression_type="",
            buffer_size=tf.constant(_UNBUFFERED, tf.int64),
            byte_offsets=starts[case],
        )
        record = tf.data.experimental.from_variant(shard, tf.TensorSpec((), tf.string)).take(1).ignore_errors()
        damaged = tf.data.Dataset.from_tensors((ids[case], paths[case])).map(_refuse)
        return record.concatenate(damaged).take(1)

    read.keep = keep
    return read


@contextlib.contextmanager
def record_errors():
    """Raise `RecordError` for an error of TensorFlow that a damaged record has caused in the block.

    Example:

    >>> with record_errors():
    ...     raise tf.errors.InvalidArgumentError(None, None, "the record of case a7 in work/x is damaged or gone")
    Traceback (most recent call last):
    mcc_keras.errors.RecordError: work/x: expected the record of case a7 as it was written, found it damaged or gone...
    """
    try:
        yield
    except tf.errors.OpError as error:
        found = _DAMAGED.search(error.message)
        if found is None:
            raise
        raise _damage(*found.groups()) from error


def read_payload(record):
    """Return the bytes of a `Record`, its checksum compared.

    Raises:
        RecordError: The record is damaged, or its shard is gone.
    """
    before, behind = FRAME
    try:
        with open(record.path, "rb") as file:
            file.seek(record.position - before)
            frame = file.read(before + record.bytes + behind)
    except OSError:
        raise _damage(record.case_id, record.path) from None
    payload = frame[before : before + record.bytes]
    head, tail = frame_record(payload)
    if frame != head + payload + tail:
        raise _damage(record.case_id, record.path)
    return payload


def _refuse(case_id, path):
    text = tf.strings.join(["the record of case ", case_id, " in ", path, " is damaged or gone"])
    with tf.control_dependencies([tf.debugging.Assert(tf.constant(False), [text])]):
        return tf.constant("")


def _damage(case_id, path):
    problem = f"expected the record of case {case_id} as it was written, found it damaged or gone"
    return RecordError(path, problem, AGAIN)
