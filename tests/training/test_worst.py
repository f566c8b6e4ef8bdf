"""The validation cases that a network segments worst, and the loan of a file's weights."""

import keras
import numpy as np
import pytest

import mcc_keras as mk
from mcc_keras.datasets import find_cases, write_synthetic
from mcc_keras.pipeline.arrays import read_arrays
from mcc_keras.training.callbacks import save_network
from mcc_keras.training.worst import case_dice, find_worst, weights_of


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worst")
    source = write_synthetic(folder / "scans", num_cases=10, size=(12, 12, 8), layout="pairs")
    box = mk.Preprocessing(size=(12, 12, 8))
    return mk.write_tfrecords(find_cases(source), folder / "work", preprocessing=box, split=(0.4, 0.6, 0), workers=1)


def bright(threshold=0.0):
    """A network that calls what is bright the organ."""
    inputs = keras.Input((12, 12, 8, 1))
    model = keras.Model(inputs, keras.layers.Conv3D(1, 1, activation="sigmoid")(inputs))
    model.set_weights([np.full((1, 1, 1, 1, 1), 100.0), np.array([-100.0 * threshold])])
    return model


def test_the_worst_cases_come_first_and_correctly_empty_ones_not_at_all(manifest):
    cases, seen = find_worst(bright(), manifest, batch_size=4, seconds=60, most=3)
    expected = {}
    for case_id, image, mask, _ in read_arrays(manifest, "validation"):
        predicted = image[..., 0] >= 0
        expected[case_id] = 2 * (predicted & (mask == 1)).sum() / (predicted.sum() + mask.sum())
    assert seen == len(expected) == 6
    assert [case.case_id for case in cases] == sorted(expected, key=expected.get)[:3]
    assert [case.dice for case in cases] == pytest.approx(sorted(expected.values())[:3])
    assert [case.false_alarm for case in cases] == [case.dice == 0 for case in cases]
    assert all(case.picture.startswith(b"\xff\xd8") for case in cases)


def test_without_time_no_more_cases_are_segmented_than_are_shown(manifest):
    cases, seen = find_worst(bright(), manifest, batch_size=2, seconds=0, most=3)
    assert (len(cases), seen) == (3, 4)


def test_the_dice_of_a_case_is_the_mean_over_the_classes_it_holds():
    empty = np.zeros(4, int)
    assert np.isnan(case_dice(empty, empty, classes=2))
    assert case_dice(empty, empty + 2, classes=2) == 0
    assert case_dice(np.array([1, 1, 2, 0]), np.array([1, 0, 2, 2]), classes=2) == pytest.approx(2 / 3)


def test_the_weights_of_a_file_are_a_loan(tmp_path):
    model, other = bright(0.0), bright(0.5)
    for each in (model, other):
        each.compile("adam", loss="mse")
    save_network(other, tmp_path / "model.keras")
    optimizer = model.optimizer
    with weights_of(model, tmp_path / "model.keras"):
        assert model.get_weights()[1] == -50
    assert (model.get_weights()[1], model.optimizer, model.compiled) == (0, optimizer, True)
