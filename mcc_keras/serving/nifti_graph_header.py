"""Fields of a NIfTI header in a TensorFlow graph, and the checks of `formats.nifti` on them."""

import nibabel as nib
import numpy as np
import tensorflow as tf

HEAD_BYTES = 540  # of NIfTI-2; those of NIfTI-1 are the first 348
HEADERS = (nib.Nifti1Header, nib.Nifti2Header)
# By their place in this list a graph knows the types; a code of the standard, and the number of bytes.
TYPES = {2: "uint8", 4: "int16", 8: "int32", 16: "float32", 64: "float64", 256: "int8", 512: "uint16", 768: "uint32"}
TYPES |= {1024: "int64", 1280: "uint64"}
ITEM_BYTES = tuple(np.dtype(name).itemsize for name in TYPES.values())


class GraphHeader:
    """A header of either version and byte order, as tensors.

    Args:
        head: uint8 (540,), the first bytes of a file, with zeros behind where it has fewer.
        length: int64 scalar, how many bytes the file has.
    """

    def __init__(self, head, length):
        self.bytes, self.length, self._fields = head, length, {}
        sizes = [tf.bitcast(order, tf.int32) for order in (head[:4], head[3::-1])]
        known = [((size == 348) & (length >= 348)) | ((size == 540) & (length >= 540)) for size in sizes]
        self.known, self.big = known[0] | known[1], ~known[0]
        self.second = tf.where(known[0], sizes[0], sizes[1]) == HEAD_BYTES
        self.rank = self.integer("dim")[0]
        self.dims = tf.where(tf.range(7) < tf.cast(self.rank, tf.int32), self.integer("dim")[1:], 1)
        code = self.integer("datatype")[0]
        self.type_index = tf.argmax(tf.constant(list(TYPES), tf.int64) == code, output_type=tf.int32)
        self.code, self.item_bytes = code, tf.gather(tf.constant(ITEM_BYTES, tf.int64), self.type_index)
        self.voxels = tf.reduce_prod(tf.cast(self.dims, tf.float64))
        self.offset = self.number("vox_offset")[0]
        self.slope, self.intercept = self.number("scl_slope")[0], self.number("scl_inter")[0]
        plain = (self.slope == 0) | tf.math.is_nan(self.slope) | ((self.slope == 1) & (self.intercept == 0))
        self.scaled = ~plain

    @property
    def bytes_needed(self):
        """float64 scalar, how many bytes a file must have, which may be more than an integer holds."""
        return self.offset + self.voxels * tf.cast(self.item_bytes, tf.float64)

    def integer(self, name):
        """Return a field as int64, one value or more."""
        return self._field(name, tf.int64)

    def number(self, name):
        """Return a field as float64, one value or more."""
        return self._field(name, tf.float64)

    def _field(self, name, dtype):
        if name not in self._fields:
            first, second = (tf.cast(self._stored(version, name), dtype) for version in (0, 1))
            self._fields[name] = tf.where(self.second, second, first)
        return self._fields[name]

    def _stored(self, version, name):
        kind, found = HEADERS[version].template_dtype[name].base, self._little_endian(version, name)
        return found[:, 0] if kind.itemsize == 1 else tf.bitcast(found, tf.as_dtype(kind.name))

    def _little_endian(self, version, name):
        """Return the bytes of each value of a field, (n, size of a value)."""
        size = HEADERS[version].template_dtype[name].base.itemsize
        found = tf.reshape(self.bytes[slice(*place(version, name))], (-1, size))
        return tf.where(self.big, found[:, ::-1], found)

    def _is_subnormal(self, name):
        """Whether a number is so small that a graph takes it for 0, whereas its bits are none."""
        bits = [self._little_endian(version, name)[0] for version in (0, 1)]
        some = [tf.reduce_any(each[:-1] != 0) | (tf.bitwise.bitwise_and(each[-1], 0x7F) != 0) for each in bits]
        return (self.number(name)[0] == 0) & tf.where(self.second, some[1], some[0])

    def problems(self, channels, max_voxels):
        """Return what is wrong, in the order of reading: pairs (bool, text).

        Args:
            channels: int64 scalar, how many a voxel of the file must have.
            max_voxels: Largest number of voxels, channels included.
        """
        shape = _text("expected a volume (x, y, z) of {} channels, found shape {}", channels, self.dims)
        scaling = _text("expected finite scaling, found scl_slope={} and scl_inter={}", self.slope, self.intercept)
        return (
            (~self.known, f"expected a NIfTI header of 348 or {HEAD_BYTES} bytes, found none"),
            (~self._has_magic(), "expected the magic of a NIfTI file, found none"),
            ((self.rank < 1) | (self.rank > 7), _text("expected 1 to 7 dimensions, found {}", self.rank)),
            (~self._has_type(), _text("expected integer or real voxels, found data type {}", self.code)),
            (~self._has_bits(), _text("expected {} bits per voxel, found {}", self.item_bytes * 8, self._bits())),
            (tf.reduce_any(self.dims < 1), _text("expected at least one voxel along each axis, found {}", self.dims)),
            (self.voxels > max_voxels, _text(f"expected at most {max_voxels} voxels, found shape {{}}", self.dims)),
            (~self._has_offset(), _text("expected voxels behind the header, found vox_offset={}", self.offset)),
            (~self._has_shape(channels), shape),
            (self.scaled & ~self._has_scaling(), scaling),
            (self._has_tiny_scaling(), "expected a slope and an intercept of 0 or of normal size, found a tiny one"),
        )

    def _has_magic(self):
        def either(version, start, magic):
            found = self.bytes[start : start + len(magic)]
            pair = magic.replace(b"+", b"i")
            return tf.reduce_any([tf.reduce_all(found == np.frombuffer(each, np.uint8)) for each in (magic, pair)])

        return tf.where(self.second, either(1, 4, b"n+2\0\r\n\x1a\n"), either(0, 344, b"n+1\0"))

    def _has_type(self):
        return tf.reduce_any(tf.constant(list(TYPES), tf.int64) == self.code)

    def _bits(self):
        return self.integer("bitpix")[0]

    def _has_bits(self):
        return (self._bits() == 0) | (self._bits() == self.item_bytes * 8)

    def _has_offset(self):
        least = tf.where(self.second, np.float64(544), np.float64(352))
        return tf.math.is_finite(self.offset) & (self.offset >= least) & (self.offset == tf.floor(self.offset))

    def _has_scaling(self):
        return tf.math.is_finite(self.slope) & tf.math.is_finite(self.intercept)

    def _has_tiny_scaling(self):
        return self._is_subnormal("scl_slope") | self._is_subnormal("scl_inter")

    def _has_shape(self, channels):
        """By the rule of `volumes`: channels are the fourth axis, or the fifth of five where the fourth has one."""
        fourth, fifth, rest = self.dims[3], self.dims[4], tf.reduce_prod(self.dims[4:])
        several = (self.rank >= 4) & (fourth == channels) & (rest == 1)
        several |= (self.rank == 5) & (fourth == 1) & (fifth == channels)
        one = (self.rank >= 3) & (fourth == 1) & (rest == 1)
        return tf.where(channels == 1, one, several)


def place(version, name):
    """Return where the bytes of a field begin and end; version 0 is NIfTI-1, 1 is NIfTI-2.

    >>> place(0, "pixdim"), place(1, "pixdim")
    ((76, 108), (104, 168))
    """
    kind, start = HEADERS[version].template_dtype.fields[name][:2]
    return start, start + kind.itemsize


def first_problem(problems):
    """Return the text of the first pair (bool, text) that is true, or an empty one."""
    text = tf.constant("")
    for wrong, words in reversed(problems):
        text = tf.where(wrong, words, text)
    return text


def _text(template, *values):
    return tf.strings.format(template, values, summarize=8)
