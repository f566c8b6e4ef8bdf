"""Several runs averaged: in Python, from the command line, and in one SavedModel."""

import json

import keras
import nibabel as nib
import numpy as np
import pytest
import tensorflow as tf

from mcc_keras.cli import main
from mcc_keras.errors import UsageError
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.runs.window import Window
from mcc_keras.segmentation.fingerprint import combine_fingerprints, fingerprint_run
from mcc_keras.segmentation.segment import segment
from mcc_keras.segmentation.segmenter import Ensemble, Segmenter, load_segmenter
from mcc_keras.serving.export import export_saved_model
from mcc_keras.task import Task

AFFINE = np.array([[0, -1.2, 0, 4], [-1, 0, 0, -7], [0, 0, 2.5, 30], [0, 0, 0, 1]], np.float32)
BOXES = (Preprocessing(size=(8, 10, 6)), Preprocessing(size=(12, 8, 10), spacing_mm=1.5, crop_margin_mm=1.0))


def network(seed, channels=1, classes=1):
    inputs = keras.Input((None, None, None, channels))
    activation = "sigmoid" if classes == 1 else "softmax"
    model = keras.Model(inputs, keras.layers.Conv3D(classes, 3, padding="same", activation=activation)(inputs))
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(0, 1, w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def image():
    return np.cumsum(np.random.default_rng(0).normal(0, 1, (13, 12, 9, 1)), axis=0).astype(np.float32) * 50


@pytest.fixture(scope="module")
def runs(write_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [write_run(folder / str(n), network(n), box).folder for n, box in enumerate(BOXES)]


@pytest.mark.parametrize("classes", [1, 3])
def test_probabilities_are_averaged_on_the_grid_of_the_scan(image, classes):
    task = Task() if classes == 1 else Task(labels=((2,), (5,)))
    members = [
        Segmenter(network(0, classes=classes), BOXES[0], task=task, flip_axes=(0,), threshold=0.4),
        Segmenter(network(1, classes=classes), BOXES[1], task=task, window=Window(size=6), threshold=0.5),
    ]
    answers = [member.answer(image, AFFINE)["probability"].numpy() for member in members]
    found = Ensemble(members).answer(image, AFFINE)
    expected = np.mean(answers, axis=0)
    assert np.abs(found["probability"] - expected).max() <= 1e-6
    mask = expected[..., 0] >= 0.45 if classes == 1 else np.uint8([0, 2, 5])[expected.argmax(-1)]
    assert np.mean(found["mask"].numpy() != mask) < 1e-3
    assert np.array_equal(Ensemble(members).segment(image, AFFINE)["mask"], found["mask"])


def test_runs_are_averaged_from_the_command_line_and_the_mask_says_so(runs, image, tmp_path):
    nib.save(nib.Nifti1Image(image[..., 0], AFFINE), tmp_path / "scan.nii")
    assert (
        main(["segment", "--run", ",".join(map(str, runs)), f"{tmp_path}/scan.nii", "-o", f"{tmp_path}/mask.nii"]) == 0
    )
    expected = load_segmenter(runs).segment(image, AFFINE)["mask"].numpy()
    assert 0 < expected.mean() < 1
    assert np.array_equal(np.asarray(nib.load(tmp_path / "mask.nii").dataobj), expected)
    origin = json.loads((tmp_path / "mask.nii.json").read_text())
    assert origin["fingerprint"] == combine_fingerprints(map(fingerprint_run, runs))


def test_an_ensemble_is_exported_as_one_saved_model(runs, image, tmp_path):
    version = export_saved_model(runs, tmp_path / "organ", flips="x")
    served = tf.saved_model.load(str(version)).signatures["serving_default"]
    live = load_segmenter(runs, flip_axes=(0,))
    assert np.array_equal(served(image=image, affine=AFFINE)["mask"], live.segment(image, AFFINE)["mask"])
    card = json.loads((version / "assets.extra" / "mcc_keras.json").read_text())
    assert [member["flip_axes"] for member in card["members"]] == [[0], [0]]


def test_runs_of_other_labels_or_channels_are_refused(runs, write_run, tmp_path):
    labels = write_run(tmp_path / "labels", network(2, classes=3), BOXES[0], task=Task(labels=((1,), (2,)))).folder
    channels = write_run(
        tmp_path / "channels", network(2, channels=2), BOXES[0], task=Task(channel_names=("t1", "t2"))
    ).folder
    for other, what in ((labels, "labels"), (channels, "channel names")):
        with pytest.raises(UsageError, match=f"All runs must have the same {what}"):
            segment([runs[0], other], "scan.nii.gz", tmp_path / "mask.nii.gz")
    with pytest.raises(UsageError, match="list of them"):
        segment([], "scan.nii.gz", tmp_path / "mask.nii.gz")


def test_flips_of_the_call_replace_those_of_the_run(runs, image, tmp_path):
    plain, flipped = (load_segmenter(runs[0], flip_axes=axes) for axes in ((), (1,)))
    assert (plain.flip_axes, flipped.flip_axes) == ((), (1,))
    turned = np.diag(np.float32([1, -1, 1, 1])) @ AFFINE
    one = flipped.answer(image, AFFINE)["probability"].numpy()
    other = flipped.answer(image, turned)["probability"].numpy()  # the same scan seen from the other side
    assert np.abs(one - other).max() <= 1e-6
    assert np.abs(plain.answer(image, AFFINE)["probability"].numpy() - one).max() > 1e-3
