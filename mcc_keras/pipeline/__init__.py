"""Prepared records as a `tf.data.Dataset`: order, patches, augmentation, batches.

dataset.py      `load_dataset`
parse.py        one record inside the graph
order.py        the order of the cases in an epoch
patches.py      `Patches`: the boxes to draw from a volume
centers.py      where they are drawn
patching.py     patches cut from a volume, and changed
cache.py        copies of the records in memory or on disk
throughput.py   volumes per second and the share of waiting
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "dataset": ["load_dataset"],
        "patches": ["Patches"],
        "throughput": ["Throughput", "measure_throughput"],
    },
)
