"""Records as NumPy arrays, without a graph: for a few passes, TensorFlow would take longer to trace than to read."""

import zlib
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mcc_keras.pipeline.reading import read_payload

_GZIP = 31  # zlib's name for it


class RecordArrays(NamedTuple):
    """One record.

    Args:
        case_id: Id of the case.
        image: float32 (x, y, z, channels), or `None` where it was not asked for.
        mask: uint8 (x, y, z), classes from 0.
        spacing_mm: Three floats.
    """

    case_id: str
    image: np.ndarray | None
    mask: np.ndarray
    spacing_mm: tuple


def read_arrays(manifest, part, *, images=True):
    """Yield the `RecordArrays` of each case of a part, in the order of ids.

    Args:
        manifest: `Manifest`.
        part: Name of the part.
        images: Whether images are read as well as masks.

    Raises:
        RecordError: A record is damaged.
    """
    for record in manifest.records(part):
        features = tf.train.Example.FromString(read_payload(record)).features.feature

        def values(name, dtype, features=features):
            data = features[name].bytes_list.value[0]
            return np.frombuffer(zlib.decompress(data, wbits=_GZIP) if manifest.compression else data, dtype)

        image = None
        if images:
            dtype = features["image_dtype"].bytes_list.value[0].decode()
            image = values("image", dtype).astype(np.float32).reshape(*record.shape, -1)
        mask = values("mask", np.uint8).reshape(record.shape)
        yield RecordArrays(record.case_id, image, mask, tuple(features["spacing_mm"].float_list.value))
