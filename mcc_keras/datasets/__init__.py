"""Cases on disk: layouts that are recognized, images and masks read on one grid, synthetic volumes."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "cases": ["Case", "find_cases", "read_image", "read_mask"],
        "synthetic": ["write_synthetic"],
    },
)
