"""What the box costs: by hand, by the public way back, and by the graph that segments."""

import keras
import numpy as np
import pytest

from mcc_keras.preprocessing import Preprocessing
from mcc_keras.preprocessing.cost import box_cost, judge_costs, loss_error
from mcc_keras.task import Task

TURNED = np.array([[0, 0, 2.0, 5], [-1.5, 0, 0, 7], [0, 1.2, 0, -3], [0, 0, 0, 1]])


def random_mask(shape, classes, seed):
    """Blobs of all sizes, down to single voxels."""
    rng, mask = np.random.default_rng(seed), np.zeros(shape, np.uint8)
    for number in range(12):
        start, length = rng.integers(0, shape), rng.integers(1, 8, 3)
        mask[tuple(slice(a, a + n) for a, n in zip(start, length, strict=True))] = 1 + number % classes
    return mask


def cost_of(mask, preprocessing, affine, classes):
    grid = preprocessing.grid(mask[..., None], affine)
    return box_cost(mask, preprocessing.apply_mask(mask, grid, num_labels=classes), grid, num_labels=classes)


def test_a_box_that_changes_nothing_costs_nothing():
    mask = random_mask((9, 8, 7), 2, seed=0)
    for cost in cost_of(mask, Preprocessing(size=(12, 10, 8), spacing_mm=1.0), np.eye(4), 2):
        assert (cost.best_dice, cost.lost, cost.kept) == (1.0, 0, cost.voxels)


def test_what_a_coarse_box_loses_is_counted_by_hand():
    mask = np.zeros((8, 8, 8), np.uint8)
    mask[0, 0, 0] = mask[7, 7, 7] = 1  # each an eighth of a voxel of the box
    mask[2:6, 2:6, 2:4] = 1  # four voxels of the box
    (cost,) = cost_of(mask, Preprocessing(size=4), np.eye(4), 1)
    assert (cost.voxels, cost.box_voxels, cost.components, cost.lost) == (34, 4, 3, 2)
    # Back by interpolation the block keeps what is at least one half: 3/4 of it at its faces, 9/16 at its edges.
    assert (cost.kept, cost.best_dice) == (24, 48 / (34 + 24))


def test_a_probability_of_one_half_is_foreground_of_a_single_class():
    mask = np.zeros((2, 2, 2), np.uint8)
    mask[0] = 1
    grid, box = Preprocessing(size=(4, 2, 2)).grid(mask[..., None], np.eye(4)), np.zeros((4, 2, 2), np.uint8)
    box[0] = 1  # half of the first voxels of the scan
    assert box_cost(mask, box, grid, num_labels=1)[0].kept == 4


def test_a_box_that_cuts_the_scan_loses_what_lies_outside():
    mask = np.zeros((16, 4, 4), np.uint8)
    mask[:, 1:3, 1:3] = 1
    (cost,) = cost_of(mask, Preprocessing(size=(4, 4, 4), spacing_mm=1.0), np.eye(4), 1)
    assert (cost.kept, cost.best_dice) == (16, 2 * 16 / (64 + 16))


def test_a_class_that_a_scan_does_not_hold_has_no_dice_and_no_part_in_the_mean():
    empty = cost_of(np.zeros((4, 4, 4), np.uint8), Preprocessing(size=4), np.eye(4), 2)
    full = cost_of(random_mask((4, 4, 4), 2, seed=1), Preprocessing(size=4), np.eye(4), 2)
    assert [cost.best_dice for cost in empty] == [None, None]
    assert judge_costs({"a": empty, "b": full}, ("x", "y")) == ([], {})


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("settings", [{"size": (11, 12, 9)}, {"size": 16, "spacing_mm": 1.7}, {"size": 40}])
def test_the_cost_is_that_of_restore_and_of_the_graph_that_segments(classes, settings):
    from mcc_keras.segmentation.segmenter import Segmenter

    mask, preprocessing = random_mask((19, 23, 17), classes, seed=classes), Preprocessing(**settings)
    grid = preprocessing.grid(mask[..., None], TURNED)
    box = preprocessing.apply_mask(mask, grid, num_labels=classes)
    answer = (box[..., None] == np.arange(1 if classes == 1 else 0, classes + 1)).astype(np.float32)
    model = keras.Sequential([keras.Input((*preprocessing.size, 1)), Answer(answer)])
    segmenter = Segmenter(model, preprocessing, task=Task(labels=tuple((n,) for n in range(1, classes + 1))))
    image = np.random.default_rng(0).normal(size=(*mask.shape, 1)).astype(np.float32)
    graph = segmenter.segment(image, TURNED.astype(np.float32))["mask"].numpy()
    restored = preprocessing.restore(answer[..., -classes:], grid)
    for n, cost in enumerate(box_cost(mask, box, grid, num_labels=classes), start=1):
        others = np.maximum(1 - restored.sum(-1), np.delete(restored, n - 1, -1).max(-1, initial=0))
        numpy = restored[..., 0] >= 0.5 if classes == 1 else restored[..., n - 1] > others
        for back, tolerance in ((numpy, 0.01), (graph == n, 0.01)):  # exact ties may fall either way
            assert abs(cost.best_dice - dice(mask == n, back)) <= tolerance
    assert np.mean(graph != _classes(box, grid, classes)) < 1e-3


def _classes(box, grid, classes):
    from mcc_keras.preprocessing.grid import largest_share

    shares = {n: grid.share_from_box(box == n) for n in range(1, classes + 1)}
    return largest_share(shares, grid.shape, half=classes == 1)


def dice(truth, back):
    return 2 * (truth & back).sum() / (truth.sum() + back.sum())


@keras.saving.register_keras_serializable("tests")
class Answer(keras.layers.Layer):
    """A network that has learned one answer by heart."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def call(self, image):
        return keras.ops.zeros_like(image[..., :1]) + self.answer


def test_a_native_size_that_loses_a_class_is_named_as_such():
    assert loss_error({"lesion": 0.4}, "native").problem.startswith(
        "expected a box that keeps each class, found its native"
    )
