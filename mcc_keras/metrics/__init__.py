"""Metrics for volumes: streaming Keras metrics on exact counts, and distances between surfaces in mm.

Nothing here imports Keras before a class is used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "matthews": ["MatthewsCorrelationCoefficient"],
        "overlap": ["DiceScore"],
    },
)
