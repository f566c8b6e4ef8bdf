"""`MaskOptions`: how a run's probabilities become a mask; `segmenter.json` of a run holds what was found to be better.

Flips and the threshold are in the graph, and so in an export. Connected components are not: they are found afterwards,
by `segment`, `evaluate` and the client.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcc_keras.documents import read_document, write_document
from mcc_keras.errors import RunError, UsageError

SEGMENTER, SCHEMA = "segmenter.json", 1
THRESHOLD = 0.5
AXES = "xyz"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskOptions:
    """How probabilities become a mask.

    Args:
        flip_axes: Axes of the box (0 is left–right) each of which is also flipped by itself; the predictions are
            averaged. `None`: those of the training.
        threshold: Probability, in (0, 1), from which on a single class is foreground.
        largest_component: Keep only the largest connected component of every class.
        smallest_mm3: Remove smaller connected components, in cubic millimetres; 0 or more.

    Raises:
        UsageError: A value out of range.

    Example:

    >>> MaskOptions(threshold=0.4, largest_component=True).graph_free
    {'largest_component': True, 'smallest_mm3': 0.0}
    """

    flip_axes: tuple[int, ...] | None = None
    threshold: float = THRESHOLD
    largest_component: bool = False
    smallest_mm3: float = 0.0

    def __post_init__(self):
        if self.flip_axes is not None and not set(self.flip_axes) <= {0, 1, 2}:
            raise UsageError(f"`flip_axes` must be some of 0, 1 and 2. Received: flip_axes={self.flip_axes!r}.")
        if not 0 < self.threshold < 1:
            raise UsageError(f"`threshold` must be in (0, 1). Received: threshold={self.threshold!r}.")
        if not self.smallest_mm3 >= 0:
            raise UsageError(f"`smallest_mm3` must be 0 or more. Received: smallest_mm3={self.smallest_mm3!r}.")

    @property
    def graph_free(self):
        """What no graph holds, by name."""
        return {"largest_component": self.largest_component, "smallest_mm3": self.smallest_mm3}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """One setting that was measured.

    Args:
        options: Names and values of the `MaskOptions` that differ from those before it.
        dice: Mean Dice over the cases.
        gain: Its mean difference from the options before it, case by case.
        standard_error: Of the gain.
        taken: Whether it was taken.
    """

    options: Mapping[str, Any]
    dice: float
    gain: float
    standard_error: float
    taken: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredOptions:
    """What `segmenter.json` holds.

    Args:
        options: `MaskOptions` of the run.
        cases: Validation cases that they were measured on.
        dice_before: Mean Dice with the options of the training.
        trials: `Trial`s in their order.
    """

    options: MaskOptions
    cases: int
    dice_before: float
    trials: tuple[Trial, ...]


def read_mask_options(folder):
    """Return the `MaskOptions` of a run: those of `segmenter.json`, or the defaults without it.

    Raises:
        RunError: The file is damaged.
    """
    path = Path(folder) / SEGMENTER
    if not path.is_file():
        return MaskOptions()
    way_out = "Remove it, or measure again with `mcc-keras evaluate RUN --try …`."
    return read_document(path, StoredOptions, schema=SCHEMA, error=RunError, way_out=way_out).options


def write_mask_options(stored, folder):
    """Write `segmenter.json` of a run; return its path."""
    return write_document(stored, Path(folder) / SEGMENTER, schema=SCHEMA)


def parse_flips(flips):
    """Return flip axes as a tuple, from names of axes or `"none"`; `None` stays.

    Example:

    >>> parse_flips("x,z"), parse_flips(("y",)), parse_flips("none"), parse_flips(None)
    ((0, 2), (1,), (), None)
    """
    if flips is None:
        return None
    names = flips.split(",") if isinstance(flips, str) else list(flips)
    if names == ["none"]:
        return ()
    unknown = [name for name in names if name not in tuple(AXES)]
    if unknown or len(set(names)) < len(names):
        raise UsageError(f"`flips` must be some of x, y and z, or none. Received: flips={flips!r}.")
    return tuple(AXES.index(name) for name in names)


def name_flips(flip_axes):
    """Return flip axes as text.

    Example:

    >>> name_flips((0, 2)), name_flips(())
    ('x,z', 'none')
    """
    return ",".join(AXES[axis] for axis in flip_axes) or "none"
