"""`Augmentation`: a frozen value with the random transforms of a training volume, which applies them when called."""

import dataclasses
from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np

from mcc_keras.augmentation.changes import CHANCES, LIMITS, SPATIAL
from mcc_keras.documents import parse_document, to_text
from mcc_keras.errors import UsageError

SCHEMA = 1
INTERPOLATIONS, MASK_INTERPOLATIONS, PADDINGS = ("linear", "cubic"), ("nearest", "linear"), ("edge", "background")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random transforms of a training volume; call it with a seed, an image and its mask.

    Each value is the maximum strength of a transform; 0 disables it. All spatial transforms are composed into one
    resampling. Strengths are drawn uniformly unless noted, and per channel where they change intensities.

    Args:
        flip: For each axis (right–left, anterior–posterior, inferior–superior), whether it is flipped half of the time.
        rotation_degrees: Rotation about each axis, in [0, 180].
        scaling: Relative change of size s, in [0, 4]: a factor from 1 / (1 + s) to 1 + s.
        scaling_per_axis: A factor for each axis, instead of one for all.
        shear_degrees: Angle by which an axis leans towards another, in [0, 45].
        translation: Shift as a share of the field of view, in [0, 1).
        translation_mm: Shift in millimetres, added to `translation`.
        elastic: Standard deviation of the shift of a control point, as a share of the field of view, in [0, 0.1].
        interpolation: Interpolation of the image: `"linear"`, or `"cubic"` (sharper, several times slower).
        mask_interpolation: `"nearest"`, or `"linear"`: the label with the largest linear share (smoother, slower).
        padding: Value outside the volume: `"edge"` (the outer voxels), `"background"` (the fourth smallest of the
            eight corners, per channel) or a number. In masks, the outer voxels with `"edge"`, else 0.
        swap_labels: Pairs to swap when right and left are flipped, as ((1, 2),): labels of the data set or their names
            where a policy is given to `load_dataset` or `train`, values of the mask where it is called itself.
        motion_mm: Motion between the lines of k-space, in millimetres.
        bias_field: Standard deviation of the logarithm of a smooth multiplicative field, in [0, 3].
        ghosting: Share by which every second to ninth line of k-space is weaker, in [0, 1].
        spike: Amplitude of a corrupted wave, in standard deviations of the channel.
        blur: Standard deviation of a Gaussian in voxels, in [0, 10].
        low_resolution: Relative growth of the voxel, in [0, 7]; 1 means up to twice as long.
        low_resolution_axis: Which axis has thick slices: 0, 1, 2, or `None` for all three.
        noise: Standard deviation of Gaussian noise, in standard deviations of the channel.
        rician_noise: Standard deviation of the noise in both parts of a complex signal, whose magnitude is returned.
        brightness: Shift of all voxels, in standard deviations of the channel.
        contrast: Relative change of contrast, in [0, 1).
        histogram_shift: Shift of the inner knots of a piecewise linear map of intensities, in steps, in [0, 0.5].
        inverted_gamma: As `gamma`, on the inverted image.
        gamma: Change of the logarithm of γ, in [0, 3].
        channel_dropout: Share of channels that become background, in [0, 1]; never all of them.
        probability: Probability of a transform by name, as `{"noise": 0.1}`; 1 for the others.

    Raises:
        UsageError: A number out of range, an unknown name.

    Example:

    >>> import tensorflow as tf
    >>> image, mask = tf.random.stateless_normal((8, 8, 8, 1), (1, 2)), tf.ones((8, 8, 8, 1), tf.uint8)
    >>> policy = Augmentation(rotation_degrees=20, blur=1.0, probability={"blur": 0.2})
    >>> moved, moved_mask = policy((1, 2), image, mask, spacing_mm=(1.0, 1.0, 1.0))
    >>> tuple(moved.shape), moved_mask.dtype.name
    ((8, 8, 8, 1), 'uint8')
    >>> Augmentation.from_json(policy.to_json()) == policy
    True
    """

    flip: tuple = (True, False, False)
    rotation_degrees: float = 12.0
    scaling: float = 0.12
    scaling_per_axis: bool = True
    shear_degrees: float = 0.0
    translation: float = 0.05
    translation_mm: float = 0.0
    elastic: float = 0.02
    interpolation: str = "linear"
    mask_interpolation: str = "nearest"
    padding: str | float = "edge"
    swap_labels: tuple = ()
    motion_mm: float = 0.0
    bias_field: float = 0.15
    ghosting: float = 0.0
    spike: float = 0.0
    blur: float = 0.0
    low_resolution: float = 0.0
    low_resolution_axis: int | None = None
    noise: float = 0.1
    rician_noise: float = 0.0
    brightness: float = 0.15
    contrast: float = 0.15
    histogram_shift: float = 0.0
    inverted_gamma: float = 0.0
    gamma: float = 0.3
    channel_dropout: float = 0.0
    # Excluded from the hash, since a dict has none; policies that differ only here are still unequal.
    probability: Mapping = dataclasses.field(default_factory=dict, hash=False)

    def __post_init__(self):
        for name in CHANCES:
            self._set(name, _number(getattr(self, name), name, most=LIMITS.get(name, np.inf)))
        self._set("flip", _flags(self.flip))
        self._set("swap_labels", _pairs(self.swap_labels))
        self._set("probability", _probabilities(self.probability))
        _one_of(self.interpolation, INTERPOLATIONS, "interpolation")
        _one_of(self.mask_interpolation, MASK_INTERPOLATIONS, "mask_interpolation")
        _one_of(self.low_resolution_axis, (None, 0, 1, 2), "low_resolution_axis")
        _one_of(self.scaling_per_axis, (True, False), "scaling_per_axis")
        if not (_is_real(self.padding) or isinstance(self.padding, str) and self.padding in PADDINGS):
            names = ", ".join(PADDINGS)
            raise UsageError(f"`padding` must be {names} or a number. Received: padding={self.padding!r}.")

    def _set(self, name, value):
        object.__setattr__(self, name, value)

    @property
    def flip_axes(self):
        """Axes along which a prediction may be flipped and averaged: those flipped in training, labels unchanged."""
        return tuple(axis for axis in range(3) if self.flip[axis] and not (axis == 0 and self.swap_labels))

    @property
    def moves(self):
        """Whether any voxel may move."""
        return any(self.flip) or any(self.chance(name) for name in ("elastic", *SPATIAL))

    def chance(self, name):
        """Return the probability of a transform: 0 if its strength is 0."""
        return self.probability.get(name, 1.0) if getattr(self, name) > 0 else 0.0

    def to_json(self):
        """Return the settings as JSON text."""
        return to_text(self, schema=SCHEMA)

    @classmethod
    def from_json(cls, text, *, path="augmentation.json"):
        """Return the `Augmentation` that `to_json` wrote; a setting that is missing has its default.

        Raises:
            DataError: Other text, another schema, an unknown setting, or an invalid value; `path` is named.
        """
        return parse_document(text, cls, path=path, schema=SCHEMA)

    def __call__(self, seed, image, mask, *, spacing_mm, patch_size=None, center=None):
        """Return the changed image and mask, of the same types.

        Args:
            seed: Integer (2,); the same seed gives the same result.
            image: float32 (x, y, z, channels), of a shape that is known.
            mask: Integer (x, y, z, 1), of the same shape.
            spacing_mm: (3,), voxel sizes.
            patch_size: Three integers: only this patch of the changed volume is computed. Voxels move as they do in the
                whole; intensities change by what the patch shows. `None`: the whole volume.
            center: (3,), in voxels, the middle of the patch: a point of the given volume, followed to where the
                transforms move it, as far as the edge of the volume allows. `None`: its center.

        Raises:
            UsageError: Shapes that do not fit.
        """
        if any(isinstance(label, str) for pair in self.swap_labels for label in pair):
            raise UsageError(f"`swap_labels` must be values of the mask here. Received: {self.swap_labels}.")
        from mcc_keras.augmentation.kernel import augment  # deferred: only a call needs TensorFlow

        return augment(self, seed, image, mask, spacing_mm=spacing_mm, patch_size=patch_size, center=center)


def _number(value, name, *, most):
    if not _is_real(value) or not 0 <= value <= most:
        raise UsageError(f"`{name}` must be in [0, {most}]. Received: {name}={value!r}.")
    return float(value)


def _flags(value):
    flags = tuple(value) if isinstance(value, list | tuple | np.ndarray) else ()
    if len(flags) != 3 or not all(flag in (True, False) for flag in flags):
        raise UsageError(f"`flip` must be three booleans, one per axis. Received: flip={value!r}.")
    return tuple(bool(flag) for flag in flags)


def _pairs(value):
    pairs = tuple(tuple(pair) for pair in value) if isinstance(value, list | tuple) and not _flat(value) else None
    labels = () if pairs is None else [label for pair in pairs for label in pair]
    right = pairs is not None and all(len(pair) == 2 for pair in pairs) and len(set(labels)) == len(labels)
    if not right or not all(_is_label(label) for label in labels):
        rule = "`swap_labels` must be pairs of labels, each label once, as ((1, 2),)."
        raise UsageError(f"{rule} Received: swap_labels={value!r}.")
    return tuple(tuple(label if isinstance(label, str) else int(label) for label in pair) for pair in pairs)


def _is_label(label):
    return isinstance(label, str) or (isinstance(label, Integral) and not isinstance(label, bool) and 0 < label < 65536)


def _flat(values):
    return any(not isinstance(value, list | tuple) for value in values)


def _probabilities(value):
    if not isinstance(value, Mapping) or not set(value) <= set(CHANCES):
        rule = f"`probability` must be numbers by name, of {', '.join(CHANCES)}."
        raise UsageError(f"{rule} Received: probability={value!r}.")
    return {name: _number(chance, f"probability of {name}", most=1) for name, chance in value.items()}


def _one_of(value, allowed, name):
    if not any(value is choice or type(value) is type(choice) and value == choice for choice in allowed):
        raise UsageError(f"`{name}` must be one of {', '.join(map(str, allowed))}. Received: {name}={value!r}.")


def _is_real(value):
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_) and bool(np.isfinite(value))
