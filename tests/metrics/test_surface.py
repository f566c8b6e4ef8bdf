import numpy as np
import pytest

from mcc_keras import metrics
from mcc_keras.errors import UsageError
from mcc_keras.metrics import EMPTY, empty, surface


def ball(center, radius, size=99):
    x, y, z = np.indices((size, size, size))
    return (x - center) ** 2 + (y - center) ** 2 + (z - center) ** 2 <= radius**2


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


@pytest.mark.parametrize("gap", [0, 3, 12, 40], ids=lambda gap: f"{gap} voxels apart")
def test_distances_near_and_far_are_those_of_all_pairs(gap):
    generator = np.random.default_rng(1)
    truth, prediction = np.zeros((2, 60, 6, 5), bool)
    truth[:8] = generator.random((8, 6, 5)) < 0.3
    prediction[gap : gap + 8] = generator.random((8, 6, 5)) < 0.3
    prediction[59, 0, 0] = True  # one voxel is far from all others
    spacing = (0.7, 1.1, 2.3)
    forward, backward = brute_force(truth, prediction, spacing)
    found = surface.surface_distances(truth, prediction, spacing)
    np.testing.assert_allclose(found.to_prediction_mm, np.sort(forward), rtol=1e-12)
    np.testing.assert_allclose(found.to_truth_mm, np.sort(backward), rtol=1e-12)


def test_a_straight_neighbor_is_nearer_than_a_diagonal_one_of_fewer_voxels():
    truth, prediction = np.zeros((2, 400, 400), bool)
    truth[0, 0] = prediction[10, 10] = prediction[12, 0] = True
    truth[399, 399] = prediction[399, 399] = True
    assert surface.surface_distances(truth, prediction, (1, 1)).to_prediction_mm.tolist() == [0, 12]


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


def single_voxels(shape, first, second):
    masks = np.zeros((2, *shape), bool)
    masks[0][first] = masks[1][second] = True
    return masks


def directed_averages(distances):
    ways = (distances.to_prediction_mm, distances.truth_sizes), (distances.to_truth_mm, distances.prediction_sizes)
    return [np.average(distance, weights=size) for distance, size in ways]


@pytest.mark.parametrize(
    ("shape", "spacing"), [((50, 70), (2, 1)), ((60, 50, 70), (3, 2, 1))], ids=["two axes", "three axes"]
)
def test_published_two_single_voxels_by_area(shape, spacing):
    # Published with surface-distance 0.1, in the plane and in space: the nearer half of each surface is 1 mm away.
    place = tuple(length // 2 for length in shape)
    truth, prediction = single_voxels(shape, place, (*place[:-1], place[-1] + 2))
    found = surface.surface_distances(truth, prediction, spacing, weighting="area")
    assert directed_averages(found) == [1.5, 1.5]
    assert surface.average_surface_distance_mm(truth, prediction, spacing, weighting="area") == 1.5
    for percentile in (95, 100):
        hausdorff = surface.hausdorff_distance_mm(truth, prediction, spacing, percentile=percentile, weighting="area")
        assert hausdorff == 2.0
    assert surface.surface_dice(truth, prediction, spacing, tolerance_mm=1, weighting="area") == 0.5


def test_published_halves_of_a_cube_that_differ_by_one_slice_by_area():
    # Published with surface-distance 0.1; the masks fill the array, whose end is a surface as well.
    truth, prediction = np.zeros((2, 100, 100, 100), bool)
    truth[:50], prediction[:51] = True, True
    found = surface.surface_distances(truth, prediction, (2, 1, 1), weighting="area")
    np.testing.assert_allclose(directed_averages(found), (0.322, 0.339), atol=5e-4)
    assert surface.hausdorff_of(found) == surface.hausdorff_of(found, percentile=95) == 2.0
    near = [size[distance <= 1].sum() / size.sum() for distance, size in (found[:2], found[2:4])]
    np.testing.assert_allclose(near, (0.842, 0.830), atol=5e-4)
    dice = surface.surface_dice(truth, prediction, (2, 1, 1), tolerance_mm=1, weighting="area")
    assert dice == pytest.approx(0.836, abs=5e-4)


def test_published_squares_that_differ_by_one_row_by_area():
    # Published with surface-distance 0.1: contours of 8 and 10 pieces, corners being half a diagonal.
    truth, prediction = np.zeros((2, 6, 6), bool)
    truth[1:3, 1:3], prediction[1:4, 1:3] = True, True
    corner = np.hypot(2, 1) / 2
    found = surface.surface_distances(truth, prediction, (2, 1), weighting="area")
    assert found.truth_sizes.sum() == pytest.approx(4 * corner + 2 * 1 + 2 * 2)
    assert found.prediction_sizes.sum() == pytest.approx(4 * corner + 2 * 1 + 4 * 2)
    # The middle of the truth's lower side lies inside the prediction, 1 mm from its sides; the prediction's own lower
    # side is 2 mm below.
    assert found.to_prediction_mm.tolist() == [0] * 7 + [1]
    assert found.to_truth_mm.tolist() == [0] * 7 + [2] * 3


def test_area_needs_two_or_three_axes():
    with pytest.raises(UsageError, match=r"2 or 3 axes.*\(4,\)"):
        surface.surface_distances(np.ones(4), np.ones(4), (1,), weighting="area")


@pytest.mark.parametrize("name", [name for name in EMPTY if name[0].islower()])
def test_empty_masks_have_the_values_of_the_table(name):
    full, none = np.ones((4, 4, 4), bool), np.zeros((4, 4, 4), bool)
    arguments = () if name == "relative_volume_difference" else ((1, 1, 1),)
    options = {"tolerance_mm": 1.0} if name == "surface_dice" else {}
    metric = getattr(metrics, name)
    for weighting in surface.WEIGHTINGS if arguments else (None,):
        options |= {"weighting": weighting} if weighting else {}
        assert metric(none, full, *arguments, **options) == EMPTY[name].truth
        assert metric(full, none, *arguments, **options) == EMPTY[name].prediction
        assert metric(none, none, *arguments, **options) == EMPTY[name].both


def test_the_table_to_read_is_the_table_in_code():
    said = {"0/0": None, "∞": float("inf"), "0": 0.0, "1": 1.0, "-1": -1.0, "": None, "exclude": "exclude"}
    rows = [line.strip("|").split("|") for line in empty.__doc__.splitlines() if line.startswith("| `")]
    read = {
        name: tuple(said[cell.strip()] for cell in cells)
        for names, *cells in rows
        for name in names.replace("`", "").replace(" ", "").split(",")
    }
    assert read == {name: tuple(answers) for name, answers in EMPTY.items()}


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
