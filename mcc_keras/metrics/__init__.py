"""Metrics for volumes: streaming Keras metrics on exact counts, and distances between surfaces in mm.

`EMPTY` lists the value of each when truth, prediction or both are empty. Nothing here imports Keras before a
class is used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "empty": ["EMPTY"],
        "matthews": ["MatthewsCorrelationCoefficient"],
        "overlap": ["DiceScore", "JaccardScore", "Precision", "Sensitivity", "VolumetricSimilarity"],
        "promise12": ["boundary_scores", "relative_score"],
        "surface": [
            "average_surface_distance_mm",
            "hausdorff_distance_mm",
            "region",
            "relative_volume_difference",
            "surface_dice",
            "surface_distances",
        ],
    },
)
