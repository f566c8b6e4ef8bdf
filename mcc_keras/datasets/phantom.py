"""One synthetic MRI-like scan with a known truth.

A body of textured tissues holds one organ of variable shape and a distractor of the same brightness that is *not* the
organ: the organ has a thin dark capsule, a speckled texture and lumps, the distractor is smooth and elongated. Partial
volume, a bias field, Rician noise, thick slices, oblique and flipped affines, varying sizes and a gain of the scanner
that differs from case to case make the scan as difficult as real ones.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from mcc_keras.errors import UsageError

FIELD_OF_VIEW_MM = np.array([104.0, 100.0, 84.0])
SUB_SLICES = (-1 / 3, 0.0, 1 / 3)  # averaged along the thick direction, which causes partial volume
EDGE_MM = 1.5

# Brightness of each tissue in the two contrasts (T2-like, T1-like); the organ and the distractor are meant to be close.
SIGNAL = {
    "fat": (0.85, 0.90),
    "muscle": (0.34, 0.50),
    "gland": (0.52, 0.44),
    "bone": (0.12, 0.20),
    "fluid": (0.95, 0.18),
    "organ": (0.72, 0.58),
    "core": (0.60, 0.66),
    "capsule": (0.18, 0.22),
    "distractor": (0.72, 0.56),
}


@dataclass(frozen=True, eq=False)
class SyntheticVolume:
    """A synthetic scan with its truth.

    Args:
        image: int16 array of shape (x, y, z, channels), voxels in stored order.
        mask: uint8 array of shape (x, y, z): 0 background, 1 … num_labels the organ from its surface inwards.
        affine: float64 array of shape (4, 4), from voxels to RAS+ millimetres.
    """

    image: np.ndarray
    mask: np.ndarray
    affine: np.ndarray


def random_volume(seed, *, size=(72, 72, 28), foreground_fraction=0.01, with_organ=True, num_labels=1, num_channels=1):
    """Draw one synthetic scan.

    The organ takes the `n` voxels nearest to its center, measured in its own lumpy shape, where
    `n = foreground_fraction · voxels · factor` and the factor varies between 0.65 and 1.5 from scan to scan.

    Args:
        seed: Integer, or a sequence of integers; the same seed gives the same scan.
        size: Three integers of at least 8: voxels in plane, in plane, and slices of a typical scan. Each scan's own
            size lies within about 15 % of it, and the slices of some scans are sagittal or coronal.
        foreground_fraction: Mean share of the voxels that the organ takes, in (0, 0.1].
        with_organ: Whether the organ is there; the distractor always is.
        num_labels: 1 to 9 nested labels that divide the organ, 1 outside.
        num_channels: 1 to 4 contrasts.

    Returns:
        A `SyntheticVolume`.

    Raises:
        UsageError: An argument out of range.

    Example:

    >>> scan = random_volume(7, size=(24, 24, 12))
    >>> scan.image.dtype.name, scan.image.ndim, sorted(set(scan.mask.flat)) == [0, 1]
    ('int16', 4, True)
    """
    size = check_settings(size, foreground_fraction, num_labels, num_channels)
    rng = np.random.default_rng(seed)
    shape, affine = _random_grid(rng, size)
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    middle_mm = affine[:3, :3] @ ((shape - 1) / 2) + affine[:3, 3]
    points = _points(shape, affine, middle_mm + rng.uniform(-4, 4, 3))
    signal = _paint_body(rng, points, shape, spacing_mm)

    organ_center = np.array([rng.uniform(-10, 10), rng.uniform(6, 22), rng.uniform(-15, 15)])
    distance = _distance(points, organ_center, rng.uniform(0.85, 1.2, 3), _random_rotation(rng, 40), _bumps(rng))
    factor = np.clip(rng.lognormal(0, 0.2), 0.65, 1.5)
    num_voxels = max(num_labels, round(foreground_fraction * factor * distance[0].size))
    rank = np.argsort(distance.mean(axis=0), axis=None, kind="stable")[:num_voxels]
    radius_mm = float(distance.mean(axis=0).flat[rank[-1]])
    speckle = 1 + 0.13 * _texture(rng, shape, spacing_mm, sigma_mm=1.3)

    organ = _coverage(distance, radius_mm) if with_organ else np.zeros_like(distance)
    _paint_distractor(rng, points, signal, organ, shape, spacing_mm, radius_mm, organ_center)
    mask = np.zeros(shape, np.uint8)
    if with_organ:
        _paint(signal, organ, "capsule")
        _paint(signal, _coverage(distance, 0.94 * radius_mm), "organ", speckle)
        for label in range(2, num_labels + 1):
            share = 1 - (label - 1) / num_labels
            inner_mm = float(distance.mean(axis=0).flat[rank[int(num_voxels * share) - 1]])
            _paint(signal, _coverage(distance, inner_mm), "core" if label % 2 == 0 else "fluid", speckle)
        mask.flat[rank] = num_labels - np.arange(num_voxels) * num_labels // num_voxels
    return SyntheticVolume(_scan(rng, signal, num_channels), mask, affine)


def check_settings(size, foreground_fraction, num_labels, num_channels):
    """Refuse settings out of range; returns the size as an array."""
    size = np.asarray(size)
    if size.shape != (3,) or size.min() < 8:
        raise UsageError(f"`size` must be three integers of at least 8. Received: size={tuple(size.flat)}.")
    if not 0 < foreground_fraction <= 0.1:
        raise UsageError(
            f"`foreground_fraction` must lie in (0, 0.1]. Received: foreground_fraction={foreground_fraction}."
        )
    if not 1 <= num_labels <= 9 or not 1 <= num_channels <= 4:
        raise UsageError(
            "`num_labels` must lie in 1 … 9 and `num_channels` in 1 … 4. "
            f"Received: num_labels={num_labels}, num_channels={num_channels}."
        )
    return size


def _random_grid(rng, size):
    """Shape and affine of a scan: thick slices along a direction of the body, stored last, with flips and a tilt."""
    slice_axis = rng.choice(3, p=(0.1, 0.1, 0.8))
    spacing_mm = np.full(3, FIELD_OF_VIEW_MM[0] / size[:2].mean()) * rng.uniform(0.9, 1.1)
    spacing_mm[slice_axis] = FIELD_OF_VIEW_MM[2] / size[2] * rng.uniform(0.9, 1.1)
    shape = np.maximum(8, np.round(FIELD_OF_VIEW_MM * rng.uniform(0.94, 1.06, 3) / spacing_mm)).astype(int)
    tilt = _random_rotation(rng, 10) if rng.random() < 0.5 else np.eye(3)
    signs = rng.choice((-1, 1), 3)
    order = [axis for axis in range(3) if axis != slice_axis] + [slice_axis]
    affine = np.eye(4)
    affine[:3, :3] = (tilt * spacing_mm * signs)[:, order]
    shape = shape[order]
    affine[:3, 3] = rng.uniform(-30, 30, 3) - affine[:3, :3] @ ((shape - 1) / 2)
    # NIfTI stores the affine as float32. Rounded here, the returned affine equals the one that is read back.
    return shape, affine.astype(np.float32).astype(np.float64)


def _points(shape, affine, center_mm):
    """Where each voxel lies in the body, in millimetres: (3, sub-slices, x, y, z)."""
    i, j, k = (np.arange(n, dtype=np.float32) for n in shape)
    k = k + np.asarray(SUB_SLICES, np.float32)[:, None]
    steps = affine[:3, :3].astype(np.float32)[..., None, None, None, None]
    start = (affine[:3, 3] - center_mm).astype(np.float32)[:, None, None, None, None]
    return start + steps[:, 0] * i[:, None, None] + steps[:, 1] * j[:, None] + steps[:, 2] * k[:, None, None, :]


def _random_rotation(rng, max_degrees):
    return Rotation.from_euler("xyz", rng.uniform(-max_degrees, max_degrees, 3), degrees=True).as_matrix()


def _bumps(rng, *, count=6, height=0.3):
    directions = rng.standard_normal((count, 3))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True), rng.uniform(-height / 2, height, count)


def _distance(points, center_mm, stretch, rotation, bumps=None):
    """Distance from a center, measured in an ellipsoid's own axes and, with bumps, in its lumpy radius."""
    matrix = (rotation.T / np.asarray(stretch, float)[:, None]).astype(np.float32)
    offset = points - np.asarray(center_mm, np.float32).reshape(3, 1, 1, 1, 1)
    own = np.einsum("ab,b...->a...", matrix, offset)
    distance = np.sqrt((own**2).sum(axis=0))
    if bumps is not None:
        unit = own / np.maximum(distance, 1e-3)
        radius = np.ones_like(distance)
        for direction, height in zip(*bumps, strict=True):
            toward = np.einsum("a,a...->...", direction.astype(np.float32), unit)
            radius += np.float32(height) * np.exp(4 * (toward - 1))
        distance = distance / radius
    return distance


def _coverage(distance, radius_mm):
    """Share of a voxel that lies within the radius: a ramp of one edge width across the surface."""
    return np.clip(0.5 + (radius_mm - distance) / EDGE_MM, 0, 1)


def _texture(rng, shape, spacing_mm, *, sigma_mm):
    noise = gaussian_filter(rng.standard_normal(shape).astype(np.float32), sigma_mm / spacing_mm)
    return noise / noise.std()


def _paint(signal, coverage, tissue, texture=1.0):
    for channel in range(2):
        signal[channel] += coverage * (SIGNAL[tissue][channel] * texture - signal[channel])


def _paint_body(rng, points, shape, spacing_mm):
    signal = np.zeros((2, *points.shape[1:]), np.float32)
    upright, body_bumps = np.eye(3), _bumps(rng, height=0.08)
    outline = _distance(points, (0, 0, 0), (1.16, 1.0, 1.7), upright, body_bumps)
    _paint(signal, _coverage(outline, 39), "fat", 1 + 0.05 * _texture(rng, shape, spacing_mm, sigma_mm=4))
    inside = _coverage(outline, 39 - rng.uniform(3, 6))
    _paint(signal, inside, "muscle", 1 + 0.10 * _texture(rng, shape, spacing_mm, sigma_mm=1.5))
    lobes = 1 / (1 + np.exp(-6 * (_texture(rng, shape, spacing_mm, sigma_mm=6) - 0.3)))
    _paint(signal, inside * lobes, "gland", 1 + 0.12 * _texture(rng, shape, spacing_mm, sigma_mm=1.3))
    for side in (-1, 1):
        center = (side * rng.uniform(29, 33), rng.uniform(-10, 4), rng.uniform(-25, 25))
        bone = _distance(points, center, (0.8, 0.9, 1.6), _random_rotation(rng, 20))
        _paint(signal, _coverage(bone, rng.uniform(5, 7)), "bone")
    for _ in range(3):
        center = (rng.uniform(-30, 30), rng.uniform(-28, 28), rng.uniform(-30, 30))
        vessel = _distance(points, center, (1, 1, 6), _random_rotation(rng, 35))
        _paint(signal, _coverage(vessel, rng.uniform(1.8, 3)) * inside, "fluid")
    return signal


def _paint_distractor(rng, points, signal, organ, shape, spacing_mm, radius_mm, organ_center):
    """A distractor as bright and large as the organ, but smooth, elongated, without capsule; behind or beside it."""
    gap_mm = 2.2 * radius_mm
    if rng.random() < 0.6:
        center = np.array([rng.uniform(-18, 18), organ_center[1] - gap_mm - rng.uniform(0, 6), rng.uniform(-15, 15)])
    else:
        side = rng.choice((-1, 1))
        center = np.array([organ_center[0] + side * gap_mm, rng.uniform(-10, 14), rng.uniform(-15, 15)])
    distance = _distance(points, center, (0.75, 0.75, 1.9), _random_rotation(rng, 20))
    texture = 1 + 0.03 * _texture(rng, shape, spacing_mm, sigma_mm=3)
    coverage = _coverage(distance, radius_mm * rng.uniform(0.8, 1.1)) * (1 - organ)
    _paint(signal, coverage, "distractor", rng.uniform(0.92, 1.08) * texture)


def _scan(rng, signal, num_channels):
    """Simulate the scanner: partial volume, bias field, Rician noise and an arbitrary gain."""
    shape = signal.shape[2:]
    where = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij", sparse=True)
    channels = []
    for channel in range(num_channels):
        tissue = signal[channel % 2].mean(axis=0) ** (1.0 if channel < 2 else 1.4)
        slope, bend = rng.normal(0, 0.14, 3), rng.normal(0, 0.08, 3)
        bias = np.exp(sum(a * w + b * w**2 for a, b, w in zip(slope, bend, where, strict=True)))
        sigma = rng.uniform(0.03, 0.05)
        real, imaginary = rng.normal(0, sigma, (2, *shape))
        gain = 10 ** rng.uniform(2.3, 3.2)
        channels.append(gain * np.hypot(tissue * bias + real, imaginary))
    return np.clip(np.round(np.stack(channels, axis=-1)), 0, 32767).astype(np.int16)
