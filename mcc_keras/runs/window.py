"""`Window`: a frozen value with the box that the network sees at a time, and how overlapping boxes are blended."""

import dataclasses
from numbers import Integral, Real

from mcc_keras.errors import UsageError

BLENDS = ("gaussian", "constant")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
    """The part of a scan that the network sees at a time.

    Args:
        size: (x, y, z) in voxels of the box; one integer means a cube. A smaller box is padded.
        overlap: Least share of a window that the next one along an axis covers again, in [0, 1).
        blend: `"gaussian"`: probabilities are averaged with weights that fall from the middle of a window to an eighth
            of its side as standard deviation, since a network knows least at a border. `"constant"`: all count equally.

    Raises:
        UsageError: A value out of range.

    Example:

    >>> Window(size=64).size
    (64, 64, 64)
    >>> Window(size=(64, 64, 32), overlap=1)
    Traceback (most recent call last):
    mcc_keras.errors.UsageError: `overlap` must be a number in [0, 1). Received: overlap=1.
    """

    size: tuple[int, int, int]
    overlap: float = 0.5
    blend: str = "gaussian"

    def __post_init__(self):
        size = (self.size,) * 3 if isinstance(self.size, Integral) else self.size
        three = isinstance(size, tuple | list) and len(size) == 3
        if not three or not all(_is_number(n, Integral) and n > 0 for n in size):
            raise UsageError(f"`size` must be one or three positive integers. Received: size={self.size!r}.")
        if not (_is_number(self.overlap, Real) and 0 <= self.overlap < 1):
            raise UsageError(f"`overlap` must be a number in [0, 1). Received: overlap={self.overlap!r}.")
        if self.blend not in BLENDS:
            raise UsageError(f"`blend` must be one of {', '.join(BLENDS)}. Received: blend={self.blend!r}.")
        object.__setattr__(self, "size", tuple(map(int, size)))
        object.__setattr__(self, "overlap", float(self.overlap))


def _is_number(value, kind):
    return isinstance(value, kind) and not isinstance(value, bool)
