"""Boxes segmented window by window, against the formula in float64."""

import itertools

import keras
import numpy as np
import pytest

from mcc_keras.runs.window import Window
from mcc_keras.training.windows import WindowedNetwork


@pytest.fixture(scope="module")
def network():
    """A network that knows less at the border of its window, as convolutions do."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((None, None, None, 2))
    x = keras.layers.Conv3D(3, 3, padding="same", activation="relu")(inputs)
    return keras.Model(inputs, keras.layers.Conv3D(3, 3, padding="same", activation="softmax")(x))


def joined(network, image, window):
    """The weighted mean of all windows, one after the other, in float64."""
    size = window.size
    lacking = [max(0, m - n) for n, m in zip(image.shape, size, strict=False)]
    widths = [(n // 2, n - n // 2) for n in lacking]
    image = np.stack([np.pad(c, widths, constant_values=c.min()) for c in np.moveaxis(image, -1, 0)], axis=-1)
    one = [np.exp(-0.5 * ((np.arange(n) + 0.5 - n / 2) / (n / 8)) ** 2) for n in size]
    weight = one[0][:, None, None] * one[1][:, None] * one[2] if window.blend == "gaussian" else np.ones(size)
    steps = [max(1, int(n * (1 - window.overlap))) for n in size]
    counts = [-(-(n - m) // step) + 1 for n, m, step in zip(image.shape, size, steps, strict=False)]
    total, weights = np.zeros((*image.shape[:3], 3)), np.zeros((*image.shape[:3], 1))
    for numbers in itertools.product(*map(range, counts)):
        starts = [k * (n - m) // max(1, c - 1) for k, n, m, c in zip(numbers, image.shape, size, counts, strict=False)]
        place = tuple(slice(start, start + m) for start, m in zip(starts, size, strict=True))
        total[place] += network(image[place][None]).numpy()[0].astype(np.float64) * weight[..., None]
        weights[place] += weight[..., None]
    inner = tuple(slice(a, n - b) for (a, b), n in zip(widths, image.shape, strict=False))
    return (total / weights)[inner]


@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ((13, 10, 7), Window(size=(6, 5, 4))),
        ((9, 10, 7), Window(size=(6, 10, 3), overlap=0.25, blend="constant")),
        ((4, 12, 1), Window(size=(8, 8, 4))),
        ((6, 6, 6), Window(size=6)),
    ],
)
def test_overlapping_windows_are_averaged_by_their_weights(network, shape, window):
    image = np.random.default_rng(0).normal(size=(*shape, 2)).astype(np.float32)
    found = WindowedNetwork(network, window)(image)
    assert found.shape == (*shape, 3)
    assert np.allclose(found, joined(network, image, window), atol=1e-5)
