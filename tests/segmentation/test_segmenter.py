import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from mcc_keras.errors import UsageError
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.segmentation.segmenter import Segmenter
from mcc_keras.task import Task

OBLIQUE = np.array([[0.3, -1.1, 0.1, 4], [-0.9, -0.2, 0.3, -7], [0.2, 0.1, 2.5, 30], [0, 0, 0, 1]])


def network(channels=1, classes=1):
    """Any function of the voxel itself: fixed weights, no neighborhood."""
    inputs = keras.Input((None, None, None, channels))
    outputs = keras.layers.Conv3D(classes, 1, activation="sigmoid" if classes == 1 else "softmax")(inputs)
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(3)
    model.set_weights([rng.normal(0, 2, w.shape) for w in model.get_weights()])
    return model


def volume(shape=(21, 18, 7), channels=1):
    rng = np.random.default_rng(0)
    return np.cumsum(rng.normal(0, 1, (*shape, channels)), axis=0).astype(np.float32) * 50 + 300


def by_numpy(model, preprocessing, image, affine, flip_axes=()):
    grid = preprocessing.grid(image, affine)
    box = preprocessing.apply(image, grid)
    views = [box] + [np.flip(box, axis) for axis in flip_axes]
    answers = [np.asarray(model(view[None])[0]) for view in views]
    answers = [answers[0]] + [np.flip(a, axis) for a, axis in zip(answers[1:], flip_axes, strict=True)]
    return preprocessing.restore(np.mean(answers, axis=0), grid)


SETTINGS = [
    Preprocessing(size=(16, 20, 8)),
    Preprocessing(size=(16, 16, 16), spacing_mm=(2.0, 1.0, 1.5), normalize="minmax"),
    Preprocessing(size=(24, 16, 8), spacing_mm=1.0, clip_percentiles=None, normalize="none"),
]


@pytest.mark.parametrize("preprocessing", SETTINGS)
@pytest.mark.parametrize("affine", [np.eye(4), OBLIQUE, np.diag([-1.0, -1, 3, 1])[[1, 0, 2, 3]]])
def test_the_graph_agrees_with_the_numpy_form(preprocessing, affine):
    image, model = volume(channels=2), network(channels=2)
    answer = Segmenter(model, preprocessing, flip_axes=(0, 2)).answer(image, affine.astype(np.float32))
    affine = affine.astype(np.float32).astype(np.float64)
    expected = by_numpy(model, preprocessing, image, affine, (0, 2))
    tolerance = 1e-4 if preprocessing.normalize == "none" else 1e-5  # logits of thousands, in float32
    assert np.allclose(answer["probability"], expected, atol=tolerance)
    differ = answer["mask"].numpy() != (expected[..., 0] >= 0.5)
    assert not differ[np.abs(expected[..., 0] - 0.5) > 1e-4].any()


@pytest.mark.parametrize("preprocessing", SETTINGS)
def test_normalized_voxels_agree_with_the_numpy_form(preprocessing):
    image = volume() * 1000
    segmenter = Segmenter(network(), preprocessing)
    (scan,), _ = segmenter.graph.prepare(tf.constant(image), tf.constant(OBLIQUE, tf.float64))
    expected = preprocessing.apply(image, preprocessing.grid(image, OBLIQUE))
    scale = 1 if preprocessing.normalize != "none" else np.abs(expected).max()
    assert np.abs(scan.box - expected).max() <= 1e-5 * scale


def test_several_classes_take_the_most_probable_and_write_their_labels():
    image, model = volume(), network(classes=3)
    preprocessing = Preprocessing(size=(16, 16, 8))
    answer = Segmenter(model, preprocessing, task=Task(labels=((4,), (9, 1)))).answer(image, OBLIQUE.astype(np.float32))
    expected = by_numpy(model, preprocessing, image, OBLIQUE.astype(np.float32))
    assert np.allclose(answer["probability"], expected, atol=1e-5)
    assert np.array_equal(answer["mask"], np.uint8([0, 4, 9])[answer["probability"].numpy().argmax(-1)])


def test_where_the_box_does_not_reach_there_is_background():
    preprocessing = Preprocessing(size=(8, 8, 8), spacing_mm=1.0)
    segmenter = Segmenter(network(classes=3), preprocessing, task=Task(labels=((1,), (2,))))
    answer = segmenter.answer(volume((20, 20, 20)), np.eye(4, dtype=np.float32))
    assert answer["probability"][0, 0, 0].numpy().tolist() == [1, 0, 0]
    assert answer["mask"][0, 0, 0] == 0


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_an_identity_network_returns_the_volume_bit_for_bit_in_any_orientation(axes):
    image = np.random.default_rng(1).uniform(0, 1, (5, 6, 7, 1)).astype(np.float32)
    inputs = keras.Input((None, None, None, 1))
    identity = keras.Model(inputs, keras.layers.Identity()(inputs))
    affine = np.eye(4, dtype=np.float32)
    affine[:3, :3] = np.diag([-1, 1, -1]) @ np.eye(3)[list(axes)]
    preprocessing = Preprocessing(
        size=tuple(image.shape[axis] for axis in axes), clip_percentiles=None, normalize="none"
    )
    answer = Segmenter(identity, preprocessing).answer(image, affine)
    assert np.array_equal(answer["probability"], image)


def test_one_slice_and_a_constant_image_give_a_finite_answer():
    answer = Segmenter(network(), Preprocessing(size=8)).answer(
        np.ones((9, 9, 1, 1), np.float32), np.eye(4, dtype="f4")
    )
    assert np.isfinite(answer["probability"]).all()
    assert answer["mask"].shape == (9, 9, 1)


@pytest.mark.parametrize(
    ("image", "affine"),
    [
        (volume(channels=2), np.eye(4)),
        (volume()[..., 0], np.eye(4)),
        (volume()[None], np.eye(4)),
        (volume(), np.eye(3)),
        (volume(), np.full((4, 4), np.nan)),
        (np.full((4, 4, 4, 1), np.nan, np.float32), np.eye(4)),
    ],
)
def test_other_shapes_and_values_that_are_not_finite_are_errors(image, affine):
    with pytest.raises((TypeError, ValueError, tf.errors.InvalidArgumentError)):
        Segmenter(network(), Preprocessing(size=8)).segment(image, affine.astype(np.float32))


def test_labels_above_255_make_a_mask_of_uint16():
    segmenter = Segmenter(network(classes=3), Preprocessing(size=8), task=Task(labels=((1,), (300,))))
    mask = segmenter.segment(volume((8, 8, 8)), np.eye(4, dtype=np.float32))["mask"].numpy()
    assert mask.dtype == np.uint16
    assert set(np.unique(mask)) <= {0, 1, 300}


def test_a_task_of_other_classes_than_the_network_is_refused():
    with pytest.raises(UsageError, match=r"classes of the model, 3 channels. Received: task.num_classes=1"):
        Segmenter(network(classes=3), Preprocessing(size=8))
