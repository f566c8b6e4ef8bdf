"""Which classes are left and right of each other, by masks that are drawn by hand."""

import numpy as np
import pytest

from mcc_keras.preprocessing.sides import find_sided, mirrored_classes


def boxes(shape, **where):
    """Return a mask with box number n where `n<number>=((x, x), (y, y), (z, z))`."""
    mask = np.zeros(shape, np.uint8)
    for name, ends in where.items():
        mask[tuple(slice(*pair) for pair in ends)] = int(name[1:])
    return mask


LUNGS = {"n1": ((12, 18), (4, 12), (2, 14)), "n2": ((2, 8), (4, 12), (2, 14))}


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shift", [0, 2])
def test_two_mirror_images_are_sides_wherever_the_patient_lies(axis, shift):
    mask = np.roll(np.moveaxis(boxes((20, 16, 16), **LUNGS), 0, axis), shift, axis)
    assert mirrored_classes(mask, axis) == [(2, 1)]


@pytest.mark.parametrize(
    "others",
    [
        {"n1": ((10, 19), (2, 14), (2, 14)), "n2": ((2, 5), (3, 8), (3, 8))},  # liver and spleen
        {"n1": ((4, 16), (2, 8), (2, 14)), "n2": ((4, 16), (8, 14), (2, 14))},  # front and back
        {"n1": ((2, 8), (2, 8), (2, 8)), "n2": ((12, 18), (9, 15), (9, 15))},  # opposite, elsewhere
        {"n1": ((4, 16), (2, 14), (2, 14)), "n2": ((7, 13), (5, 11), (5, 11))},  # core and rim
        {"n1": ((4, 16), (4, 12), (2, 10)), "n2": ((4, 10), (5, 11), (3, 9))},  # a core at one end
    ],
)
def test_classes_that_are_not_mirror_images_are_no_sides(others):
    assert mirrored_classes(boxes((20, 16, 16), **others)) == []


def test_sides_are_what_at_least_half_of_the_cases_show_in_one_order():
    both = [{1, 2, 3}] * 4
    assert find_sided([[(2, 1)], [(2, 1)], [], []], both) == ((1, 2),)
    assert find_sided([[(2, 1)], [], [], []], both) == ()
    assert find_sided([[(2, 1)], [(1, 2)], [(2, 1)], []], both) == ()
    assert find_sided([[(2, 1), (3, 1)], [], []], [{1, 2}, {1}, {2}]) == ((1, 2), (1, 3))
