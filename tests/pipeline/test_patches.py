import numpy as np
import pytest
import tensorflow as tf

from mcc_keras.augmentation.boxes import corner_about
from mcc_keras.errors import UsageError
from mcc_keras.pipeline.centers import draw_centers, pad
from mcc_keras.pipeline.patches import Patches

SHAPE = (12, 10, 8)


def masked(voxels=()):
    """A mask with the given voxels, a dict place → class."""
    mask = np.zeros((*SHAPE, 1), np.uint8)
    for place, label in dict(voxels).items():
        mask[place] = label
    return tf.constant(mask)


def corners(patches, mask, *, seeds, classes=1):
    @tf.function
    def drawn(seed):
        return [
            corner_about(center, patches.size, SHAPE) for center in draw_centers(patches, seed, mask, classes=classes)
        ]

    return np.concatenate([np.stack(drawn(tf.constant([0, seed]))) for seed in range(seeds)])


def test_patches_anywhere_reach_every_corner_equally_often():
    mask = masked()
    found = corners(Patches(size=(11, 10, 7), per_volume=20, foreground_fraction=0.0), mask, seeds=20)
    places, counts = np.unique(found, axis=0, return_counts=True)
    assert places.tolist() == [[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 0, 1]]
    assert counts == pytest.approx([100] * 4, abs=30)  # 400 draws: 3.5 standard deviations


def test_patches_around_foreground_are_centered_on_it_as_far_as_the_edge_allows():
    mask = masked({(6, 5, 4): 1})
    assert (corners(Patches(size=(4, 4, 4), foreground_fraction=1), mask, seeds=3) == [4, 3, 2]).all()
    mask = masked({(0, 9, 4): 1})
    assert (corners(Patches(size=(4, 4, 4), foreground_fraction=1), mask, seeds=3) == [0, 6, 2]).all()


def test_the_share_around_foreground_is_the_one_that_was_asked_for():
    mask = masked({(6, 5, 4): 1})
    found = corners(Patches(size=(4, 4, 4), per_volume=20, foreground_fraction=0.3), mask, seeds=30)
    centered = (found == [4, 3, 2]).all(axis=1).mean()
    assert centered == pytest.approx(0.3 + 0.7 / (9 * 7 * 5), abs=0.065)  # 600 draws: 3.5 standard errors


@pytest.mark.parametrize(("foreground_by", "share"), [("voxel", 2 / 10), ("class", 1 / 2)])
def test_foreground_is_drawn_by_voxel_or_by_class(foreground_by, share):
    voxels = {(6, 5, 4): 1, (6, 5, 5): 1} | {(3, y, z): 2 for y in (4, 5) for z in (3, 4, 5, 2)}
    mask = masked(voxels)
    patches = Patches(size=(3, 3, 3), per_volume=20, foreground_fraction=1, foreground_by=foreground_by)
    found = corners(patches, mask, seeds=30, classes=2)
    assert (found[:, 0] == 5).mean() == pytest.approx(share, abs=0.075)  # 600 draws: 3.5 standard errors


@pytest.mark.parametrize("foreground_by", ["voxel", "class"])
def test_without_foreground_or_with_ignored_voxels_only_patches_lie_anywhere(foreground_by):
    mask = masked({(6, 5, 4): 3})
    patches = Patches(size=(4, 4, 4), per_volume=10, foreground_fraction=1, foreground_by=foreground_by)
    assert len(np.unique(corners(patches, mask, seeds=3, classes=2), axis=0)) > 20


def test_a_small_volume_is_padded_with_the_lowest_value_of_each_channel():
    image = np.random.default_rng(0).normal(size=(2, 5, 3, 2)).astype(np.float32)
    padded = pad(tf.constant(image), (4, 4, 4)).numpy()
    expected = np.stack([np.pad(c, [(1, 1), (0, 0), (0, 1)], constant_values=c.min()) for c in image.T.swapaxes(1, 3)])
    assert np.array_equal(padded, np.moveaxis(expected, 0, -1))


def test_a_mask_without_background_is_padded_with_background():
    padded = pad(tf.ones((2, 5, 3, 1), tf.uint8), (4, 5, 3), value=0).numpy()
    assert padded[:, 0, 0, 0].tolist() == [0, 1, 1, 0]


def test_a_patch_larger_than_the_volume_warns_or_is_refused():
    with pytest.warns(UserWarning, match=r"patch of \(4, 4, 9\) exceeds the volume, \(12, 10, 8\)"):
        Patches(size=(4, 4, 9)).check([SHAPE, SHAPE])
    with pytest.raises(UsageError, match=r"fit into the volume, \(12, 10, 8\). Received: size=\(4, 4, 9\)"):
        Patches(size=(4, 4, 9), oversize="error").check([SHAPE])
    Patches(size=SHAPE).check([SHAPE])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"size": 0}, "size=0"),
        ({"size": (8, 8)}, "size="),
        ({"size": (8, 8, 0)}, "size="),
        ({"per_volume": 0}, "per_volume=0"),
        ({"foreground_fraction": 1.5}, "foreground_fraction=1.5"),
        ({"foreground_fraction": float("nan")}, "foreground_fraction=nan"),
        ({"foreground_by": "classes"}, "'voxel', 'class'"),
        ({"oversize": "crop"}, "'pad', 'error'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments, named):
    with pytest.raises(UsageError, match=named):
        Patches(**{"size": (4, 4, 4)} | arguments)
