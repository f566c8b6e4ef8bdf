import numpy as np
import pytest

from mcc_keras import metrics
from mcc_keras.errors import UsageError
from mcc_keras.metrics import EMPTY, surface


def ball(centre, radius, size=99):
    x, y, z = np.indices((size, size, size))
    return (x - centre) ** 2 + (y - centre) ** 2 + (z - centre) ** 2 <= radius**2


def brute_force(truth, prediction, spacing):
    """All distances between surface voxels, by comparing every pair."""

    def voxels(mask):
        padded = np.pad(mask, 1)
        inner = np.ones(mask.shape, bool)
        for axis in range(3):
            for step in (-1, 1):
                inner &= np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
        return np.argwhere(mask & ~inner) * np.array(spacing)

    a, b = voxels(truth), voxels(prediction)
    pairs = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    return pairs.min(1), pairs.min(0)


def test_distances_are_those_of_all_pairs_of_surface_voxels():
    generator = np.random.default_rng(0)
    truth, prediction = generator.random((2, 9, 8, 7)) < 0.4
    spacing = (0.5, 1.25, 3.0)
    forward, backward = brute_force(truth, prediction, spacing)
    found = surface.surface_distances(truth, prediction, spacing)
    np.testing.assert_allclose(found.to_prediction_mm, np.sort(forward))
    np.testing.assert_allclose(found.to_truth_mm, np.sort(backward))
    everything = np.concatenate([forward, backward])
    average = surface.average_surface_distance_mm(truth, prediction, spacing)
    assert average == pytest.approx(everything.mean())
    dice = surface.surface_dice(truth, prediction, spacing, tolerance_mm=0.5)
    assert dice == pytest.approx((everything <= 0.5).mean())
    hausdorff95 = surface.hausdorff_distance_mm(truth, prediction, spacing, percentile=95)
    assert hausdorff95 == pytest.approx(max(np.percentile(forward, 95), np.percentile(backward, 95)))


def test_two_balls_a_diagonal_apart():
    distance = surface.hausdorff_distance_mm(ball(20, 20), ball(19, 20), (1, 1, 1))
    assert distance == pytest.approx(np.sqrt(3))


def test_two_single_voxels_two_millimetres_apart():
    truth, prediction = np.zeros((2, 100, 100, 100), bool)
    truth[50, 60, 70] = prediction[50, 60, 72] = True
    assert surface.hausdorff_distance_mm(truth, prediction, (3, 2, 1)) == 2.0
    assert surface.average_surface_distance_mm(truth, prediction, (3, 2, 1)) == 2.0
    assert surface.surface_dice(truth, prediction, (3, 2, 1), tolerance_mm=1.9) == 0.0
    assert surface.surface_dice(truth, prediction, (3, 2, 1), tolerance_mm=2.0) == 1.0


def test_area_weighting_counts_faces_in_square_millimetres():
    truth = np.zeros((4, 4, 4), bool)
    truth[1, 1, 1:3] = True
    sizes = surface.surface_distances(truth, truth, (1, 2, 5), weighting="area").truth_sizes
    # Each voxel shows two faces of 2 · 5, two of 1 · 5 and one of 1 · 2.
    assert sizes.tolist() == [32.0, 32.0]


@pytest.mark.parametrize("name", [name for name in EMPTY if name[0].islower()])
def test_empty_masks_are_answered_as_the_table_says(name):
    full, none = np.ones((4, 4, 4), bool), np.zeros((4, 4, 4), bool)
    arguments = () if name == "relative_volume_difference" else ((1, 1, 1),)
    options = {"tolerance_mm": 1.0} if name == "surface_dice" else {}
    metric = getattr(metrics, name)
    assert metric(none, full, *arguments, **options) == EMPTY[name].truth
    assert metric(full, none, *arguments, **options) == EMPTY[name].prediction
    assert metric(none, none, *arguments, **options) == EMPTY[name].both


def test_bad_input_is_refused_with_what_was_received():
    mask = np.ones((4, 4, 4), bool)
    with pytest.raises(UsageError, match=r"\(4, 4, 4\).*\(4, 4, 3\)"):
        surface.surface_distances(mask, mask[..., :3], (1, 1, 1))
    with pytest.raises(UsageError, match=r"spacing_mm=\(1, 0, 1\)"):
        surface.surface_distances(mask, mask, (1, 0, 1))
    with pytest.raises(UsageError, match="percentile=0"):
        surface.hausdorff_distance_mm(mask, mask, (1, 1, 1), percentile=0)
    with pytest.raises(UsageError, match="tolerance_mm=-1"):
        surface.surface_dice(mask, mask, (1, 1, 1), tolerance_mm=-1)
    with pytest.raises(UsageError, match="weighting='mesh'"):
        surface.surface_distances(mask, mask, (1, 1, 1), weighting="mesh")


def test_regions_of_brats_are_unions_of_labels():
    mask = np.array([0, 1, 2, 3, 4])
    whole, core, enhancing = (surface.region(mask, labels) for labels in ((1, 2, 3, 4), (1, 3, 4), (4,)))
    assert [x.sum() for x in (whole, core, enhancing)] == [4, 3, 1]
