"""`Preprocessing.fit`: sizes, spacings and intensity statistics of the training scans, in one pass over them."""

import numpy as np

from mcc_keras.errors import UsageError
from mcc_keras.preprocessing.grid import orientation
from mcc_keras.preprocessing.intensity import scaling_of

MULTIPLE = 8  # networks halve the box three times
ROUNDING = 1e-6  # voxels; a field of view this much longer than whole voxels takes no further one
SAMPLES = 20_000  # at most, per scan: large scans do not outweigh small ones, and memory stays small


class Estimate:
    """Collects sizes, spacings and intensities of training scans.

    Args:
        preprocessing: `Preprocessing` to fit.
    """

    def __init__(self, preprocessing):
        self.preprocessing = preprocessing
        self.counts, self.spacings, self.samples = [], [], []

    def add(self, volume):
        """Add one training `Volume` with array (x, y, z, channels)."""
        axes, _ = orientation(volume.affine)
        crop = self.preprocessing.crop_of(volume) or [(0, n) for n in volume.shape]
        self.counts.append([crop[axis][1] - crop[axis][0] for axis in axes])
        self.spacings.append([volume.spacing_mm[axis] for axis in axes])
        if self.preprocessing.statistics == "dataset":
            image = np.asarray(volume.array, np.float32)
            self.samples.append([_sample(values) for values in self.preprocessing.voxels_of(image)])

    def found(self):
        """Return the estimates, as a dict of keywords of `Preprocessing`."""
        if not self.counts:
            raise UsageError("`volumes` must hold at least one training volume. Received: none. Give `size`.")
        preprocessing, found = self.preprocessing, {}
        spacing_mm = preprocessing.spacing_mm
        if spacing_mm == "median":
            found["spacing_mm"] = spacing_mm = tuple(np.median(self.spacings, axis=0).tolist())
        if preprocessing.size is None:
            extents = np.ceil(np.multiply(self.counts, self.spacings) / spacing_mm - ROUNDING).max(axis=0)
            found["size"] = tuple(int(MULTIPLE * np.ceil(n / MULTIPLE)) for n in extents)
        if preprocessing.statistics == "dataset":
            found["statistics"] = tuple(self._scaling(channel) for channel in zip(*self.samples, strict=True))
        return found

    def _scaling(self, samples):
        values = np.concatenate(samples)
        if not values.size:
            raise UsageError("`volumes` must hold voxels other than background. Received: background only.")
        settings = self.preprocessing
        low, high, shift, scale = scaling_of(
            values, window=settings.window, clip_percentiles=settings.clip_percentiles, normalize=settings.normalize
        )
        unbounded = (settings.window or settings.clip_percentiles) is None
        return (None, None, shift, scale) if unbounded else (low, high, shift, scale)


def _sample(values):
    step = -(-values.size // SAMPLES)
    return values[:: max(1, step)]
