"""Intensities of one channel: background, clipping and normalization.

`scaling_of` estimates low, high, shift and scale from voxels; `rescaled` clips to [low, high] and returns
(x − shift) / scale. Both compute in float64.
"""

import math
import warnings

import numpy as np

FLAT = 1e-6  # relative to the largest magnitude; a smaller standard deviation is rounding, not contrast
BACKGROUND_SHARE = 0.499  # a voxel half filled with image counts as image; slightly below 0.5 because of rounding


def background_of(image, value=None):
    """Return the background intensity of every channel: `value`, or the fourth smallest of the eight corners.

    Skull-stripped and masked scans have a constant background, which need not be 0. In other scans the corners
    differ, and hardly any voxel equals the chosen one.

    Args:
        image: (x, y, z, channels) float32.
        value: The background intensity, if known.

    Returns:
        (channels,) float32.

    Example:

    >>> image = np.full((3, 3, 3, 1), -2.5, np.float32); image[1, 1, 1] = 0
    >>> background_of(image)
    array([-2.5], dtype=float32)
    """
    if value is not None:
        return np.full(image.shape[-1], value, np.float32)
    corners = image[[0, -1]][:, [0, -1]][:, :, [0, -1]].reshape(8, -1)
    return np.sort(corners, axis=0)[3].astype(np.float32)


def scaling_of(values, *, window, clip_percentiles, normalize):
    """Return (low, high, shift, scale) for some voxels; the scale of constant voxels is 0.

    Args:
        values: Real array of at least one voxel.
        window: (low, high) to clip to, in the units of the image, or `None`. It replaces the percentiles, and
            `"minmax"` maps its ends to 0 and 1.
        clip_percentiles: (low, high) in [0, 100] to clip at, or `None`.
        normalize: `"zscore"`, `"minmax"` or `"none"`.

    Example:

    >>> scaling_of(np.array([0.0, 1, 2, 3, 10]), window=None, clip_percentiles=(0, 75), normalize="minmax")
    (0.0, 3.0, 0.0, 3.0)
    """
    low, high = -np.inf, np.inf
    if window is not None:
        low, high = window
    elif clip_percentiles is not None:
        low, high = _percentiles(values, clip_percentiles)
    if normalize == "none":
        return low, high, 0.0, 1.0
    if normalize == "minmax" and window is not None:
        return low, high, low, high - low
    least, most = (float(np.clip(np.float64(end), low, high)) for end in (values.min(), values.max()))
    shift, scale = least, most - least
    if normalize == "zscore":
        values = _clipped(values, low, high)
        shift = float(values.mean())
        values -= shift
        flat = values.ravel(order="K")
        scale = math.sqrt(flat @ flat / flat.size)
    flat = scale <= FLAT * max(abs(least), abs(most))
    return low, high, shift, 0.0 if flat else scale


def rescaled(values, scaling):
    """Return (x − shift) / scale of the clipped voxels, float64; zeros, and a warning, where they are constant.

    Example:

    >>> rescaled(np.array([-5.0, 0, 1, 10]), (0.0, 4.0, 0.0, 4.0)).tolist()
    [0.0, 0.0, 0.25, 1.0]
    """
    low, high, shift, scale = scaling
    if scale == 0:
        warnings.warn("The image is constant: its normalized voxels are all 0.", stacklevel=5)
        return np.zeros(values.shape)
    result = _clipped(values, low, high)
    result -= shift
    result /= scale
    return result


def _clipped(values, low, high):
    """Return a clipped float64 copy."""
    if math.isinf(low):
        return values.astype(np.float64)
    return np.clip(values, low, high, dtype=np.float64)


def _percentiles(values, percentiles):
    """`np.percentile` without its float64 copy: ranks are exact in the image's dtype, only interpolation is float64."""
    ranks = (np.size(values) - 1) * np.array(percentiles) / 100
    below = np.floor(ranks).astype(np.int64)
    above = np.ceil(ranks).astype(np.int64)
    ordered = np.partition(values, sorted({*below.tolist(), *above.tolist()}), axis=None).astype(np.float64, copy=False)
    low, high = ordered[below] + (ordered[above] - ordered[below]) * (ranks - below)
    return float(low), float(high)
