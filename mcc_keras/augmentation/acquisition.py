"""Acquisition artifacts: noise, blur, thick slices, ghosts, spikes, motion.

Intensities may be shifted (z-scores), so magnitudes are measured from the darkest voxel.
"""

import math

import numpy as np
import tensorflow as tf

from mcc_keras.augmentation.draws import along_any_axis, normal, split, uniform
from mcc_keras.augmentation.intensity import deviation_of, range_of
from mcc_keras.augmentation.linear import LAST_TO_FIRST, along_axis
from mcc_keras.augmentation.spatial import identity_points

MOVES = 3  # movements of the patient during a scan
GHOSTS = (2, 9)  # fewest and most ghosts along an axis


def noise(image, values):
    """Return image with noise values of its shape added."""
    return image + values


def random_noise(seed, image, most):
    """Add Gaussian noise of a standard deviation drawn from [0, `most`], in standard deviations of the channel."""
    level, grain = split(seed, 2)
    return noise(image, normal(grain, image.shape) * uniform(level, (), 0.0, most) * deviation_of(image))


def rician_noise(image, real, imaginary):
    """Return low + √((image - low + real)² + imaginary²): the magnitude of a complex signal with noise in both parts.

    References:
        Gudbjartsson and Patz, "The Rician distribution of noisy MRI data", Magn. Reson. Med. 34, 1995.
    """
    low, _ = range_of(image)
    return low + tf.sqrt(tf.square(image - low + real) + tf.square(imaginary))


def random_rician_noise(seed, image, most):
    """Draw both parts with one standard deviation from [0, `most`], in standard deviations of the channel."""
    level, real, imaginary = split(seed, 3)
    scale = uniform(level, (), 0.0, most) * deviation_of(image)
    return rician_noise(image, normal(real, image.shape) * scale, normal(imaginary, image.shape) * scale)


def blur(image, deviation, *, most):
    """Return the image convolved with a Gaussian, the edge voxel outside.

    Args:
        image: float32 (x, y, z, channels).
        deviation: Standard deviation in voxels, a number that the graph may draw.
        most: Its largest value, known when the graph is built: the kernel reaches four times as far.
    """
    for axis in LAST_TO_FIRST:
        image = along_axis(image, _gaussian(image.shape[axis], deviation, math.ceil(4 * most)), axis)
    return image


def random_blur(seed, image, most):
    """Draw the standard deviation from [0, `most`] voxels."""
    return blur(image, uniform(seed, (), 0.0, most), most=most)


def low_resolution(image, factor, *, axes=LAST_TO_FIRST):
    """Return the image as seen with voxels `factor` times as long: their means, interpolated linearly."""
    for axis in axes:
        image = along_axis(image, _thick(image.shape[axis], factor), axis)
    return image


def random_low_resolution(seed, image, most, *, axes=LAST_TO_FIRST):
    """Draw the factor from [1, 1 + `most`]."""
    return low_resolution(image, uniform(seed, (), 1.0, 1.0 + most), axes=axes)


def ghosting(image, strength, *, count, axis):
    """Return the image with `count` ghosts along an axis: every count-th line of k-space is weaker by `strength`.

    The line through the center of k-space is kept, and with it the mean.
    """
    n = image.shape[axis]
    line = tf.minimum(tf.range(n), n - tf.range(n))
    weak = (line % count == 0) & (line > 0)
    kept = 1 - strength * tf.cast(weak, tf.float32)
    waves = np.cos(2 * np.pi * (np.outer(np.arange(n), np.arange(n)) % n) / n).astype(np.float32) / n
    answer = tf.linalg.matvec(tf.constant(waves), kept)
    return along_axis(image, tf.gather(answer, np.subtract.outer(np.arange(n), np.arange(n)) % n), axis)


def random_ghosting(seed, image, most):
    """Draw the strength from [0, `most`], the number of ghosts, and the axis of phase encoding."""
    level, number, axis = split(seed, 3)
    strength = uniform(level, (), 0.0, most)
    count = tf.random.stateless_uniform((), number, GHOSTS[0], GHOSTS[1] + 1, tf.int32, alg="philox")
    return along_any_axis(axis, lambda axis: ghosting(image, strength, count=count, axis=axis))


def spike(image, height, *, frequency, phase):
    """Return image + height · cos(2π Σ frequency · voxel / size + phase): a corrupted point of k-space and its mirror.

    Args:
        image: float32 (x, y, z, channels).
        height: A number, or one per channel.
        frequency: Integer (3,), periods along each axis.
        phase: In radians.
    """
    waves = tf.unstack(tf.cast(frequency, tf.float32) / tf.constant(image.shape[:3].as_list(), tf.float32))
    turns = sum(wave * place for wave, place in zip(waves, tf.unstack(identity_points(image.shape[:3])), strict=True))
    return image + height * tf.cos(2 * np.pi * turns + phase)[..., None]


def random_spike(seed, image, most):
    """Draw a height from [0, `most`] standard deviations of the channel, a frequency up to a quarter of the size."""
    level, place, start = split(seed, 3)
    size = tf.constant(list(image.shape[:3]), tf.float32)
    frequency = tf.round(uniform(place, (3,), -0.25, 0.25) * size)
    height = uniform(level, (), 0.0, most) * deviation_of(image)
    return spike(image, height, frequency=frequency, phase=uniform(start, (), 0.0, 2 * np.pi))


def motion(image, shifts, *, axis):
    """Return the magnitude of an image whose lines of k-space along an axis were read with the patient shifted.

    Args:
        image: float32 (x, y, z, channels).
        shifts: (image.shape[axis], 3), in voxels: position of the patient, in the order of `numpy.fft.fftfreq`.
        axis: Axis of phase encoding.
    """
    low, _ = range_of(image)
    waves = [np.fft.fftfreq(n).astype(np.float32) for n in image.shape[:3]]
    grid = tf.constant(np.stack(np.meshgrid(*waves, indexing="ij"), axis=-1))
    lines = tf.reshape(shifts, [image.shape[axis] if a == axis else 1 for a in range(3)] + [3])
    angle = -2 * np.pi * tf.reduce_sum(grid * lines, axis=-1)
    space = tf.signal.fft3d(tf.cast(tf.transpose(image - low, (3, 0, 1, 2)), tf.complex64))
    moved = tf.abs(tf.signal.ifft3d(space * tf.complex(tf.cos(angle), tf.sin(angle))))
    return low + tf.transpose(moved, (1, 2, 3, 0))


def random_motion(seed, image, most, *, spacing_mm):
    """Simulate a few movements of the patient, by up to ± `most` millimetres along each axis.

    The patient is in place while the center of k-space is read, so that the mask stays valid.
    """
    time, place, axis = split(seed, 3)
    moves = uniform(time, (MOVES,))
    places = uniform(place, (MOVES + 1, 3), -most, most) / spacing_mm

    def along(axis):
        n = image.shape[axis]
        moment = tf.constant(np.fft.fftfreq(n).astype(np.float32) + 0.5)
        count = tf.reduce_sum(tf.cast(moment[:, None] > moves, tf.int32), axis=-1)
        shifts = tf.gather(places, count)
        return motion(image, shifts - shifts[0], axis=axis)

    return along_any_axis(axis, along)


def _gaussian(n, deviation, reach):
    """(n, n): rows of a Gaussian truncated at `reach` voxels; weights outside are added to the outer voxels."""
    distance = tf.constant(np.subtract.outer(np.arange(n), np.arange(-reach, n + reach)).astype(np.float32))
    weights = tf.exp(-0.5 * tf.square(distance / tf.maximum(deviation, 1e-3)))
    weights = tf.where(tf.abs(distance) <= reach, weights, 0.0)
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    first, inner, last = tf.split(weights, (reach, n, reach), axis=1)
    ends = (tf.reduce_sum(part, axis=1, keepdims=True) for part in (first, last))
    first, last = ends
    edge = tf.constant(np.arange(n))
    return inner + tf.where(edge == 0, first, 0.0) + tf.where(edge == n - 1, last, 0.0)


def _thick(n, factor):
    """(n, n): means over thick slices, interpolated linearly between the centers of the slices."""
    slices = tf.range(n, dtype=tf.float32)[:, None]
    voxels = tf.range(n, dtype=tf.float32)
    covered = tf.minimum((slices + 1) * factor, voxels + 1) - tf.maximum(slices * factor, voxels)
    covered = tf.clip_by_value(covered, 0.0, 1.0)
    mean = covered / tf.maximum(tf.reduce_sum(covered, axis=1, keepdims=True), 1e-6)
    last = tf.math.ceil(n / factor - 1e-4) - 1
    place = tf.clip_by_value((voxels[:, None] + 0.5) / factor - 0.5, 0.0, last)
    return tf.maximum(1 - tf.abs(place - slices[:, 0]), 0.0) @ mean
