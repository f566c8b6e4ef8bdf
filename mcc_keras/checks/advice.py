"""Advice from the data: a size for the network, the largest size that fits the memory, losses that will struggle."""

import math

import numpy as np

from mcc_keras.memory import GIB, total_memory

BUDGET_VOXELS = 300_000
BATCH = 2
_MULTIPLE = 8
# Measured for Dense V-Net in float32 on a CPU (TensorFlow 2.21, batch 1 and 2, sides of 24 to 128): the peak of the
# process that trains, a straight line over the voxels of the batch.
_PROCESS_GIB, _GIB_PER_VOXEL = 0.95, 3.1e-7
_SPARE = 0.75
_FEW_VOXELS = 64
_RARE, _VERY_RARE = 0.01, 0.001


def advise(rows, cases, *, memory_gib=None):
    """Return sentences of advice for a set of cases; `memory_gib` is the memory of the machine, None: look it up."""
    known = [row for row in rows if "canonical_shape" in row]
    memory_gib = total_memory() / GIB if memory_gib is None else memory_gib
    return (_size(known, memory_gib) if known else []) + _loss(rows, cases)


def target_size(shape, spacing_mm, *, budget=BUDGET_VOXELS):
    """Return sizes that are multiples of 8 and fit the budget of voxels; the finest axis gives way first.

    >>> target_size((35, 50, 36), (1, 1, 1))
    (40, 56, 40)
    >>> target_size((160, 160, 24), (1.22, 1.22, 3.6))
    (104, 104, 24)
    """
    size = [math.ceil(length / _MULTIPLE) * _MULTIPLE for length in shape]
    extent = [length * step for length, step in zip(shape, spacing_mm, strict=True)]
    while math.prod(size) > budget and max(size) > _MULTIPLE:
        steps = [extent[axis] / size[axis] if size[axis] > _MULTIPLE else math.inf for axis in range(3)]
        # Axes of about the same step shrink together, so that a square plane stays square.
        for axis in range(3):
            size[axis] -= _MULTIPLE if steps[axis] <= 1.01 * min(steps) else 0
    return tuple(size)


def training_gib(size, *, batch_size=BATCH):
    """Return the GiB of memory of a process that trains Dense V-Net on a CPU.

    >>> round(training_gib((64, 64, 64)), 2)
    1.11
    """
    return _PROCESS_GIB + batch_size * math.prod(size) * _GIB_PER_VOXEL


def largest_size(shape, spacing_mm, memory_gib, *, batch_size=BATCH):
    """Return the largest size that a training step fits into, a quarter of the memory left to others; None: none does.

    >>> largest_size((240, 240, 155), (1, 1, 1), 4.0)
    (168, 168, 112)
    >>> largest_size((240, 240, 155), (1, 1, 1), 1.0) is None
    True
    """
    budget = (_SPARE * memory_gib - _PROCESS_GIB) / _GIB_PER_VOXEL / batch_size
    return target_size(shape, spacing_mm, budget=budget) if budget >= _MULTIPLE**3 else None


def _size(rows, memory_gib):
    shape = tuple(int(round(size)) for size in np.median([row["canonical_shape"] for row in rows], axis=0))
    spacing = tuple(float(step) for step in np.median([row["canonical_spacing_mm"] for row in rows], axis=0))
    size = target_size(shape, spacing)
    sentences = [
        f"The median volume is {_sides(shape)} voxels of {' x '.join(f'{step:.3g}' for step in spacing)} mm in RAS "
        f"order: start with --size {','.join(map(str, size))}.",
        f"Training Dense V-Net at that size and batch {BATCH} takes about {training_gib(size):.1f} GiB of memory.",
    ]
    return sentences + _memory(shape, spacing, size, memory_gib) + _lost(rows, size)


def _memory(shape, spacing, size, memory_gib):
    largest = largest_size(shape, spacing, memory_gib)
    if largest is None or math.prod(largest) < math.prod(size):
        smaller = "no size" if largest is None else f"--size {','.join(map(str, largest))}"
        return [f"The {memory_gib:.1f} GiB of this machine are too few for that: at batch {BATCH} {smaller} fits."]
    if largest == size:
        return []
    whole = "the whole median volume, " if target_size(shape, spacing, budget=math.inf) == largest else ""
    return [
        f"The {memory_gib:.3g} GiB of this machine fit {whole}--size {','.join(map(str, largest))} at batch {BATCH}."
    ]


def _lost(rows, size):
    """Return a warning of foreground that becomes too small to see when a volume is resized to the box."""
    shares = [
        (row["foreground_fraction"] * math.prod(size), row["case"]) for row in rows if row.get("foreground_fraction")
    ]
    few = sorted(pair for pair in shares if pair[0] < _FEW_VOXELS)
    if not few:
        return []
    return [
        f"In {len(few)} of {len(rows)} cases the foreground has less than {_FEW_VOXELS} voxels at that size, in "
        f"{few[0][1]} about {few[0][0]:.1f}: use a larger size, or crop the scans first."
    ]


def _sides(shape):
    return " x ".join(map(str, shape))


def _loss(rows, cases):
    shares = [row["foreground_fraction"] for row in rows if "foreground_fraction" in row]
    if not shares:
        return []
    middle, empty = float(np.median(shares)), sum(share == 0 for share in shares)
    sentences = []
    if middle < _VERY_RARE:
        sentences.append(
            f"Half of the cases have less than {middle:.2%} foreground: cross-entropy will see almost only background. "
            "Train with mcc or dice."
        )
    elif middle < _RARE:
        sentences.append(f"The median foreground is {middle:.2%}: cross-entropy will struggle. Train with mcc or dice.")
    if empty:
        sentences.append(
            f"{empty} of {len(shares)} masks are empty: mcc with its default smooth=1 learns from them, "
            "the published form (smooth=0) does not."
        )
    if len(cases[0].task.labels) > 1:
        sentences.append("Several classes: mcc is the multi-class R_K, gwd can weigh one confusion against another.")
    return sentences
