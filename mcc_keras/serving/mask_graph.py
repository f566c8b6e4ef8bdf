"""A mask in a TensorFlow graph as the bytes of a NIfTI file on the grid of its scan."""

import numpy as np
import tensorflow as tf

from mcc_keras.serving.nifti_graph_header import HEAD_BYTES, HEADERS, GraphHeader, place

_COPIED = ("qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
_COPIED += ("sform_code", "srow_x", "srow_y", "srow_z")  # the geometry of `geometry.header_like`, byte for byte
_EXTENSION = 4  # zeros behind the header: there is none


def mask_bytes(mask, head, *, description):
    """Return the bytes of a whole uncompressed `.nii` file, in the byte order and version of the scan's.

    Its voxels and geometry are those that `write_mask` writes; all other fields of the header are as in a new one, but
    `descrip`.

    Args:
        mask: uint8 or uint16 (x, y, z).
        head: uint8 (540,), the first bytes of the scan's file.
        description: Text of up to 79 bytes for `descrip`.
    """
    header = GraphHeader(head, tf.constant(HEAD_BYTES, tf.int64))
    steps = header.number("pixdim")[:4]
    only = tf.concat([[False], (tf.shape(mask) == 1) & (steps[1:] == 0)], axis=0)
    hand = tf.where(steps[:1] < 0, np.float64([-1]), np.float64([1]))
    fields = (
        ("dim", 1, tf.shape(mask)),
        ("pixdim", 0, tf.concat([hand, tf.where(only, tf.ones_like(steps), steps)[1:]], axis=0)),
        ("xyzt_units", 0, tf.bitwise.bitwise_and(header.integer("xyzt_units"), 7)),
    )

    def begin(version):
        new = [_new(version, order, mask.dtype, description=description) for order in "><"]
        pieces = {place(version, name)[0]: header.bytes[slice(*place(version, name))] for name in _COPIED}
        for name, first, values in fields:
            item = HEADERS[version].template_dtype[name].base
            pieces[place(version, name)[0] + first * item.itemsize] = _encoded(values, item, header)
        return _string(_overwritten(tf.where(header.big, *new), pieces))

    start = tf.cond(header.second, lambda: begin(1), lambda: begin(0))
    return tf.strings.join([start, _string(_voxels(mask, header))])


def _voxels(mask, header):
    flat = tf.reshape(tf.transpose(mask), [-1])  # the first axis is the fastest
    if mask.dtype == tf.uint8:
        return flat
    return tf.reshape(_swapped(tf.bitcast(flat, tf.uint8), header), [-1])


def _overwritten(values, pieces):
    """Return uint8 (n,) with pieces of known lengths written over it, by the place where each begins."""
    parts, place = [], 0
    for begin in sorted(pieces):
        parts += [values[place:begin], pieces[begin]]
        place = begin + pieces[begin].shape[0]
    return tf.concat([*parts, values[place:]], axis=0)


def _encoded(values, item, header):
    values = tf.cast(values, tf.as_dtype(item.name))
    return values if item.itemsize == 1 else tf.reshape(_swapped(tf.bitcast(values, tf.uint8), header), [-1])


def _new(version, order, dtype, *, description):
    """Return the bytes of a new header of a mask, which does not know yet where it lies, as uint8 (n,)."""
    header = HEADERS[version](endianness=order)
    header.set_data_dtype(dtype.as_numpy_dtype)
    header.set_data_shape((1, 1, 1))
    header.set_slope_inter(1, 0)
    header["descrip"] = description.encode()[:79]
    header["vox_offset"] = int(header["sizeof_hdr"]) + _EXTENSION
    return np.frombuffer(header.binaryblock + bytes(_EXTENSION), np.uint8)


def _swapped(values, header):
    """Return bytes (n, size of a value) in the order of the file."""
    return tf.where(header.big, values[:, ::-1], values)


def _string(values):
    """Return uint8 (n,) as a string: the end of the message that holds them, without a copy for each byte."""
    message = tf.io.serialize_tensor(values)
    size = tf.size(values)
    return tf.strings.substr(message, tf.strings.length(message) - size, size)
