"""One record, a `tf.train.Example`, read inside the graph."""

import tensorflow as tf

from mcc_keras.records.encoding import WHOLE


def parse_example(serialized, image_shape, *, compression=None):
    """Read one record inside a TensorFlow graph.

    Args:
        serialized: Scalar string tensor, a `tf.train.Example`.
        image_shape: (x, y, z, channels), known from the manifest; sides that are `None` are read from the record.
        compression: `"gzip"` or `None`, known from the manifest.

    Returns:
        Dict of tensors: `image` float32 of `image_shape`, `mask` uint8 (x, y, z), `spacing_mm` float32 (3,), `case_id`.
    """
    differs = None in image_shape
    features = {
        "image": tf.io.FixedLenFeature((), tf.string),
        "image_dtype": tf.io.FixedLenFeature((), tf.string),
        "mask": tf.io.FixedLenFeature((), tf.string),
        "spacing_mm": tf.io.FixedLenFeature((3,), tf.float32),
        "case_id": tf.io.FixedLenFeature((), tf.string),
    } | ({"shape": tf.io.FixedLenFeature((4,), tf.int64)} if differs else {})
    example = tf.io.parse_single_example(serialized, features)
    dtype = example.pop("image_dtype")
    if compression:
        example |= {name: tf.io.decode_compressed(example[name], compression.upper()) for name in ("image", "mask")}
    raw = example["image"]
    branches = [(tf.equal(dtype, name), lambda name=name: _decoded(raw, name)) for name in WHOLE]
    image = tf.case(branches, default=lambda: _decoded(raw, "float32"))
    shape = example.pop("shape") if differs else image_shape
    example["image"] = tf.ensure_shape(tf.reshape(image, shape), image_shape)
    mask = tf.reshape(tf.io.decode_raw(example["mask"], tf.uint8), shape[:3])
    example["mask"] = tf.ensure_shape(mask, image_shape[:3])
    return example


def _decoded(raw, dtype):
    return tf.cast(tf.io.decode_raw(raw, tf.dtypes.as_dtype(dtype)), tf.float32)
