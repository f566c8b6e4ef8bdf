"""`Patches`: a frozen value with the boxes to draw from a volume. It loads no TensorFlow; `centers` draws them."""

import dataclasses
import warnings
from numbers import Integral

from mcc_keras.errors import UsageError

FOREGROUND_BY = ("voxel", "class")
OVERSIZES = ("pad", "error")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Patches:
    """Settings of the patches drawn from a volume.

    Args:
        size: (x, y, z) in voxels; one integer means a cube.
        per_volume: Patches per reading of a volume, each with its own augmentation.
        foreground_fraction: Probability that a patch is centered on a foreground voxel (as far as the edge of the
            volume allows), in [0, 1]. The others are uniform over the volume, and so are those of empty masks.
        foreground_by: `"voxel"`: every foreground voxel has the same probability. `"class"`: a class in the mask is
            drawn first and then one of its voxels, so that small structures come as often as large ones.
        oversize: Where the size exceeds the volume: `"pad"` both sides with the darkest value of each channel and with
            background, and warn, or `"error"`.

    Raises:
        UsageError: A value out of range.

    Example:

    >>> Patches(size=32).size
    (32, 32, 32)
    """

    size: tuple | int
    per_volume: int = 1
    foreground_fraction: float = 0.5
    foreground_by: str = "voxel"
    oversize: str = "pad"

    def __post_init__(self):
        size = (self.size,) * 3 if isinstance(self.size, Integral) else self.size
        if not (isinstance(size, tuple | list) and len(size) == 3 and all(map(_positive, size))):
            raise UsageError(f"`size` must be one or three positive integers. Received: size={self.size!r}.")
        object.__setattr__(self, "size", tuple(int(n) for n in size))
        if not _positive(self.per_volume):
            raise UsageError(f"`per_volume` must be a positive integer. Received: per_volume={self.per_volume!r}.")
        fraction = self.foreground_fraction
        if not (isinstance(fraction, int | float) and 0 <= fraction <= 1):
            raise UsageError(f"`foreground_fraction` must be in [0, 1]. Received: foreground_fraction={fraction!r}.")
        for name, allowed in {"foreground_by": FOREGROUND_BY, "oversize": OVERSIZES}.items():
            if getattr(self, name) not in allowed:
                options = ", ".join(map(repr, allowed))
                raise UsageError(f"`{name}` must be one of {options}. Received: {name}={getattr(self, name)!r}.")

    def check(self, shape):
        """Warn about, or refuse, a size that exceeds a volume of `shape` (x, y, z)."""
        if all(n <= most for n, most in zip(self.size, shape, strict=True)):
            return
        if self.oversize == "error":
            raise UsageError(
                f"A patch must fit into the volume, {tuple(shape)}. Received: size={self.size}. Use oversize='pad'."
            )
        warnings.warn(f"A patch of {self.size} exceeds the volume, {tuple(shape)}: it is padded.", stacklevel=3)


def _positive(value):
    return isinstance(value, Integral) and not isinstance(value, bool) and value > 0
