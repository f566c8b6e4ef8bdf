"""Records read inside the graph, by their positions in the shards; the checksum of each is compared on every read."""

import contextlib

import tensorflow as tf

from mcc_keras.errors import DataError, RecordError, raise_all
from mcc_keras.records.damage import AGAIN
from mcc_keras.records.example import FRAME, frame_record

_UNBUFFERED = 0  # each record is read with one call, without a buffer
_ERRORS = (
    tf.errors.DataLossError,
    tf.errors.FailedPreconditionError,
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
)


def record_reader(records, *, keep=None):
    """Return a function from a case's number to a data set of its one serialized record, for `Dataset.flat_map`.

    Outside a function TensorFlow loses the place where such a data set begins. A record that does not have its
    checksum, or whose shard is gone or too short, is an error of TensorFlow; `record_errors` finds out which case it
    is.

    Args:
        records: `Record`s.
        keep: Object to keep alive as long as the function.
    """
    starts = tf.constant([record.position - FRAME[0] for record in records], tf.int64)
    paths = tf.constant([record.path for record in records])

    def read(case):
        # `tf.data.TFRecordDataset` starts at the first byte of a file; its operation takes an offset.
        shard = tf.raw_ops.TFRecordDatasetV2(
            filenames=paths[case],
            compression_type="",
            buffer_size=tf.constant(_UNBUFFERED, tf.int64),
            byte_offsets=starts[case],
        )
        record = tf.data.experimental.from_variant(shard, tf.TensorSpec((), tf.string)).take(1)
        return record.apply(tf.data.experimental.assert_cardinality(1))  # a shard may end before the offset

    read.keep = keep
    return read


@contextlib.contextmanager
def record_errors(manifest):
    """Raise `RecordError`, which names case and shard, for an error of TensorFlow that a damaged record has caused.

    `DataErrors` if there are several.

    Args:
        manifest: `Manifest` of the records that are read in the block.

    Example:

    >>> with record_errors(manifest=None):  # other errors stay what they are
    ...     raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
    Traceback (most recent call last):
    tensorflow.python.framework.errors_impl.ResourceExhaustedError: out of memory
    """
    try:
        yield
    except _ERRORS as error:
        try:
            raise_all(find_damaged(manifest))
        except DataError as found:
            raise found from error
        raise


def find_damaged(manifest):
    """Return a `RecordError` for each record of a `Manifest` that has changed since it was written."""
    problems = []
    for part, count in manifest.counts.items():
        for record in manifest.records(part) if count else ():
            try:
                read_payload(record)
            except RecordError as problem:
                problems.append(problem)
    return problems


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
    except OSError as error:
        raise _damage(record, error.strerror) from None
    payload = frame[before : before + record.bytes]
    head, tail = frame_record(payload)
    if frame != head + payload + tail:
        raise _damage(record, "other bytes")
    return payload


def _damage(record, found):
    problem = f"expected the record of case {record.case_id} as it was written, found: {found}"
    return RecordError(record.path, problem, AGAIN)
