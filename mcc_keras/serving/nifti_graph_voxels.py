"""Voxels of a NIfTI file in a TensorFlow graph: gzip within limits, every type and byte order, scaling."""

import numpy as np
import tensorflow as tf

from mcc_keras.formats.streams import DEFLATE_LIMIT, RATIO_FREE_VOXELS
from mcc_keras.serving.nifti_graph_header import HEAD_BYTES, TYPES, first_problem

FIRST_PIECE = 1 << 16  # compressed bytes that are inflated to find the header: at most 68 MB
LARGEST_INFLATED = 1 << 30  # bytes
_GZIP = b"\x1f\x8b"
_SMALLEST = float(np.finfo(np.float32).tiny)
# `decode_raw` does not know these; bits are the same.
_SIGNED = {"uint32": tf.int32, "uint64": tf.int64}


def inflated(data):
    """Return the inflated bytes of a gzip stream, and none where it is damaged; a stream that is cut ends early.

    The operation fails as a whole on a damaged stream. As a step of a data set its failure is an element that is
    missing.
    """
    attempts = tf.data.Dataset.from_tensors(data).map(lambda each: tf.io.decode_compressed(each, "GZIP"))
    return attempts.ignore_errors().reduce(tf.constant(b""), lambda _, found: found)


def is_packed(data):
    """Return whether bytes begin as a gzip stream does."""
    return tf.strings.substr(data, 0, tf.minimum(tf.strings.length(data), 2)) == _GZIP


def head_of(data):
    """Return the first bytes inside a file, uint8 (540,), and how many bytes were found on the way, int64."""
    start = tf.strings.substr(data, 0, tf.minimum(tf.strings.length(data), FIRST_PIECE))
    start = tf.cond(is_packed(data), lambda: inflated(start), lambda: start)
    length = tf.strings.length(start)
    head = tf.io.decode_raw(tf.strings.substr(start, 0, tf.minimum(length, HEAD_BYTES)), tf.uint8)
    found = tf.cast(length, tf.int64)
    return tf.ensure_shape(tf.pad(head, [[0, HEAD_BYTES - tf.size(head)]]), HEAD_BYTES), found


def stream_problems(data, found):
    """Return what is wrong with the beginning of a file, as pairs (bool, text)."""
    text = "expected one whole gzip stream, found a damaged one or bytes behind its end"
    return ((is_packed(data) & (found == 0), text),)


def size_problems(data, found, header, *, max_ratio):
    """Return why a file cannot hold what its header promises, as pairs (bool, text), before anything is inflated.

    Args:
        data: Its bytes.
        found: How many bytes its beginning has inflated to.
        header: `GraphHeader`.
        max_ratio: Largest compression ratio of a file with more than 2²⁹ voxels.
    """
    packed, size = is_packed(data), tf.cast(tf.strings.length(data), tf.float64)
    needed = header.bytes_needed
    promised = tf.cast(_last_length(data), tf.float64)
    text = _numbers("expected {} bytes, found {}: the file is truncated", needed, size)
    other = _numbers("expected a gzip stream of {} bytes, found {} at its end", needed, promised)
    ratio = (needed > DEFLATE_LIMIT * size) | ((header.voxels > RATIO_FREE_VOXELS) & (needed > max_ratio * size))
    return (
        (~packed & (needed > size), text),
        (packed & (needed > LARGEST_INFLATED), f"expected at most {LARGEST_INFLATED} bytes after inflating"),
        (packed & ratio, _numbers("expected {} bytes, which {} compressed bytes cannot hold", needed, size)),
        (packed & ((needed != promised) | (tf.cast(found, tf.float64) > needed)), other),
    )


def plain_bytes(data, header):
    """Return (bytes, problem): the file inflated, if it is compressed, and text where its length is another."""

    def unpack():
        plain = inflated(data)
        length = tf.cast(tf.strings.length(plain), tf.float64)
        right = length == header.bytes_needed
        text = "expected a whole gzip stream of {} bytes, found a damaged one or one that inflates to {}"
        return plain, tf.where(right, "", _numbers(text, header.bytes_needed, length))

    return tf.cond(is_packed(data), unpack, lambda: (data, tf.constant("")))


def _last_length(data):
    """Return the last four bytes as an integer: of a gzip stream, how many bytes it inflates to."""
    last = tf.io.decode_raw(tf.strings.substr(data, tf.maximum(tf.strings.length(data) - 4, 0), 4), tf.uint8)
    last = tf.cast(tf.pad(last, [[0, 4 - tf.size(last)]]), tf.int64)
    return tf.reduce_sum(last * np.int64([1, 1 << 8, 1 << 16, 1 << 24]))


def _numbers(template, *values):
    """Return text with whole numbers, which are float64."""
    return tf.strings.format(template, [tf.cast(tf.minimum(value, 2.0**62), tf.int64) for value in values])


def voxels_of(plain, header, *, nonfinite):
    """Return (voxels, problem): float32 (n,) in the order of the file, scaled, and text where they are refused.

    Args:
        plain: Bytes of a whole uncompressed file.
        header: Its `GraphHeader`, checked.
        nonfinite: `"error"` refuses NaN and infinite voxels, `"zero"` reads them as 0.
    """
    count = tf.cast(header.voxels, tf.int64) * header.item_bytes
    stored = tf.strings.substr(plain, tf.cast(header.offset, tf.int64), count)
    branches = [lambda name=name: _values(stored, name, header, nonfinite=nonfinite) for name in TYPES.values()]
    return tf.switch_case(header.type_index, branches)


def _values(stored, name, header, *, nonfinite):
    def decoded(little_endian):
        raw = tf.io.decode_raw(stored, _SIGNED.get(name, name), little_endian=little_endian)
        return tf.bitcast(raw, name) if name in _SIGNED else raw

    dtype = np.dtype(name)
    one_order = dtype.itemsize == 1
    raw = decoded(True) if one_order else tf.cond(header.big, lambda: decoded(False), lambda: decoded(True))
    wide = tf.float64 if name == "float64" else tf.float32

    def scaled():
        exact = tf.cast(raw, tf.float64) * header.slope + header.intercept
        return _checked(tf.cast(exact, wide), nonfinite)

    def as_stored():
        return _checked(raw, nonfinite) if dtype.kind == "f" else (tf.cast(raw, tf.float32), tf.constant(""))

    return tf.cond(header.scaled, scaled, as_stored)


def _checked(values, nonfinite):
    """Return (float32 values, problem): numbers below the smallest normal float32 are 0, others must be finite."""
    size = tf.abs(values)
    finite = size < np.inf
    values = tf.where(finite & ~(size < _SMALLEST), values, tf.zeros_like(values))
    problems = ()
    if nonfinite == "error":
        wrong = tf.size(finite, tf.int64) - tf.math.count_nonzero(finite)
        problems = ((wrong > 0, tf.strings.format("expected finite voxels, found {} NaN or infinite", wrong)),)
    if values.dtype == tf.float64:
        values = tf.cast(values, tf.float32)
        overflow = tf.reduce_any(tf.math.is_inf(values))
        problems += ((overflow, "expected values that float32 can hold, found larger ones"),)
    return values, first_problem(problems)
