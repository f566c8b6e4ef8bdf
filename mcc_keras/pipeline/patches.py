"""`Patches`: a frozen value with the boxes to draw from a volume. It loads no TensorFlow; `centers` draws them."""

import dataclasses
import math
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

    def check(self, shapes):
        """Warn about, or refuse, a size that exceeds volumes of some shapes, a list of (x, y, z)."""
        small = [shape for shape in shapes if any(n > most for n, most in zip(self.size, shape, strict=True))]
        if not small:
            return
        smallest = min(small, key=math.prod)
        if self.oversize == "error":
            raise UsageError(
                f"A patch must fit into the volume, {tuple(smallest)}. Received: size={self.size}. Use oversize='pad'."
            )
        of = f"the volume, {tuple(smallest)}: it is"
        if len(set(map(tuple, shapes))) > 1:
            of = f"{len(small)} of {len(shapes)} volumes, the smallest {tuple(smallest)}: these are"
        warnings.warn(f"A patch of {self.size} exceeds {of} padded.", stacklevel=3)


def refuse_whole(manifest):
    """Refuse whole volumes of records whose sizes differ.

    Raises:
        UsageError: The records are of native size.
    """
    if manifest.preprocessing.is_native:
        raise UsageError(
            f"`patches` must be given for the records in {manifest.work}, whose cases have sizes of their own."
            " Received: patches=None. Train on patches: --patch-size 64 (mk.train(patches=mk.Patches(size=64))); or"
            " prepare the cases in one box, with a size in voxels."
        )


def _positive(value):
    return isinstance(value, Integral) and not isinstance(value, bool) and value > 0
