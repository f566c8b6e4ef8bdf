"""`Preprocessing`: from a scan's stored grid to the box that a network sees, and back again.

One map, said once: the stored axes are turned to RAS+ (a permutation and flips, exact), then every axis is resampled
onto a box of `size` voxels that shares the scan's centre. Without `spacing_mm` the box covers the scan's whole field
of view; with it the voxels have that size, and what the box does not cover is cropped, what lies outside the scan
padded. A coarser target voxel is the mean of what it covers, a finer one is interpolated linearly; where nothing
changes, the matrices are identities and nothing is resampled. Intensities are clipped and normalised on the box.

The same formulas stand once more in `segmenter`, as a TensorFlow graph; a test holds the two together.
"""

import dataclasses
import json
import warnings

import numpy as np

from mcc_keras.errors import DataError, GeometryError, UsageError

SCHEMA = 1
NORMALISATIONS = ("zscore", "minmax", "none")
SAME_SPACING = 1e-5  # ratios of voxel sizes this close to 1 differ by the rounding of a header
FLAT = 1e-6  # a standard deviation below this share of the largest magnitude is rounding, not contrast


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What is done to a scan before the network sees it; a value that travels with the records, the run and the export.

    Args:
        size: Three integers, the box in voxels along right–left, anterior–posterior and inferior–superior (RAS+ axes);
            one integer means a cube. `None` with `spacing_mm`: `fit` takes the largest training scan.
        spacing_mm: Three floats, the voxel size in millimetres; one float means isotropic. `None` resizes the whole
            field of view into `size`, whatever its spacing.
        clip_percentiles: Two floats in [0, 100], the percentiles of the box to which intensities are clipped (1 and 99
            as in NiftyNet's Dense V-Net), or `None`.
        normalise: `"zscore"` (zero mean, unit variance), `"minmax"` (to [0, 1]) or `"none"`; per volume and channel.

    Example:

    >>> preprocessing = Preprocessing(size=2, clip_percentiles=None)
    >>> image = np.arange(64.0).reshape(4, 4, 4, 1)
    >>> preprocessing.apply(image, np.eye(4)).shape
    (2, 2, 2, 1)
    >>> Preprocessing.from_json(preprocessing.to_json()) == preprocessing
    True
    """

    size: tuple | int | None = None
    spacing_mm: tuple | float | None = None
    clip_percentiles: tuple | None = (1.0, 99.0)
    normalise: str = "zscore"

    def __post_init__(self):
        set_field = object.__setattr__
        set_field(self, "size", _three(self.size, int, "size"))
        set_field(self, "spacing_mm", _three(self.spacing_mm, float, "spacing_mm"))
        if self.size is None and self.spacing_mm is None:
            raise UsageError(
                "Preprocessing needs a box: expected size or spacing_mm, received neither. Try size=(64, 64, 64)."
            )
        if self.clip_percentiles is not None:
            low, high = map(float, self.clip_percentiles)
            if not 0 <= low < high <= 100:
                raise UsageError(
                    f"Expected 0 <= low < high <= 100. Received: clip_percentiles={self.clip_percentiles}."
                )
            set_field(self, "clip_percentiles", (low, high))
        if self.normalise not in NORMALISATIONS:
            raise UsageError(f"Expected one of {', '.join(NORMALISATIONS)}. Received: normalise={self.normalise!r}.")

    def to_json(self):
        """Return the settings as JSON text, with a schema version."""
        return json.dumps({"schema": SCHEMA, **dataclasses.asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text, *, path="preprocessing.json"):
        """Return the `Preprocessing` that `to_json` wrote; `path` is named in errors."""
        try:
            settings = json.loads(text)
            schema = settings.pop("schema")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(path, "expected preprocessing settings in JSON, found something else") from error
        if schema != SCHEMA:
            raise DataError(path, f"expected schema {SCHEMA}, found {schema}", "Prepare the data again.")
        try:
            return cls(**settings)
        except TypeError as error:
            raise DataError(path, f"expected the settings of schema {SCHEMA}: {error}") from error

    def fit(self, volumes):
        """Return a copy with everything estimated that was left open: `size`, as the largest of `volumes`.

        Args:
            volumes: Iterable of `Volume`s, of training cases only.
        """
        if self.size is not None:
            return self
        extents = [_canonical(volume.shape, volume.affine, volume.spacing_mm) for volume in volumes]
        if not extents:
            raise UsageError("Expected at least one training volume to fit the size to, received none. Give size=.")
        largest = np.max([np.ceil(np.multiply(*extent) / self.spacing_mm - 1e-6) for extent in extents], axis=0)
        return dataclasses.replace(self, size=tuple(int(8 * np.ceil(n / 8)) for n in largest))

    def box_spacing_mm(self, shape, affine):
        """Return the size in millimetres of a voxel of the box, for a scan of `shape` (x, y, z) and `affine`."""
        if self.spacing_mm is not None:
            return self.spacing_mm
        shape, spacing = _canonical(shape, affine, np.linalg.norm(np.asarray(affine)[:3, :3], axis=0))
        return tuple(float(n * mm / m) for n, mm, m in zip(shape, spacing, self._box(), strict=True))

    def apply(self, image, affine):
        """Take an image to the box.

        Args:
            image: (x, y, z, channels), any real type, voxels in stored order.
            affine: (4, 4), voxel indices to RAS+ millimetres.

        Returns:
            (*size, channels) float32, RAS+ order.
        """
        box, inside = self._to_box(np.asarray(image, np.float32), affine)
        return self._normalise(box, inside)

    def apply_mask(self, mask, affine, *, num_labels):
        """Take a mask to the box: every label is resampled as a volume of its own, the largest share wins.

        Args:
            mask: (x, y, z) integer, classes 0 … `num_labels`; 0 is background.
            affine: (4, 4), voxel indices to RAS+ millimetres.
            num_labels: Number of foreground classes.

        Returns:
            (*size) uint8.
        """
        foreground = np.arange(1, num_labels + 1) == np.asarray(mask)[..., None]
        shares, _ = self._to_box(foreground.astype(np.float32), affine)
        background = 1 - shares.sum(axis=-1, keepdims=True)
        return np.concatenate([background, shares], axis=-1).argmax(axis=-1).astype(np.uint8)

    def restore(self, box, shape, affine):
        """Take a prediction back to the scan's own grid.

        Args:
            box: (*size, channels) float32, probabilities in RAS+ order.
            shape: (x, y, z) of the scan, stored order.
            affine: (4, 4) of the scan.

        Returns:
            (x, y, z, channels) float32; 0 where the box does not reach.
        """
        box = np.asarray(box, np.float32)
        if box.shape[:3] != self._box():
            raise GeometryError("prediction", f"expected shape {(*self._box(), '…')}, found {box.shape}")
        axes, flips = orientation(affine)
        for axis, (n_box, n_scan, scale) in enumerate(self._axes(shape, affine)):
            matrix = resampling_matrix(n_box, n_scan, 1 / scale)[0]
            box = _along(matrix[::-1] if flips[axis] else matrix, box, axis)
        return np.transpose(box, (*np.argsort(axes), 3))

    def _box(self):
        if self.size is None:
            raise UsageError("The size of the box is not known yet: call fit with the training volumes, or give size=.")
        return self.size

    def _axes(self, shape, affine):
        """For every canonical axis: voxels of the box, voxels of the scan, scan voxels in a box voxel."""
        shape, spacing = _canonical(shape, affine, np.linalg.norm(np.asarray(affine, float)[:3, :3], axis=0))
        target = self.spacing_mm or [None] * 3
        for n_box, n_scan, mm, box_mm in zip(self._box(), shape, spacing, target, strict=True):
            yield n_box, n_scan, n_scan / n_box if box_mm is None else box_mm / mm

    def _to_box(self, image, affine):
        axes, flips = orientation(affine)
        box, inside = np.transpose(image, (*axes, 3)), []
        for axis, (n_box, n_scan, scale) in enumerate(self._axes(image.shape[:3], affine)):
            matrix, within = resampling_matrix(n_scan, n_box, scale)
            box = _along(matrix[:, ::-1] if flips[axis] else matrix, box, axis)
            inside.append(within)
        x, y, z = inside[0][:, None, None], inside[1][:, None], inside[2]
        return box, x & y & z

    def _normalise(self, box, inside):
        for channel in range(box.shape[-1]):
            values = box[..., channel][inside].astype(np.float64)
            if values.size:
                scaled = self._normalised(values)
                box[..., channel] = scaled.min()
                box[..., channel][inside] = scaled
        return box

    def _normalised(self, values):
        if self.clip_percentiles is not None:
            values = np.clip(values, *np.percentile(values, self.clip_percentiles))
        if self.normalise == "none":
            return values
        zscore = self.normalise == "zscore"
        shift, scale = (values.mean(), values.std()) if zscore else (values.min(), np.ptp(values))
        if scale <= FLAT * np.abs(values).max():
            warnings.warn("The image is constant: its normalised voxels are all 0.", stacklevel=4)
            return np.zeros_like(values)
        return (values - shift) / scale


def orientation(affine):
    """Return which stored axis runs along each RAS+ axis, and whether it runs backwards.

    The axis that follows each direction best, with shear and scaling taken away by a polar decomposition, so that
    oblique scans turn to the closest canonical order.

    Args:
        affine: (4, 4), voxel indices to RAS+ millimetres.

    Returns:
        Two tuples of three: stored axes, flips.

    Example:

    >>> orientation([[0, 0, 3, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    ((2, 0, 1), (False, True, False))
    """
    columns = np.asarray(affine, np.float64)[:3, :3]
    norms = np.linalg.norm(columns, axis=0)
    if not np.isfinite(columns).all() or (norms == 0).any():
        raise GeometryError("affine", f"expected three finite, independent axes, found {columns.tolist()}")
    u, _, vt = np.linalg.svd(columns / norms)
    rotation = u @ vt
    axes, flips, score = [0] * 3, [False] * 3, np.abs(rotation)
    for _ in range(3):
        direction, stored = np.unravel_index(np.argmax(score), (3, 3))
        axes[direction], flips[direction] = int(stored), bool(rotation[direction, stored] < 0)
        score[direction, :] = score[:, stored] = -1
    return tuple(axes), tuple(flips)


def resampling_matrix(n_from, n_to, scale):
    """Return the matrix that resamples one axis, and which target voxels have their centre inside the source.

    Both grids share their centre (to the next whole voxel at scale 1, so that cropping and padding move no voxel). With
    scale > 1 a target voxel is the mean of what it covers, else it is interpolated linearly between the two nearest
    voxel centres.

    Args:
        n_from: Voxels of the source axis.
        n_to: Voxels of the target axis.
        scale: Source voxels in a target voxel, > 0.

    Returns:
        (n_to, n_from) float32, rows of sum 1, or 0 outside; (n_to,) bool.

    Example:

    >>> resampling_matrix(4, 2, 2.0)[0].tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    start = (n_from - n_to * scale) / 2
    if abs(scale - 1) < SAME_SPACING:
        scale, start = 1.0, np.trunc((n_from - n_to) / 2)
    centre = start + (np.arange(n_to) + 0.5) * scale
    inside = (centre > 0) & (centre < n_from)
    voxel = np.arange(n_from)
    if scale > 1:
        low, high = centre[:, None] - scale / 2, centre[:, None] + scale / 2
        weights = np.maximum(np.minimum(high, voxel + 1) - np.maximum(low, voxel), 0)
    else:
        nearest = np.clip(centre - 0.5, 0, n_from - 1)
        weights = np.maximum(1 - np.abs(nearest[:, None] - voxel), 0)
    total = weights.sum(axis=1, keepdims=True)
    weights = np.where(inside[:, None], weights / np.where(total > 0, total, 1), 0)
    return weights.astype(np.float32), inside


def _along(matrix, image, axis):
    if matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.eye(len(matrix))):
        return image.copy()
    return np.moveaxis(np.tensordot(matrix, image, (1, axis)), 0, axis)


def _canonical(shape, affine, spacing):
    axes, _ = orientation(affine)
    return [shape[axis] for axis in axes], [float(spacing[axis]) for axis in axes]


def _three(value, kind, name):
    if value is None:
        return None
    values = (value,) * 3 if np.isscalar(value) else tuple(value)
    if len(values) != 3 or not all(np.isfinite(v) and v > 0 and kind(v) == v for v in values):
        raise UsageError(f"Expected one or three positive {kind.__name__} values. Received: {name}={value!r}.")
    return tuple(kind(v) for v in values)
