"""`Preprocessing`: a frozen value with the settings that map a scan to the network's box and back."""

import dataclasses
import warnings

import numpy as np

from mcc_keras.documents import parse_document, to_text
from mcc_keras.errors import GeometryError, UsageError
from mcc_keras.extent import bounding_box
from mcc_keras.preprocessing import grid as grids
from mcc_keras.preprocessing import intensity
from mcc_keras.preprocessing.fitting import Estimate

SCHEMA = 3
NATIVE = "native"
NORMALIZATIONS = ("zscore", "minmax", "none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Preprocessing of a scan; a value that is stored with the records, the run and the export.

    The steps are, in this order: reorient to the closest canonical orientation (RAS+), crop, resample onto the box,
    clip, normalize. Only `fit` estimates values across scans, from training scans alone.

    Args:
        size: Three integers, the box in voxels along right–left, anterior–posterior and inferior–superior (RAS+ axes);
            one integer means a cube. `"native"`: the box of each scan has just the voxels that its (cropped) field of
            view takes at `spacing_mm`, or its own voxels. `None` with `spacing_mm`: `fit` takes the largest training
            scan.
        spacing_mm: Three floats, the voxel size in millimetres; one float means isotropic; `"median"`: `fit` takes the
            median of the training scans, axis by axis. `None` resizes the whole field of view into `size`; at native
            size each scan keeps its own.
        window: Two floats, the intensities to clip to in the units of the scan (CT: Hounsfield), or `None`. It replaces
            `clip_percentiles`; `"minmax"` then maps its ends to 0 and 1.
        clip_percentiles: Two floats in [0, 100], the percentiles to which intensities are clipped (1 and 99 as in
            NiftyNet's Dense V-Net), or `None`.
        normalize: `"zscore"` (zero mean, unit variance), `"minmax"` (to [0, 1]) or `"none"`; per channel.
        statistics: `"volume"`: percentiles, mean and range are computed per scan, in its box. `"dataset"`: from all
            training scans (`fit`), where intensities are comparable (CT). A tuple holds the values that `fit` found.
        ignore_background: Exclude voxels equal to the background from percentiles, mean and range; they get the lowest
            normalized value, as voxels outside the scan do. For masked scans (skull-stripped MRI).
        background_value: Intensity of the background in all channels; `None`: the fourth smallest of the eight corners,
            per scan and channel.
        crop_margin_mm: Crop to the bounding box of the voxels above the background in any channel, with this margin in
            millimetres; `None`: no crop. The mask is never used, since a new scan has none.

    Example:

    >>> preprocessing = Preprocessing(size=2, clip_percentiles=None)
    >>> image = np.arange(64.0).reshape(4, 4, 4, 1)
    >>> grid = preprocessing.grid(image, np.eye(4))
    >>> preprocessing.apply(image, grid).shape
    (2, 2, 2, 1)
    >>> Preprocessing(size="native", spacing_mm=(1, 1, 1.5)).grid(image, np.eye(4)).size
    (4, 4, 3)
    >>> Preprocessing.from_json(preprocessing.to_json()) == preprocessing
    True
    """

    size: tuple | int | str | None = None
    spacing_mm: tuple | float | str | None = None
    window: tuple | None = None
    clip_percentiles: tuple | None = (1.0, 99.0)
    normalize: str = "zscore"
    statistics: tuple | str = "volume"
    ignore_background: bool = False
    background_value: float | None = None
    crop_margin_mm: float | None = None

    def __post_init__(self):
        if self.size is None and self.spacing_mm is None:
            raise UsageError(
                "`size` or `spacing_mm` must be given. Received: neither. Use for example size=(64, 64, 64)."
            )
        checked = {
            "size": _three(self.size, int, "size", word=NATIVE),
            "spacing_mm": _three(self.spacing_mm, float, "spacing_mm", word="median"),
            "window": _pair(self.window, (-np.inf, np.inf), "window"),
            "clip_percentiles": _pair(self.clip_percentiles, (0, 100), "clip_percentiles"),
            "statistics": _statistics(self.statistics),
            "background_value": _number(self.background_value, -np.inf, "background_value"),
            "crop_margin_mm": _number(self.crop_margin_mm, 0, "crop_margin_mm"),
        }
        if checked["window"] is not None:
            checked["clip_percentiles"] = None
        if self.normalize not in NORMALIZATIONS:
            raise UsageError(
                f"`normalize` must be one of {', '.join(NORMALIZATIONS)}. Received: normalize={self.normalize!r}."
            )
        if not isinstance(self.ignore_background, bool):
            raise UsageError(
                f"`ignore_background` must be True or False. Received: ignore_background={self.ignore_background!r}."
            )
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def to_json(self):
        """Return the settings as JSON text."""
        return to_text(self, schema=SCHEMA)

    @classmethod
    def from_json(cls, text, *, path="preprocessing.json"):
        """Return the `Preprocessing` that `to_json` wrote; `path` is named in errors.

        Raises:
            DataError: Other text, another schema, an unknown setting, or an invalid value.
        """
        return parse_document(text, cls, path=path, schema=SCHEMA, way_out="Prepare the data again.")

    @property
    def is_fitted(self):
        """Whether every value is known, so that nothing is left to `fit`."""
        return self.size is not None and self.spacing_mm != "median" and self.statistics != "dataset"

    @property
    def is_native(self):
        """Whether each scan has a box of its own size."""
        return self.size == NATIVE

    def fit(self, volumes):
        """Return a copy in which every open value is estimated.

        Args:
            volumes: Iterable of `Volume`s with array (x, y, z, channels), of training cases only. It is not
                iterated over if no value is open.

        Raises:
            UsageError: There is no volume.

        Example:

        >>> from mcc_keras.volumes import Volume
        >>> scans = [Volume(np.zeros((20, 20, 10, 1)), np.diag([1, 1, mm, 1])) for mm in (2.0, 3.0, 5.0)]
        >>> fitted = Preprocessing(spacing_mm="median").fit(scans)
        >>> fitted.spacing_mm, fitted.size
        ((1.0, 1.0, 3.0), (24, 24, 24))
        """
        if self.is_fitted:
            return self
        estimate = Estimate(self)
        for volume in volumes:
            estimate.add(volume)
        return dataclasses.replace(self, **estimate.found())

    def grid(self, image, affine):
        """Return the `Grid` of a scan: where its voxels lie in the box.

        Args:
            image: (x, y, z, channels), any real type, voxels in stored order.
            affine: (4, 4), voxel indices to RAS+ millimetres.

        Raises:
            UsageError: A value is open that `fit` estimates.
        """
        if not self.is_fitted:
            raise UsageError("Some values are open: call fit with the training volumes, or give `size`.")
        shape = tuple(image.shape[:3])
        crop = self._crop(image, affine)
        of_scan = {"shape": shape, "affine": affine, "target_mm": self.spacing_mm, "crop": crop}
        return grids.Grid(**of_scan, size=grids.native_size(**of_scan) if self.is_native else self.size)

    def apply(self, image, grid):
        """Resample and normalize an image into the box.

        Args:
            image: (x, y, z, channels), any real type, voxels in stored order.
            grid: Its `Grid`.

        Returns:
            (*size, channels) float32, RAS+ order.
        """
        image = np.asarray(image, np.float32)
        box = np.empty((*grid.size, image.shape[-1]), np.float32)
        background = intensity.background_of(image, self.background_value) if self.ignore_background else None
        for channel in range(image.shape[-1]):
            counts = grid.inside
            if self.ignore_background:
                image_share = grid.to_box(image[..., channel] != background[channel])
                counts = counts & (image_share >= intensity.BACKGROUND_SHARE)
            box[..., channel] = self._normalized(grid.to_box(image[..., channel]), counts, channel)
        return box

    def apply_mask(self, mask, grid, *, num_labels):
        """Resample a mask into the box: each voxel takes the label that fills most of it.

        A label that fills a whole voxel of the box is kept, even where the box is finer than the scan.

        Args:
            mask: (x, y, z) integer, classes 0 … `num_labels`; 0 is background.
            grid: The `Grid` of its image.
            num_labels: Number of foreground classes.

        Returns:
            (*size) uint8.
        """
        mask = np.asarray(mask)
        shares = {label: grid.share_in_box(mask == label) for label in range(1, num_labels + 1)}
        return grids.largest_share(shares, grid.size)

    def restore(self, box, grid):
        """Resample a prediction to the scan's grid.

        Args:
            box: (*size, channels) float32, probabilities in RAS+ order.
            grid: The `Grid` of the scan.

        Returns:
            (x, y, z, channels) float32; 0 outside the box.
        """
        box = np.asarray(box, np.float32)
        if box.shape[:3] != grid.size:
            raise GeometryError("prediction", f"expected shape {(*grid.size, '…')}, found {box.shape}")
        return np.stack([grid.from_box(box[..., channel]) for channel in range(box.shape[-1])], axis=-1)

    def crop_of(self, volume):
        """Return the crop of a `Volume` as `Grid` takes it, or `None` where nothing is cropped."""
        return self._crop(volume.array, volume.affine)

    def voxels_of(self, image):
        """Return the voxels (n,) of every channel of an image (x, y, z, channels) that count in the statistics."""
        channels = [image[..., channel].ravel(order="K") for channel in range(image.shape[-1])]
        if not self.ignore_background:
            return channels
        background = intensity.background_of(image, self.background_value)
        return [values[values != value] for values, value in zip(channels, background, strict=True)]

    def _crop(self, image, affine):
        if self.crop_margin_mm is None:
            return None
        image = np.asarray(image, np.float32)
        where = (image != intensity.background_of(image, self.background_value)).any(axis=-1)
        box, shape = bounding_box(where), image.shape[:3]
        spacing_mm = np.linalg.norm(np.asarray(affine, np.float64)[:3, :3], axis=0)
        return box and grids.with_margin(box, self.crop_margin_mm, shape=shape, spacing_mm=spacing_mm)

    def _normalized(self, box, counts, channel):
        if not counts.any():
            warnings.warn("The scan is all background: its normalized voxels are all 0.", stacklevel=3)
            return np.zeros(box.shape, np.float32)
        everywhere = counts.all()
        values = box if everywhere else box[counts]
        scaled = intensity.rescaled(values, self._scaling(values, channel))
        if everywhere:
            return scaled
        result = np.full(box.shape, scaled.min(), np.float32)
        result[counts] = scaled
        return result

    def _scaling(self, values, channel):
        if self.statistics == "volume":
            return intensity.scaling_of(
                values, window=self.window, clip_percentiles=self.clip_percentiles, normalize=self.normalize
            )
        if channel >= len(self.statistics):
            raise UsageError(
                f"`image` must have {len(self.statistics)} channels, as in training. Received: {channel + 1} or more."
            )
        low, high, shift, scale = self.statistics[channel]
        return (-np.inf if low is None else low), (np.inf if high is None else high), shift, scale


def _is(value, word):
    return isinstance(value, str) and value == word


def _three(value, kind, name, *, word):
    if value is None or _is(value, word):
        return value
    values = (value,) * 3 if np.isscalar(value) else tuple(value)
    if len(values) != 3 or not all(_is_real(v) and v > 0 and kind(v) == v for v in values):
        rule = f'`{name}` must be one or three positive {kind.__name__} values, or "{word}".'
        raise UsageError(f"{rule} Received: {name}={value!r}.")
    return tuple(kind(v) for v in values)


def _pair(value, limits, name):
    if value is None:
        return None
    ends = () if np.isscalar(value) else tuple(value)
    if len(ends) != 2 or not all(map(_is_real, ends)) or not limits[0] <= ends[0] < ends[1] <= limits[1]:
        within = f" within {list(limits)}" if np.isfinite(limits[0]) else ""
        raise UsageError(f"`{name}` must be two numbers, low < high,{within or ' finite'}. Received: {name}={value!r}.")
    return float(ends[0]), float(ends[1])


def _number(value, least, name):
    if value is None:
        return None
    if not _is_real(value) or value < least:
        raise UsageError(f"`{name}` must be a finite number, at least {least}. Received: {name}={value!r}.")
    return float(value)


def _statistics(value):
    if isinstance(value, str) and value in ("volume", "dataset"):
        return value
    rows = () if isinstance(value, str) or np.isscalar(value) or value is None else tuple(value)
    if not rows or not all(_is_scaling(row) for row in rows):
        raise UsageError(f'`statistics` must be "volume" or "dataset". Received: statistics={value!r}.')
    return tuple(tuple(None if number is None else float(number) for number in row) for row in rows)


def _is_scaling(row):
    if np.isscalar(row) or row is None or len(row) != 4:
        return False
    low, high, shift, scale = row
    bounded = low is None and high is None or (_is_real(low) and _is_real(high) and low <= high)
    return bounded and _is_real(shift) and _is_real(scale) and scale >= 0


def _is_real(value):
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and bool(np.isfinite(value))
