import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from mcc_keras.errors import RunError
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.runs.mask_options import SEGMENTER, MaskOptions, StoredOptions, write_mask_options
from mcc_keras.runs.run import MODEL, RESULT
from mcc_keras.runs.window import Window
from mcc_keras.segmentation.fingerprint import (
    FINGERPRINT,
    combine_fingerprints,
    compute_fingerprint,
    fingerprint_run,
    fingerprint_segmenter,
)
from mcc_keras.segmentation.segmenter import Segmenter, load_segmenter
from mcc_keras.task import Task

WEIGHTS = [np.arange(6, dtype="f4").reshape(2, 3), np.zeros(3, "f4")]
GIVEN = {"preprocessing": Preprocessing(size=8), "task": Task()}
PROGRAM = "import sys; from mcc_keras.segmentation.fingerprint import fingerprint_run as f; print(f(sys.argv[1]))"


@pytest.fixture
def run(write_run, tmp_path):
    return write_run(tmp_path / "run", network(), Preprocessing(size=8)).folder


def network(seed=3):
    model = keras.Sequential(
        [
            keras.Input((None, None, None, 1)),
            keras.layers.Conv3D(2, 1),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Conv3D(1, 1, activation="sigmoid"),
        ]
    )
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(0.5, 2, value.shape) for value in model.get_weights()])
    return model


@pytest.mark.parametrize(
    "changed",
    [
        {"weights": [WEIGHTS[0] + 1e-6, WEIGHTS[1]]},
        {"weights": WEIGHTS[::-1]},
        {"weights": [WEIGHTS[0].reshape(3, 2), WEIGHTS[1]]},
        {"weights": [WEIGHTS[0], WEIGHTS[1].view("i4")]},
        {"preprocessing": Preprocessing(size=8, normalize="minmax")},
        {"task": Task(names=("liver",))},
        {"window": Window(size=8)},
        {"window": Window(size=8, overlap=0.25)},
        {"flip_axes": (0,)},
        {"segmenter": "{}"},
    ],
)
def test_everything_that_a_mask_depends_on_changes_the_fingerprint(changed):
    given = {**GIVEN, "weights": WEIGHTS}
    assert compute_fingerprint(**given) == compute_fingerprint(**{**given, "weights": [w.copy() for w in WEIGHTS]})
    assert compute_fingerprint(**{**given, **changed}) != compute_fingerprint(**given)


def test_a_live_network_its_file_and_its_variables_have_one_fingerprint(run):
    stored = fingerprint_run(run)
    loaded = load_segmenter(run)
    pairs = [(variable, tf.Variable(value)) for variable, value in loaded.weights]
    options = {"task": loaded.task, "flip_axes": loaded.flip_axes, "window": loaded.window}
    again = Segmenter(loaded.model, loaded.preprocessing, weights=pairs, **options)
    live = Segmenter(network(), loaded.preprocessing, **options)
    assert {stored} == {fingerprint_segmenter(each) for each in (loaded, again, live)}
    live = Segmenter(network(seed=4), loaded.preprocessing, **options)
    assert fingerprint_segmenter(live) != stored


def test_a_run_keeps_its_fingerprint_and_gives_it_without_tensorflow(run):
    found = fingerprint_run(run)
    assert json.loads((run / FINGERPRINT).read_text())["fingerprint"] == found
    program = f"{PROGRAM}; print('tensorflow' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", program, str(run)], capture_output=True, text=True, check=True)
    assert printed.stdout.split() == [found, "False"]


def test_the_fingerprint_follows_the_files_of_the_run(run):
    first = fingerprint_run(run)
    options = MaskOptions(largest_component=True)
    write_mask_options(StoredOptions(options=options, cases=3, dice_before=0.5, trials=()), run)
    with_choices = fingerprint_run(run)
    (run / SEGMENTER).unlink()
    assert fingerprint_run(run) == first != with_choices
    network(seed=4).save(run / MODEL)
    assert fingerprint_run(run) not in (first, with_choices)


@pytest.mark.parametrize("text", ["", "{}", '{"schema": 1, "fingerprint": "abc", "files": {}}'])
def test_a_damaged_or_missing_file_is_computed_again(run, text):
    found = fingerprint_run(run)
    (run / FINGERPRINT).write_text(text)
    assert fingerprint_run(run) == found
    (run / FINGERPRINT).unlink()
    assert fingerprint_run(run) == found
    assert json.loads((run / FINGERPRINT).read_text())["fingerprint"] == found


def test_a_run_that_is_not_finished_has_none(run):
    (run / RESULT).unlink()
    with pytest.raises(RunError, match="expected a finished run"):
        fingerprint_run(run)


def test_an_ensemble_depends_on_its_members_and_their_order():
    one, other = (compute_fingerprint(WEIGHTS, **GIVEN, flip_axes=(n,)) for n in (0, 1))
    assert combine_fingerprints([one]) == one
    assert len({one, other, combine_fingerprints([one, other]), combine_fingerprints([other, one])}) == 4
