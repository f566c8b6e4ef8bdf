"""The affine of a NIfTI header in a TensorFlow graph, by the rule of `formats.geometry`."""

import itertools

import numpy as np
import tensorflow as tf

from mcc_keras.formats.geometry import NEAR_FORMS

_CORNERS = np.array(list(itertools.product((0, 1), repeat=3)), np.float64)
_LAST_ROW = np.array([0.0, 0, 0, 1])
_QUATERNION_STEP = 1e-6
# Below these a real part of a quaternion counts as 0: three steps of float32 for NIfTI-1, of float64 for NIfTI-2.
_REAL_STEPS = (3 * float(np.finfo(np.float32).eps), 3 * float(np.finfo(np.float64).eps))
_CONFLICT = "expected sform and qform to agree, found corners {} voxels apart"


def graph_affine(header, *, which):
    """Return (affine, problems): float64 (4, 4) in mm, and pairs (bool, text).

    Args:
        header: `GraphHeader` of a valid shape.
        which: `"sform"` or `"qform"` where the header has both; None: they must agree.
    """
    shape = header.dims[:3]
    steps = header.number("pixdim")[1:4]
    steps = tf.where((shape == 1) & (steps == 0), tf.ones_like(steps), steps)
    has_sform, has_qform = header.integer("sform_code")[0] > 0, header.integer("qform_code")[0] > 0
    use_sform = has_sform & ~has_qform if which == "qform" else has_sform
    use_qform = has_qform & ~use_sform
    compared = has_sform & has_qform & has_steps(steps) if which is None else tf.constant(False)
    sform, (qform, valid) = _sform(header), _qform(header, steps)
    apart = corner_displacement(sform, _without_rounding(qform, sform, header), shape)
    found = tf.where(use_sform, sform, tf.where(use_qform, qform, _base(shape, steps)))
    matrix = tf.concat([found[:3] * _mm_per_unit(header), found[3:]], axis=0)
    no_steps = rounded_text("expected voxel sizes above 0 in pixdim, found {}", steps)
    problems = (
        *(_when(use_sform, each) for each in bad_affine(sform)),
        (~use_sform & ~has_steps(steps), no_steps),
        ((use_qform | compared) & ~valid, "expected a valid affine in the qform, found none"),
        *(_when(use_qform | compared, each) for each in bad_affine(qform)),
        (compared & ~(apart <= NEAR_FORMS), rounded_text(_CONFLICT, apart)),
        *bad_affine(matrix),
    )
    return matrix, problems


def has_steps(steps):
    """Return whether three voxel sizes are finite and above 0."""
    return tf.reduce_all((steps > 0) & tf.math.is_finite(steps))


def bad_affine(matrix):
    """Return what is wrong with an affine, as pairs (bool, text); see `geometry.refuse_bad_affine`."""
    finite = tf.reduce_all(tf.math.is_finite(matrix))
    spacing = tf.norm(matrix[:3, :3], axis=0)
    near_0 = ~tf.reduce_all((spacing > 1e-6) & (spacing < 1e6))
    volume = tf.abs(_determinant(matrix[:3, :3] / tf.where(spacing > 0, spacing, tf.ones_like(spacing))))
    return (
        (~finite, "expected a finite 4 x 4 affine, found NaN or infinite numbers"),
        (near_0, rounded_text("expected spacings above 0 mm, found {}", spacing)),
        (~(volume >= 1e-3), "expected three independent axes, found a singular affine"),
    )


def corner_displacement(affine, other, shape):
    """Return how far, in voxels, the corners of a volume lie apart; infinite where `affine` cannot be inverted.

    Args:
        affine: float64 (4, 4).
        other: float64 (4, 4).
        shape: int64 (3,).
    """
    axes = affine[:3, :3] / tf.norm(affine[:3, :3], axis=0)
    usable = tf.reduce_all(tf.math.is_finite(affine)) & (tf.abs(_determinant(axes)) > 1e-6)
    safe = tf.where(usable, affine[:3, :3], tf.eye(3, dtype=tf.float64))
    corners = _CORNERS * tf.cast(shape - 1, tf.float64)
    moved = tf.linalg.matmul((other - affine)[:3, :3], corners, transpose_b=True) + (other - affine)[:3, 3:]
    apart = tf.reduce_max(tf.abs(tf.linalg.matmul(tf.linalg.inv(safe), moved)))
    return tf.where(usable, apart, np.float64(np.inf))


def rounded_text(template, values):
    """Return text with numbers to three decimal places."""
    return tf.strings.format(template, tf.round(values * 1e3) / 1e3)


def _when(condition, problem):
    return condition & problem[0], problem[1]


def _determinant(matrix):
    a, b, c = tf.unstack(matrix, axis=1)
    return tf.reduce_sum(tf.linalg.cross(a, b) * c)


def _matrix(rotation, moved):
    return tf.concat([tf.concat([rotation, moved[:, None]], axis=1), _LAST_ROW[None]], axis=0)


def _sform(header):
    return tf.stack([*(header.number(f"srow_{axis}") for axis in "xyz"), _LAST_ROW])


def _qform(header, steps):
    """Return the qform, and whether its quaternion is one."""
    x, y, z = (header.number(f"quatern_{name}")[0] for name in "bcd")
    left = 1 - (x * x + y * y + z * z)
    none = tf.abs(left) < tf.where(header.second, np.float64(_REAL_STEPS[1]), np.float64(_REAL_STEPS[0]))
    w = tf.where(none, np.float64(0), tf.sqrt(tf.where(none, np.float64(0), left)))
    s = 2 / (w * w + x * x + y * y + z * z)
    rows = (
        (1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)),
        (s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x)),
        (s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y)),
    )
    hand = tf.where(header.number("pixdim")[0] < 0, np.float64(-1), np.float64(1))
    rotation = tf.reshape(tf.stack([each for row in rows for each in row]), (3, 3))
    offsets = tf.concat([header.number(f"qoffset_{axis}") for axis in "xyz"], axis=0)
    return _matrix(rotation * steps * tf.stack([np.float64(1), np.float64(1), hand]), offsets), none | ~(left < 0)


def _base(shape, steps):
    zooms = steps * np.array([-1.0, 1, 1])
    return _matrix(tf.linalg.diag(zooms), -tf.cast(shape - 1, tf.float64) / 2 * zooms)


def _mm_per_unit(header):
    unit = tf.bitwise.bitwise_and(header.integer("xyzt_units")[0], 7)
    return tf.where(unit == 1, np.float64(1000), tf.where(unit == 3, np.float64(0.001), np.float64(1)))


def _without_rounding(qform, sform, header):
    """Return the qform with the rotation of the sform where their quaternions agree; see `geometry`."""
    zooms, lengths = tf.norm(qform[:3, :3], axis=0), tf.norm(sform[:3, :3], axis=0)
    axes = sform[:3, :3] / lengths
    usable = tf.reduce_all(tf.math.is_finite(axes))
    _, u, v = tf.linalg.svd(tf.where(usable, axes, tf.eye(3, dtype=tf.float64)))
    rotation = tf.linalg.matmul(u, v, transpose_b=True)
    expected = _imaginary(rotation * tf.stack([np.float64(1), np.float64(1), tf.sign(_determinant(rotation))]))
    stored = tf.concat([header.number(f"quatern_{name}") for name in "bcd"], axis=0)
    difference = tf.minimum(tf.reduce_max(tf.abs(stored - expected)), tf.reduce_max(tf.abs(stored + expected)))
    one_hand = _determinant(sform[:3, :3]) * _determinant(qform[:3, :3]) > 0
    replaced = _matrix(rotation * zooms, qform[:3, 3])
    return tf.where(usable & one_hand & (difference <= _QUATERNION_STEP), replaced, qform)


def _imaginary(rotation):
    """Return x, y, z of the unit quaternion of a rotation, of either sign."""
    (a, b, c), (d, e, f), (g, h, i) = (tf.unstack(row) for row in tf.unstack(rotation))
    # 4 times the products of the parts (w, x, y, z) of the quaternion with each other.
    products = tf.stack(
        [
            [1 + a + e + i, h - f, c - g, d - b],
            [h - f, 1 + a - e - i, b + d, c + g],
            [c - g, b + d, 1 - a + e - i, f + h],
            [d - b, c + g, f + h, 1 - a - e + i],
        ]
    )
    row = tf.gather(products, tf.argmax(tf.linalg.diag_part(products)))
    return row[1:] / tf.norm(row)
