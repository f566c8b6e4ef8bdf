import math
from pathlib import Path

import pytest

from mcc_keras.checks.advice import BUDGET_VOXELS, advise, largest_size, target_size, training_gib
from mcc_keras.datasets import Case
from mcc_keras.task import Task


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


# Peak resident memory, measured once for Dense V-Net (see the module).
@pytest.mark.parametrize(
    ("side", "batch_size", "gib"),
    [(24, 2, 0.92), (32, 2, 0.94), (48, 1, 0.95), (48, 2, 0.99), (64, 1, 1.00), (64, 2, 1.07), (96, 1, 1.19)]
    + [(96, 2, 1.49), (128, 2, 2.21)],
)
def test_the_stored_figures_give_the_memory_that_was_measured(side, batch_size, gib):
    assert training_gib((side,) * 3, batch_size=batch_size) == pytest.approx(gib, rel=0.15)


@pytest.mark.parametrize("memory_gib", [2, 4, 16, 64])
def test_the_largest_size_leaves_a_quarter_of_the_memory_and_eight_voxels_more_would_not(memory_gib):
    size = largest_size((1000, 1000, 1000), (1, 1, 1), memory_gib)
    larger = tuple(length + 8 for length in size)
    assert training_gib(size) <= 0.75 * memory_gib < training_gib(larger)


def row(share, shape=(240, 240, 160), case="a"):
    return {
        "case": case,
        "canonical_shape": shape,
        "canonical_spacing_mm": (1.0, 1.0, 1.0),
        "foreground_fraction": share,
    }


def advice(*shares, labels=((1,),), memory_gib=16, shape=(240, 240, 160)):
    rows = [row(share, shape, f"case{index}") for index, share in enumerate(shares)]
    return " ".join(advise(rows, [Case("a", (Path("a.nii"),), task=Task(labels=labels))], memory_gib=memory_gib))


def test_a_size_and_what_the_memory_holds_are_reported():
    text = advice(0.05)
    # 72 · 72 · 48 voxels at batch 2 are 497,664: 1.10 GiB.
    assert "start with --size 72,72,48" in text and "about 1.1 GiB" in text and " s a step" not in text
    assert "16 GiB of this machine fit the whole median volume, --size 240,240,160 at batch 2." in text
    assert "4 GiB of this machine fit --size 168,168,112" in advice(0.05, memory_gib=4)
    assert "of this machine" not in advice(0.05, shape=(40, 40, 40))


@pytest.mark.parametrize(("memory_gib", "expected"), [(1.4, "--size 56,56,40 fits"), (1, "no size fits")])
def test_a_machine_that_is_too_small_is_reported_before_the_start(memory_gib, expected):
    assert f"The {memory_gib:.1f} GiB of this machine are too few for that: at batch 2 {expected}" in advice(
        0.05, memory_gib=memory_gib
    )


@pytest.mark.parametrize(
    ("shares", "expected", "unexpected"),
    [
        ((0.05, 0.05), "", "cross-entropy"),
        ((0.005, 0.005), "0.50%: cross-entropy will struggle", "empty"),
        ((0.0005, 0.0005), "almost only background", "empty"),
        ((0.05, 0.0), "1 of 2 masks are empty", "cross-entropy will see"),
    ],
)
def test_the_loss_that_will_struggle_is_reported_from_the_foreground(shares, expected, unexpected):
    text = advice(*shares)
    assert expected in text and unexpected not in text


def test_foreground_that_a_resize_would_lose_is_reported_with_its_case():
    # 1e-4 of 72 · 72 · 48 voxels are 24.9.
    text = advice(0.05, 1e-4)
    assert "In 1 of 2 cases the foreground has less than 64 voxels at that size, in case1 about 24.9" in text
    assert "less than 64 voxels" not in advice(0.05, 0.0)


def test_several_classes_are_pointed_to_the_losses_that_know_them():
    assert "gwd can weigh" in advice(0.05, labels=((1,), (2,)))
