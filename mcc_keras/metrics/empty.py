"""The value of every metric when truth, prediction or both are empty.

`None` stands for 0/0, which the argument `empty` of the metric replaces, by default with the last column ("exclude":
the volume is left out of the mean and counted in `excluded`). Tests compare the table with the metrics.

| metric | truth empty | prediction empty | both empty | default of `empty` |
|---|---|---|---|---|
| `DiceScore`, `JaccardScore` | 0 | 0 | 0/0 | 1 |
| `VolumetricSimilarity` | 0 | 0 | 0/0 | 1 |
| `Sensitivity` | 0/0 | 0 | 0/0 | exclude |
| `Precision` | 0 | 0/0 | 0/0 | exclude |
| `MatthewsCorrelationCoefficient` | 0/0 | 0/0 | 0/0 | 0 |
| `hausdorff_distance_mm`, `average_surface_distance_mm` | ∞ | ∞ | 0 | |
| `surface_dice` | 0 | 0 | 1 | |
| `relative_volume_difference` | ∞ | -1 | 0 | |
"""

from typing import NamedTuple


class Answers(NamedTuple):
    """Values of a metric; None is 0/0, replaced by its argument `empty`."""

    truth: float | None
    prediction: float | None
    both: float | None
    empty: object = None


INFINITE = float("inf")
EMPTY = {
    "DiceScore": Answers(0.0, 0.0, None, 1.0),
    "JaccardScore": Answers(0.0, 0.0, None, 1.0),
    "VolumetricSimilarity": Answers(0.0, 0.0, None, 1.0),
    "Sensitivity": Answers(None, 0.0, None, "exclude"),
    "Precision": Answers(0.0, None, None, "exclude"),
    "MatthewsCorrelationCoefficient": Answers(None, None, None, 0.0),
    "hausdorff_distance_mm": Answers(INFINITE, INFINITE, 0.0),
    "average_surface_distance_mm": Answers(INFINITE, INFINITE, 0.0),
    "surface_dice": Answers(0.0, 0.0, 1.0),
    "relative_volume_difference": Answers(INFINITE, -1.0, 0.0),
}
