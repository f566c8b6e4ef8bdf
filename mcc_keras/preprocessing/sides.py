"""Side labels: pairs of classes that are left and right of each other, so that a flip must swap them.

pairs = [mirrored_classes(box) for box in boxes]           # of each case, the first axis from left to right
find_sided(pairs, present)                                 # ((1, 2),)
"""

import itertools

import numpy as np

from mcc_keras.extent import bounding_box

OVERLAP = 0.3  # least Dice of one class with the mirror image of the other
_OWN_SIDE = 0.8  # share of a class on its side of the plane between the two
_SIMILAR = 0.5  # least ratio of the volumes of a pair, wherever the plane between them lies
_MOST_CASES = 0.5
_ONE_ORDER = 0.9  # first and second lesion lie left and right in any order; a left and a right organ do not


def mirrored_classes(classes, axis=0):
    """Return the pairs of classes of one mask that are mirror images of each other.

    Two classes count where they lie on two sides of a sagittal plane and one, mirrored about the middle of the volume,
    overlaps the other with a Dice of at least 0.3; if their volumes are similar, also about the plane between them,
    since a patient need not lie in the middle.

    Args:
        classes: (x, y, z) integer, 0 is background.
        axis: The axis from left to right, or from right to left.

    Returns:
        List of (class at the low end of the axis, class at the high end).

    Example:

    >>> mask = np.zeros((10, 4, 4), np.uint8)
    >>> mask[1:4, 1:3, 1:3], mask[6:9, 1:3, 1:3] = 2, 1
    >>> mirrored_classes(mask)
    [(2, 1)]
    """
    classes = np.moveaxis(classes, axis, 0)
    found = {}
    for number in np.unique(classes[classes > 0]).tolist():
        where = classes == number
        box = bounding_box(where)
        part = where[tuple(slice(*ends) for ends in box)]
        found[number] = (box, part, part.sum(axis=(1, 2), dtype=np.int64))
    pairs = itertools.combinations(found, 2)
    ordered = [pair if _center(found[pair[0]]) <= _center(found[pair[1]]) else pair[::-1] for pair in pairs]
    return [(int(a), int(b)) for a, b in ordered if _is_mirrored(found[a], found[b], len(classes))]


def find_sided(pairs, present):
    """Return the pairs of classes that are left and right of each other in a set of cases.

    Args:
        pairs: For each case, what `mirrored_classes` returns.
        present: For each case, the set of its classes.

    Returns:
        Tuple of pairs, ascending: those found, in one order, in at least half of the cases that hold both.

    Example:

    >>> find_sided([[(2, 1)], [(2, 1)], []], [{1, 2}, {1, 2}, {1}])
    ((1, 2),)
    >>> find_sided([[(2, 1)], [(1, 2)]], [{1, 2}, {1, 2}])
    ()
    """
    counts = {}
    for pair in itertools.chain.from_iterable(pairs):
        counts[tuple(pair)] = counts.get(tuple(pair), 0) + 1
    sided = set()
    for (low, high), count in counts.items():
        both = sum(low in classes and high in classes for classes in present)
        if count >= _MOST_CASES * both and count >= _ONE_ORDER * (count + counts.get((high, low), 0)):
            sided.add((min(low, high), max(low, high)))
    return tuple(sorted(sided))


def _center(described):
    ((low, _), *_), _, profile = described
    return low + np.average(np.arange(len(profile)), weights=profile)


def _is_mirrored(first, second, length):
    volumes = sorted((int(first[2].sum()), int(second[2].sum())))
    if 2 * volumes[0] < OVERLAP * sum(volumes):  # an upper bound of the Dice
        return False
    between = (_center(first) + _center(second)) / 2
    if not _apart(first, second, between):
        return False
    planes = [length - 1]  # the sum of mirrored indices
    if volumes[0] >= _SIMILAR * volumes[1]:
        planes.append(round(2 * between))
    return any(_mirrored_dice(first, second, plane) >= OVERLAP for plane in planes)


def _apart(first, second, plane):
    shares = []
    for (((low, _), *_), _, profile), side in ((first, -1), (second, 1)):
        index = low + np.arange(len(profile))
        shares.append(profile[side * (index - plane) > 0].sum() / profile.sum())
    return min(shares) >= _OWN_SIDE


def _mirrored_dice(first, second, plane):
    (box, part, profile), (other_box, other, other_profile) = first, second
    (low, high), *rest = box
    box = ((plane - high + 1, plane - low + 1), *rest)
    common = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(box, other_box, strict=True)]
    if any(start >= stop for start, stop in common):
        return 0.0
    mirrored = part[::-1][_inner(common, box)]
    shared = int(np.count_nonzero(mirrored & other[_inner(common, other_box)]))
    return 2 * shared / int(profile.sum() + other_profile.sum())


def _inner(common, box):
    return tuple(slice(a - low, b - low) for (a, b), (low, _) in zip(common, box, strict=True))
