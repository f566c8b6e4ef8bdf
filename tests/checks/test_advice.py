import math

import pytest

from mcc_keras.checks.advice import BUDGET_VOXELS, target_size


@pytest.mark.parametrize(
    ("shape", "spacing", "expected"),
    [
        ((35, 50, 36), (1, 1, 1), (40, 56, 40)),
        ((160, 160, 24), (1.22, 1.22, 3.6), (104, 104, 24)),
        ((1, 1, 1), (1, 1, 1), (8, 8, 8)),
    ],
)
def test_the_size_is_a_multiple_of_eight_that_fits(shape, spacing, expected):
    assert target_size(shape, spacing) == expected


@pytest.mark.parametrize("shape", [(512, 512, 300), (2000, 2, 2), (30, 512, 512), (100_000, 100_000, 8)])
def test_a_large_volume_is_brought_within_the_budget(shape):
    size = target_size(shape, (0.7, 0.7, 2.5))
    assert math.prod(size) <= BUDGET_VOXELS
    assert all(length % 8 == 0 and length >= 8 for length in size)
