"""The TensorFlow graph of the preprocessing against its NumPy form, over every combination of settings."""

import warnings

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from mcc_keras.preprocessing import Preprocessing
from mcc_keras.preprocessing.graph import GraphGrid, normalized_box
from mcc_keras.preprocessing.graph_intensity import CHUNK
from mcc_keras.preprocessing.grid import Grid

THREE = st.tuples(*[st.floats(0.4, 4)] * 3)


def masked_scan(shape, seed, background=-3.25):
    """Two channels, a constant around an ellipsoid whose place and size are drawn."""
    rng = np.random.default_rng(seed)
    image = rng.normal(100, 30, (*shape, 2)) * (1, 1000)
    place = np.indices(shape).reshape(3, -1).T - rng.uniform(0.3, 0.7, 3) * shape
    outside = ((place / (rng.uniform(0.15, 0.6, 3) * shape)) ** 2).sum(-1).reshape(shape) > 1
    image[outside] = background
    return image.astype(np.float32)


def oblique(turn, spacing, degrees):
    matrix = np.eye(3)[list(turn[0])] * turn[1] * spacing
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine = np.eye(4)
    affine[:3, :3] = [[c, -s, 0], [s, c, 0], [0, 0, 1]] @ matrix
    return affine.astype(np.float32)


@st.composite
def turns(draw):
    return tuple(draw(st.permutations(range(3)))), np.array(draw(st.tuples(*[st.sampled_from((-1, 1))] * 3)))


SETTINGS = st.fixed_dictionaries(
    {
        "size": st.tuples(*[st.integers(1, 14)] * 3),
        "spacing_mm": st.none() | THREE | st.sampled_from((1.0, 2.0)),
        "window": st.none() | st.just((40.0, 120.0)),
        "clip_percentiles": st.none() | st.sampled_from(((1, 99), (0, 75))),
        "normalize": st.sampled_from(("zscore", "minmax", "none")),
        "statistics": st.just("volume") | st.just(((0.0, 150.0, 90.0, 25.0), (None, None, 9e4, 3e4))),
        "ignore_background": st.booleans(),
        "background_value": st.none() | st.just(-3.25),
        "crop_margin_mm": st.none() | st.sampled_from((0.0, 1.5, 4.0)),
    }
)


def both(preprocessing, image, affine):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The (image is constant|scan is all background)")
        grid = preprocessing.grid(image, affine)
        before = image.copy()
        expected = preprocessing.apply(image, grid)
        assert np.array_equal(image, before)
    of_graph = GraphGrid(tf.constant(image), tf.constant(affine, tf.float64), preprocessing)
    return (grid, expected), (of_graph, normalized_box(tf.constant(image), of_graph, preprocessing).numpy())


def from_box(of_graph, box):
    """Return a box (x, y, z, channels) on the scan's grid by the matrices of the graph."""
    (x, y, z), _ = of_graph.way_back()
    return of_graph.to_stored(tf.einsum("ax,by,cz,xyzk->abck", x, y, z, box)).numpy()


@settings(max_examples=70)
@given(
    chosen=SETTINGS,
    shape=st.tuples(*[st.integers(1, 11)] * 3),
    turn=turns(),
    spacing=THREE,
    degrees=st.floats(-25, 25),
    seed=st.integers(0, 99),
)
def test_the_box_and_the_way_back_agree_for_every_setting(chosen, shape, turn, spacing, degrees, seed):
    preprocessing = Preprocessing(**chosen)
    image, affine = masked_scan(shape, seed), oblique(turn, spacing, degrees)
    (grid, expected), (of_graph, found) = both(preprocessing, image, affine)
    assert np.array_equal(of_graph.inside, grid.inside)
    scale = 1 if preprocessing.normalize != "none" else max(1, np.abs(image).max())
    assert np.abs(found - expected).max() <= 1e-5 * max(scale, np.abs(expected).max())
    probability = np.random.default_rng(1).uniform(0, 1, expected.shape).astype(np.float32)
    back = from_box(of_graph, probability)
    assert np.abs(back - preprocessing.restore(probability, grid)).max() <= 1e-5


@pytest.mark.parametrize("value", [None, -3.25])
@pytest.mark.parametrize("fill", [-3.25, 7.0])
def test_a_constant_scan_is_zeros_in_both(fill, value):
    preprocessing = Preprocessing(size=4, ignore_background=True, crop_margin_mm=1, background_value=value)
    (_, expected), (_, found) = both(preprocessing, np.full((5, 6, 7, 1), fill, np.float32), np.eye(4))
    assert not expected.any()
    assert not found.any()


def test_the_crop_is_found_in_a_graph_that_was_traced_once():
    preprocessing = Preprocessing(size=6, crop_margin_mm=1.0, ignore_background=True)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 2)), tf.TensorSpec((4, 4), tf.float64)])
    def box_of(image, affine):
        return normalized_box(image, GraphGrid(image, affine, preprocessing), preprocessing)

    for shape, seed in (((9, 12, 7), 0), ((20, 5, 11), 1)):
        image = masked_scan(shape, seed)
        expected = preprocessing.apply(image, preprocessing.grid(image, np.eye(4)))
        assert np.allclose(box_of(image, np.eye(4)), expected, atol=1e-5)
    assert box_of.experimental_get_tracing_count() == 1


def by_numpy(image, low=1, high=99):
    """Clip and z-score with NumPy's own functions, in float64."""
    values = image.astype(np.float64)
    values = np.clip(values, *np.percentile(values, (low, high)))
    return (values - values.mean()) / values.std()


def noise(shape=(11, 13, 9), seed=0):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


VOXELS = {
    "most of them equal": np.where(noise() < 1, np.float32(-1024), 40 + 10 * noise(seed=1)),
    "two values": np.where(noise() < 0, np.float32(3), np.float32(7)),
    "one very far away": np.where(np.arange(11 * 13 * 9).reshape(11, 13, 9) == 5, np.float32(-1e30), noise()),
    "small on a large offset": np.float32(1e5) + noise(),
    "about zero, of both signs": noise() * np.float32(1e-30),
    "whole numbers": np.round(noise() * 3),
}


@pytest.mark.parametrize("name", VOXELS)
def test_percentiles_and_moments_are_those_of_numpy(name):
    image = VOXELS[name].astype(np.float32)
    (_, twin), (_, found) = both(Preprocessing(size=image.shape), image[..., None], np.eye(4))
    expected = by_numpy(image)
    assert np.abs(found[..., 0] - expected).max() <= 1e-5 * max(1, np.abs(expected).max())
    assert np.abs(twin[..., 0] - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


def test_a_box_of_several_chunks_is_normalized_as_a_whole():
    image = noise((170, 170, 150)) ** 3
    assert CHUNK < image.size < 2 * CHUNK
    grid = GraphGrid(tf.constant(image[..., None]), tf.eye(4, dtype=tf.float64), Preprocessing(size=image.shape))
    found = normalized_box(tf.constant(image[..., None]), grid, Preprocessing(size=image.shape)).numpy()
    assert np.abs(found[..., 0] - by_numpy(image)).max() <= 1e-5


@pytest.mark.parametrize("shape", [(7, 12, 9), (12, 7, 5), (8, 8, 8)])
@pytest.mark.parametrize("degrees", [0, 12])
def test_voxels_are_moved_bit_for_bit_where_nothing_is_resampled(shape, degrees):
    image, affine = noise(shape), oblique(((1, 2, 0), np.array([-1, 1, -1])), 1.0, degrees).astype(np.float64)
    preprocessing = Preprocessing(size=(8, 9, 8), spacing_mm=1.0, clip_percentiles=None, normalize="none")
    grid = Grid(shape=shape, affine=affine, size=(8, 9, 8), target_mm=(1.0, 1.0, 1.0))
    of_graph = GraphGrid(tf.constant(image[..., None]), tf.constant(affine), preprocessing)
    box = of_graph.to_box(tf.constant(image[..., None]))
    assert np.array_equal(box[0], grid.to_box(image))
    back = from_box(of_graph, box[0].numpy()[..., None])
    assert np.array_equal(back[..., 0], grid.from_box(box[0].numpy()))
    assert of_graph.way_back()[1].numpy().all()
