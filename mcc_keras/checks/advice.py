"""Advice from the facts: a size for the network, what a step costs, which losses will struggle."""

import math

import numpy as np

BUDGET_VOXELS = 300_000
_MULTIPLE = 8
# Measured for Dense V-Net: 48³ at batch 2 takes 0.105 s a training step on two CPU cores; the outputs of its layers are
# 0.09 GiB at 64³ and one sample, kept for the backward pass together with as much again.
_SECONDS_PER_VOXEL = 0.105 / (2 * 48**3)
_GIB_PER_VOXEL = 2 * 0.09 / 64**3
_RARE, _VERY_RARE = 0.01, 0.001


def advise(rows, cases):
    """Return sentences of advice for a set of cases."""
    known = [row for row in rows if "canonical_shape" in row]
    return (_size(known) if known else []) + _loss(rows, cases)


def target_size(shape, spacing_mm):
    """Return sizes that are multiples of 8 and fit the budget; the finest axis gives way first.

    >>> target_size((35, 50, 36), (1, 1, 1))
    (40, 56, 40)
    >>> target_size((160, 160, 24), (1.22, 1.22, 3.6))
    (104, 104, 24)
    """
    size = [math.ceil(length / _MULTIPLE) * _MULTIPLE for length in shape]
    extent = [length * step for length, step in zip(shape, spacing_mm, strict=True)]
    while math.prod(size) > BUDGET_VOXELS and max(size) > _MULTIPLE:
        steps = [extent[axis] / size[axis] if size[axis] > _MULTIPLE else math.inf for axis in range(3)]
        # Axes of about the same step shrink together, so that a square plane stays square.
        for axis in range(3):
            size[axis] -= _MULTIPLE if steps[axis] <= 1.01 * min(steps) else 0
    return tuple(size)


def _size(rows):
    shape = tuple(int(round(size)) for size in np.median([row["canonical_shape"] for row in rows], axis=0))
    spacing = tuple(float(step) for step in np.median([row["canonical_spacing_mm"] for row in rows], axis=0))
    size = target_size(shape, spacing)
    voxels = 2 * math.prod(size)
    shown = ",".join(map(str, size))
    shape_text, spacing_text = " x ".join(map(str, shape)), " x ".join(f"{step:.3g}" for step in spacing)
    return [
        f"The median volume is {shape_text} voxels of {spacing_text} mm in RAS order: start with --size {shown}.",
        f"Dense V-Net at that size and batch 2 takes about {voxels * _SECONDS_PER_VOXEL:.2g} s a step on two CPU cores "
        f"and about {voxels * _GIB_PER_VOXEL:.1f} GiB of memory.",
    ]


def _loss(rows, cases):
    shares = [row["foreground_share"] for row in rows if "foreground_share" in row]
    if not shares:
        return []
    middle, empty = float(np.median(shares)), sum(share == 0 for share in shares)
    sentences = []
    if middle < _VERY_RARE:
        sentences.append(
            f"Half of the cases have less than {middle:.2%} foreground: a whole volume resized may lose it, so crop or "
            "use a larger size; cross-entropy will see almost only background. Train with mcc or dice."
        )
    elif middle < _RARE:
        sentences.append(f"The median foreground is {middle:.2%}: cross-entropy will struggle. Train with mcc or dice.")
    if empty:
        sentences.append(
            f"{empty} of {len(shares)} masks are empty: mcc with its default smooth=1 learns from them, "
            "the published form (smooth=0) does not."
        )
    if len(cases[0].labels) > 1:
        sentences.append("Several classes: mcc is the multi-class R_K, gwd can weigh one confusion against another.")
    return sentences
