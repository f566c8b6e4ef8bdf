"""Scans in windows: against a computation in NumPy that holds all probabilities and all weights at once."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from mcc_keras.preprocessing import Preprocessing
from mcc_keras.runs.window import Window
from mcc_keras.segmentation import scan_graph
from mcc_keras.segmentation.segmenter import Segmenter
from mcc_keras.segmentation.windows import blend_weights, count_windows, pad_to_window, window_starts
from mcc_keras.task import Task

OBLIQUE = np.array([[0.3, -1.1, 0.1, 4], [-0.9, -0.2, 0.3, -7], [0.2, 0.1, 2.5, 30], [0, 0, 0, 1]], np.float32)
TURNED = np.diag(np.float32([-1.0, -1, 3, 1]))[[1, 0, 2, 3]]
TASKS = {1: Task(), 3: Task(labels=((4,), (9,)))}


def make_network(classes):
    """A network that sees its neighborhood, and whether it is at a border."""
    inputs = keras.Input((None, None, None, 1))
    features = keras.layers.Conv3D(4, 3, padding="same", activation="tanh")(inputs)
    activation = "sigmoid" if classes == 1 else "softmax"
    model = keras.Model(inputs, keras.layers.Conv3D(classes, 3, padding="same", activation=activation)(features))
    rng = np.random.default_rng(3)
    model.set_weights([rng.normal(0, 0.6, w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def networks():
    return {classes: make_network(classes) for classes in TASKS}


def scan(shape, seed=0):
    return np.cumsum(np.random.default_rng(seed).normal(0, 1, (*shape, 1)), axis=0).astype(np.float32) * 50 + 300


def weights_of(size, blend):
    if blend == "constant":
        return np.ones(size)
    sides = [np.exp(-0.5 * ((np.arange(n) + 0.5 - n / 2) / (n / 8)) ** 2) for n in size]
    return sides[0][:, None, None] * sides[1][:, None] * sides[2]


def in_full_buffers(model, preprocessing, window, image, affine):
    """Return the probabilities (x, y, z, classes) of a scan on its own grid, with one map of counts for all windows."""
    grid = preprocessing.grid(image, affine.astype(np.float64))
    box = preprocessing.apply(image, grid)
    lacking = [max(0, n - m) for n, m in zip(window.size, box.shape[:3], strict=True)]
    widths = [(n // 2, n - n // 2) for n in lacking]
    inside = tuple(slice(before, before + n) for (before, _), n in zip(widths, box.shape[:3], strict=True))
    box = np.pad(box, [*widths, (0, 0)], constant_values=box.min())
    total, counts = np.zeros((*box.shape[:3], model.output_shape[-1])), np.zeros((*box.shape[:3], 1))
    weights = weights_of(window.size, window.blend)[..., None]
    starts = [window_starts(*pair, window.overlap).numpy() for pair in zip(box.shape[:3], window.size, strict=True)]
    for corner in itertools.product(*starts):
        place = tuple(slice(low, low + n) for low, n in zip(corner, window.size, strict=True))
        total[place] += weights * np.asarray(model(box[place][None]))[0]
        counts[place] += weights
    probability = preprocessing.restore((total / counts)[inside].astype(np.float32), grid)
    if probability.shape[-1] > 1:
        probability[..., 0] = 1 - probability[..., 1:].sum(-1)
    return probability


def mask_of(probability, task):
    if probability.shape[-1] == 1:
        return (probability[..., 0] >= 0.5).astype(np.uint8)
    return np.uint8(task.label_values)[probability.argmax(-1)]


CASES = {
    "resized": ((33, 18, 21), TURNED, {"size": (20, 16, 14)}, Window(size=8)),
    "finer than the box": ((21, 18, 7), OBLIQUE, {"size": (24, 20, 16), "spacing_mm": 1.5}, Window(size=8)),
    "coarser than the box": ((9, 7, 8), TURNED, {"size": (20, 16, 14)}, Window(size=(8, 16, 5), overlap=0.25)),
    "cropped": (
        (26, 18, 20),
        OBLIQUE,
        {"size": (16, 16, 16), "crop_margin_mm": 0, "background_value": 300.0},
        Window(size=7, blend="constant"),
    ),
    "nothing resampled": ((24, 17, 13), TURNED, {"size": (20, 24, 13), "spacing_mm": (1, 1, 3)}, Window(size=8)),
    "without overlap": ((24, 17, 13), TURNED, {"size": (20, 24, 13)}, Window(size=(8, 8, 13), overlap=0)),
    "smaller than the window": ((12, 17, 9), OBLIQUE, {"size": (12, 10, 9)}, Window(size=(16, 8, 16))),
    "one slice": ((12, 17, 1), np.eye(4, dtype=np.float32), {"size": (20, 20, 1)}, Window(size=(8, 8, 4))),
    "far beyond the box": ((40, 18, 20), TURNED, {"size": (9, 9, 9), "spacing_mm": 1.0}, Window(size=6)),
}


@pytest.mark.parametrize(("classes", "rows"), [(3, 1), (1, 5), (3, None)])
@pytest.mark.parametrize("case", CASES)
def test_windows_are_blended_as_with_everything_in_memory(networks, monkeypatch, case, classes, rows):
    shape, affine, settings, window = CASES[case]
    image, network, preprocessing = scan(shape), networks[classes], Preprocessing(**settings)
    if rows:
        across = np.prod([shape[axis] for axis in np.abs(affine[:3, :3]).argmax(1)][1:])
        monkeypatch.setattr(scan_graph, "SLAB", int(rows * classes * across))
    segmenter = Segmenter(network, preprocessing, task=TASKS[classes], window=window)
    expected = in_full_buffers(network, preprocessing, window, image, affine)
    answer = segmenter.answer(image, affine)
    assert np.abs(answer["probability"] - expected).max() <= 2e-6
    sure = np.abs(np.sort(expected, -1)[..., -1] - (0.5 if classes == 1 else np.sort(expected, -1)[..., -2])) > 4e-6
    assert sure.mean() > 0.99
    assert np.array_equal(answer["mask"].numpy()[sure], mask_of(expected, TASKS[classes])[sure])
    assert np.array_equal(answer["mask"], mask_of(answer["probability"].numpy(), TASKS[classes]))
    if rows == 1:
        assert np.array_equal(segmenter.segment(image, affine)["mask"], answer["mask"])


ORIENTATIONS = list(zip(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3), strict=False))


@pytest.mark.parametrize(("axes", "flips"), [*ORIENTATIONS, ((2, 1, 0), (-1, -1, -1))])
def test_slabs_are_the_parts_of_the_answer_in_every_orientation(networks, monkeypatch, axes, flips):
    monkeypatch.setattr(scan_graph, "SLAB", 1200)
    affine = np.eye(4, dtype=np.float32)
    affine[:3, :3] = np.diag(flips) @ np.diag([1, 2, 1.5])[list(axes)]
    image, preprocessing = scan((13, 11, 12)), Preprocessing(size=(16, 12, 10), spacing_mm=1.2)
    segmenter = Segmenter(networks[3], preprocessing, task=TASKS[3], window=Window(size=6))
    answer = segmenter.answer(image, affine)
    mask, probability, seen = np.zeros(image.shape[:3], np.uint8), np.zeros((*image.shape[:3], 3)), 0
    for index, mask_part, probability_part in segmenter.slabs(image, affine):
        mask[index], probability[index] = mask_part, probability_part
        seen += 1
    assert seen > 3
    assert np.array_equal(mask, answer["mask"])
    assert np.abs(probability - answer["probability"]).max() <= 1e-6


def test_calls_at_the_same_time_do_not_share_their_buffers(networks):
    from concurrent.futures import ThreadPoolExecutor

    segmenter = Segmenter(networks[1], Preprocessing(size=16), window=Window(size=8))
    images = [scan((20, 18, 16), seed) for seed in range(6)]
    expected = [segmenter.answer(image, TURNED)["probability"].numpy() for image in images]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda image: segmenter.answer(image, TURNED)["probability"].numpy(), images * 3))
    for one, other in zip(expected * 3, found, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("side", [8, 9, 15, 16, 17, 40, 41])
@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.9])
def test_windows_cover_the_box_with_at_least_the_overlap(side, overlap):
    starts = window_starts(side, 8, overlap).numpy()
    assert (starts[0], starts[-1]) == (0, side - 8)
    assert (np.diff(starts) > 0).all()
    assert len(starts) == 1 or np.diff(starts).max() <= max(1, int(8 * (1 - overlap)))


def test_a_box_that_is_smaller_than_the_window_takes_one():
    assert count_windows((3, 9, 20), Window(size=(8, 8, 8))) == 1 * 2 * 4


def test_weights_are_symmetric_and_above_zero():
    for size in (1, 2, 7, 96, 512):
        weights = blend_weights(size, "gaussian")
        assert weights.min() > 0
        assert np.array_equal(weights, weights[::-1])


def test_a_box_is_padded_on_both_sides_with_its_lowest_values():
    box = np.float32([[3, -1], [2, 5]]).reshape(1, 2, 1, 2)
    padded, widths = pad_to_window(tf.constant(box), Window(size=(2, 1, 4)))
    assert widths.numpy().tolist() == [[0, 1], [0, 0], [1, 2]]
    assert padded.shape == (2, 2, 4, 2)
    assert np.array_equal(padded[0, :, 1], box[0, :, 0])
    assert set(np.unique(padded[1])) == {2, -1}


def test_one_window_is_the_whole_box(networks):
    image, settings = scan((21, 18, 7)), (networks[3], Preprocessing(size=(16, 12, 8)))
    whole = Segmenter(*settings, task=TASKS[3]).answer(image, OBLIQUE)
    window = Segmenter(*settings, task=TASKS[3], window=Window(size=(16, 12, 8))).answer(image, OBLIQUE)
    assert np.array_equal(whole["probability"], window["probability"])
