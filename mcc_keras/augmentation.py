"""3-D augmentation inside the TensorFlow graph: stateless, and one interpolation a volume.

Everything comes in pairs: `x(image, …)` is a pure function of its arguments, `random_x(seed, image, …)` draws them and
calls it. Spatial changes (flips, affine, elastic) only move sampling points; `resample` then reads image and mask once.

Contract: image float32 (x, y, z, channels); mask integer (x, y, z, 1); points float32 (x, y, z, 3), in voxels; seed
integer (2,), as `tf.random.stateless_uniform` takes it; the shape is known when the graph is built.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from mcc_keras.errors import UsageError

CONTROL_POINTS = 5  # of elastic deformation and bias field, along each axis
ANISOTROPIC = 3.0  # from this ratio of voxel sizes on, rotation stays in the plane of the fine axes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What may happen to a training volume; call it with a seed, an image and its mask.

    Args:
        flip: For each axis (right–left, anterior–posterior, inferior–superior), whether it is flipped half of the time.
        rotation_degrees: Largest rotation about each axis, in [0, 180].
        scaling: Largest relative change of size, in [0, 1).
        translation: Largest shift as a share of the field of view, in [0, 1).
        elastic: Standard deviation of the shift of a control point, as a share of the field of view, in [0, 0.1].
        gamma: Largest change of the logarithm of γ, at least 0.
        contrast: Largest relative change of contrast, in [0, 1).
        brightness: Largest shift of all voxels, in standard deviations of the image.
        bias_field: Standard deviation of the logarithm of a smooth multiplicative field.
        noise: Largest standard deviation of added Gaussian noise, in standard deviations of the image.

    Example:

    >>> image, mask = tf.random.stateless_normal((8, 8, 8, 1), (1, 2)), tf.ones((8, 8, 8, 1), tf.uint8)
    >>> moved, moved_mask = Augmentation()((1, 2), image, mask, spacing_mm=(1.0, 1.0, 1.0))
    >>> tuple(moved.shape), moved_mask.dtype.name
    ((8, 8, 8, 1), 'uint8')
    """

    flip: tuple = (True, False, False)
    rotation_degrees: float = 12.0
    scaling: float = 0.12
    translation: float = 0.05
    elastic: float = 0.02
    gamma: float = 0.3
    contrast: float = 0.15
    brightness: float = 0.15
    bias_field: float = 0.15
    noise: float = 0.1

    def __post_init__(self):
        object.__setattr__(self, "flip", tuple(bool(flip) for flip in self.flip))
        if len(self.flip) != 3:
            raise UsageError(f"Expected three truth values. Received: flip={self.flip}.")
        limits = {"rotation_degrees": 180, "scaling": 0.99, "translation": 0.99, "elastic": 0.1, "contrast": 0.99}
        for field in dataclasses.fields(self)[1:]:
            value, most = getattr(self, field.name), limits.get(field.name, np.inf)
            if not 0 <= value <= most:
                raise UsageError(f"Expected a value in [0, {most}]. Received: {field.name}={value!r}.")

    @property
    def flip_axes(self):
        """Axes that may be flipped."""
        return tuple(axis for axis in range(3) if self.flip[axis])

    def to_dict(self):
        """Return the settings as a dict of plain values."""
        return dataclasses.asdict(self)

    def __call__(self, seed, image, mask, *, spacing_mm):
        """Return the changed image and mask, of the same shapes and types."""
        # On a CPU the compiled form is many times faster than one kernel an operation; it is compiled once a shape.
        return _augment(tf.convert_to_tensor(seed), image, mask, tf.convert_to_tensor(spacing_mm), policy=self)


@tf.function(jit_compile=True)
def _augment(seed, image, mask, spacing_mm, *, policy):
    flips, place, bend, light, field, grain = tf.unstack(tf.random.split(seed, 6))
    points = identity_points(image.shape[:3])
    points = random_elastic(bend, points, policy.elastic)
    points = random_affine(
        place,
        points,
        spacing_mm,
        rotation_degrees=policy.rotation_degrees,
        scaling=policy.scaling,
        translation=policy.translation,
    )
    points = random_flip(flips, points, policy.flip_axes)
    image, mask = resample(image, points), resample_nearest(mask, points)
    image = random_bias_field(field, image, policy.bias_field)
    image = random_intensity(light, image, gamma=policy.gamma, contrast=policy.contrast, brightness=policy.brightness)
    return random_noise(grain, image, policy.noise), mask


def identity_points(shape):
    """Return the points that sample every voxel where it is: (x, y, z, 3), in voxels."""
    axes = [tf.range(n, dtype=tf.float32) for n in shape]
    return tf.stack(tf.meshgrid(*axes, indexing="ij"), axis=-1)


def flip(points, flips):
    """Return points mirrored along the axes where `flips` (3,) is true."""
    last = _extent(points) - 1
    return tf.where(flips, last - points, points)


def random_flip(seed, points, axes):
    """Flip each of `axes` with probability one half."""
    allowed = tf.constant([axis in axes for axis in range(3)])
    return flip(points, allowed & (_uniform(seed, (3,), 0.0, 1.0) < 0.5))


def affine(points, matrix, shift):
    """Return points moved about the volume's centre: matrix (3, 3) and shift (3,), in voxels."""
    centre = (_extent(points) - 1) / 2
    return tf.linalg.matvec(matrix, points - centre) + centre + shift


def random_affine(seed, points, spacing_mm, *, rotation_degrees, scaling, translation):
    """Rotate, scale and shift in millimetres; in a strongly anisotropic volume rotate in the fine plane only."""
    turn, size, shift = tf.unstack(tf.random.split(seed, 3))
    degrees = _uniform(turn, (3,), -rotation_degrees, rotation_degrees)
    coarse = tf.reduce_max(spacing_mm)
    flat = coarse / tf.reduce_min(spacing_mm) >= ANISOTROPIC
    degrees = tf.where(flat & (spacing_mm < coarse), 0.0, degrees)
    zoom = tf.exp(_uniform(size, (3,), -1.0, 1.0) * np.log1p(scaling))
    rotation = _rotation(degrees * (np.pi / 180)) * zoom
    matrix = rotation * spacing_mm / spacing_mm[:, None]
    extent = _extent(points)
    return affine(points, matrix, _uniform(shift, (3,), -translation, translation) * extent)


def elastic(points, shifts):
    """Return points moved by a cubic B-spline whose control points move by shifts (n, n, n, 3), in voxels."""
    return points + smooth_field(shifts, points.shape[:3])


def random_elastic(seed, points, deviation):
    """Move the control points by normal shifts whose standard deviation is a share of the field of view."""
    extent = _extent(points)
    return elastic(points, _normal(seed, (CONTROL_POINTS,) * 3 + (3,)) * deviation * extent)


def smooth_field(controls, shape):
    """Return the cubic B-spline field (*shape, channels) of control values (n, n, n, channels)."""
    field = controls
    for axis, n in enumerate(shape):
        weights = tf.constant(_spline_weights(controls.shape[axis], n))
        field = tf.transpose(tf.tensordot(weights, field, [[1], [axis]]), np.argsort(_front(axis)))
    return field


def resample(image, points):
    """Return the image at the points, linear between voxels, the edge voxel outside: (*points.shape[:3], channels)."""
    last = tf.constant([n - 1 for n in image.shape[:3]])
    low, share, flat, strides = _neighbours(image, points)
    result = 0.0
    for corner in np.ndindex(2, 2, 2):
        weight = tf.reduce_prod(tf.where(tf.constant(corner) == 1, share, 1 - share), axis=-1, keepdims=True)
        voxel = tf.minimum(low + corner, last)
        result += weight * tf.gather(flat, tf.reduce_sum(voxel * strides, axis=-1))
    return result


def resample_nearest(mask, points):
    """Return the mask at the nearest voxel of the points, the edge voxel outside."""
    last = _extent(mask) - 1
    nearest = tf.cast(tf.round(tf.clip_by_value(points, 0.0, last)), tf.int32)
    flat = tf.reshape(mask, (-1, mask.shape[-1]))
    return tf.gather(flat, tf.reduce_sum(nearest * _strides(mask), axis=-1))


def intensity(image, *, gamma, contrast, brightness):
    """Return image with its range raised to γ, then multiplied about its mean and shifted; scalars or one a channel."""
    low, high = tf.reduce_min(image, axis=(0, 1, 2)), tf.reduce_max(image, axis=(0, 1, 2))
    span = tf.maximum(high - low, 1e-6)
    image = low + span * tf.pow(tf.clip_by_value((image - low) / span, 1e-6, 1.0), gamma)
    mean = tf.reduce_mean(image, axis=(0, 1, 2))
    return (image - mean) * contrast + mean + brightness


def random_intensity(seed, image, *, gamma, contrast, brightness):
    """Draw γ, contrast and brightness for every channel."""
    draws = _uniform(seed, (3, image.shape[-1]), -1.0, 1.0)
    return intensity(
        image, gamma=tf.exp(draws[0] * gamma), contrast=1 + draws[1] * contrast, brightness=draws[2] * brightness
    )


def bias_field(image, controls):
    """Return image times exp of a smooth field: controls (n, n, n, channels); the darkest voxel stays as it is."""
    low = tf.reduce_min(image, axis=(0, 1, 2))
    return low + (image - low) * tf.exp(smooth_field(controls, image.shape[:3]))


def random_bias_field(seed, image, deviation):
    """Draw the control values of a bias field, one field a channel."""
    return bias_field(image, _normal(seed, (CONTROL_POINTS,) * 3 + image.shape[-1:]) * deviation)


def noise(image, values):
    """Return image with noise values of its shape added."""
    return image + values


def random_noise(seed, image, most):
    """Add Gaussian noise of a standard deviation drawn from [0, `most`]."""
    level, grain = tf.unstack(tf.random.split(seed, 2))
    return noise(image, _normal(grain, image.shape) * _uniform(level, (), 0.0, 1.0) * most)


def _neighbours(image, points):
    last = _extent(image) - 1
    points = tf.clip_by_value(points, 0.0, last)
    low = tf.floor(points)
    flat = tf.reshape(image, (-1, image.shape[-1]))
    return tf.cast(low, tf.int32), points - low, flat, _strides(image)


def _extent(volume):
    return tf.constant(list(volume.shape[:3]), tf.float32)


def _strides(image):
    _, y, z, _ = image.shape
    return tf.constant([y * z, z, 1])


def _rotation(angles):
    """Rotation about x, then y, then z, by angles (3,) in radians."""
    (cx, cy, cz), (sx, sy, sz) = tf.unstack(tf.cos(angles)), tf.unstack(tf.sin(angles))
    return tf.stack(
        [
            tf.stack([cy * cz, sx * sy * cz - cx * sz, cx * sy * cz + sx * sz]),
            tf.stack([cy * sz, sx * sy * sz + cx * cz, cx * sy * sz - sx * cz]),
            tf.stack([-sy, sx * cy, cx * cy]),
        ]
    )


def _spline_weights(controls, n):
    """(n, controls): cubic B-spline weights of control points that reach one step beyond the volume on both sides."""
    place = 1 + (np.arange(n) + 0.5) / n * (controls - 3)
    t = np.abs(place[:, None] - np.arange(controls))
    near, far = 2 / 3 - t**2 + t**3 / 2, np.maximum(2 - t, 0) ** 3 / 6
    return np.where(t < 1, near, far).astype(np.float32)


def _front(axis):
    return [axis, *(other for other in range(4) if other != axis)]


def _uniform(seed, shape, low, high):
    return low + (high - low) * tf.random.stateless_uniform(shape, seed, alg="philox")


def _normal(seed, shape):
    return tf.random.stateless_normal(shape, seed, alg="philox")
