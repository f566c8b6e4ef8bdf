"""A record as bytes: a `tf.train.Example` and its frame in a TFRecord, both without TensorFlow.

An Example is a protocol buffer: fields of tag, length and content, nested. The voxels are joined into it once.
"""

import struct

import google_crc32c

FRAME = 12, 4  # bytes before and after a payload
_MASK_DELTA = 0xA282EAD8


def encode_example(case):
    """Return the bytes of an `EncodedCase` as `tf.train.Example`, its features as protobuf orders them.

    Example:

    >>> from mcc_keras.records.encoding import EncodedCase
    >>> case = EncodedCase("a", b"image", b"mask", image_dtype="uint8", shape=(1, 1, 5, 1), spacing_mm=(1, 1, 1))
    >>> encode_example(case)[:21]
    b'\\n\\x85\\x01\\n\\x10\\n\\x07case_id\\x12\\x05\\n\\x03\\n\\x01a'
    """
    features = {
        "case_id": _bytes(case.case_id.encode()),
        "image_dtype": _bytes(case.image_dtype.encode()),
        "image": _bytes(case.image),
        "mask": _bytes(case.mask),
        "shape": _field(3, _field(1, [b"".join(map(_varint, case.shape))])),
        "spacing_mm": _field(2, _field(1, [struct.pack("<3f", *case.spacing_mm)])),
    }
    entries = [_field(1, [*_field(1, [name.encode()]), *_field(2, value)]) for name, value in features.items()]
    return b"".join(_field(1, [part for entry in entries for part in entry]))


def frame_record(payload):
    """Return the bytes before and after a payload in a TFRecord: length and checksums."""
    length = struct.pack("<Q", len(payload))
    return length + struct.pack("<I", masked_crc32c(length)), struct.pack("<I", masked_crc32c(payload))


def masked_crc32c(data):
    """Return the CRC-32C of bytes as TFRecords store it: rotated and shifted, since records may hold checksums.

    Example:

    >>> hex(masked_crc32c(b"123456789"))
    '0xc78ab0e5'
    """
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def _bytes(content):
    return _field(1, _field(1, [content]))


def _field(number, parts):
    """Return a length-delimited field as a list of its parts, so that large ones are not copied on every level."""
    return [bytes([number << 3 | 2]) + _varint(sum(map(len, parts))), *parts]


def _varint(number):
    """Return an integer as a varint: seven bits per byte, the lowest first."""
    groups = bytearray()
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])
