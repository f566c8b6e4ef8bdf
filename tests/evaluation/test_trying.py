"""Options that gain on the validation part are taken, stored in the run, and used by all that make masks."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from mcc_keras.cli import main
from mcc_keras.datasets import read_image
from mcc_keras.errors import UsageError
from mcc_keras.evaluation.evaluate import evaluate, find_part
from mcc_keras.evaluation.trying import mean_dice, try_mask_options
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.runs.run import read_run
from mcc_keras.segmentation.fingerprint import fingerprint_run
from mcc_keras.segmentation.segment import arrays_of, segment
from mcc_keras.segmentation.segmenter import Segmenter
from mcc_keras.serving.export import export_saved_model
from mcc_keras.volumes import read_volume, write_volume

SIZE = (12, 12, 8)


def scan_with_specks(seed):
    """A bright cube and, apart from it, single voxels as bright; the truth is the cube."""
    rng = np.random.default_rng(seed)
    image, mask = rng.uniform(0, 0.3, (16, 16, 8)), np.zeros((16, 16, 8), np.uint8)
    low = rng.integers(3, 6, 3)
    mask[low[0] : low[0] + 6, low[1] : low[1] + 6, 1:6] = 1
    image[mask == 1] += 0.6
    image[0, ::5, 0] = image[15, ::4, 7] = 0.95
    return image.astype(np.float32), mask


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    rows = ["case,image,label,part"]
    for number in range(8):
        image, mask = scan_with_specks(number)
        for name, array in {"image": image, "mask": mask}.items():
            write_volume(array, folder / f"{number}_{name}.nii.gz", affine=np.eye(4))
        part = "validation" if number < 5 else "test" if number == 5 else "train"
        rows.append(f"c{number},{number}_image.nii.gz,{number}_mask.nii.gz,{part}")
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    return folder / "cases.csv"


@pytest.fixture
def run(scans, write_run, tmp_path):
    """A run whose network finds bright voxels, but says so with a probability of less than a half."""
    from mcc_keras.datasets import find_cases
    from mcc_keras.records.manifest import read_manifest
    from mcc_keras.records.write import write_tfrecords
    from mcc_keras.runs.data import describe_data

    box = Preprocessing(size=(16, 16, 8), clip_percentiles=None, normalize="none")
    write_tfrecords(find_cases(scans), tmp_path / "work", preprocessing=box, workers=1)
    inputs = keras.Input((16, 16, 8, 1))
    head = keras.layers.Conv3D(1, 1, activation="sigmoid")
    model = keras.Model(inputs, head(inputs))
    head.set_weights([np.full((1, 1, 1, 1, 1), 4.0), np.array([-3.3])])
    cases = describe_data(read_manifest(tmp_path / "work")).cases
    return write_run(tmp_path / "run", model, box, work=tmp_path / "work", cases=cases).folder


def test_each_case_is_segmented_once_for_the_same_flips(run, monkeypatch):
    segmented, build = [], Segmenter.__init__

    def counted(self, *args, **options):
        build(self, *args, **options)
        call = self.answer
        self.answer = lambda *arrays: segmented.append(self.flip_axes) or call(*arrays)

    monkeypatch.setattr(Segmenter, "__init__", counted)
    try_mask_options(run, ["threshold", "largest-component", "smallest"])
    assert len(segmented) == 5
    assert len(set(segmented)) == 1


def test_what_gains_is_taken_and_used_everywhere(run, tmp_path):
    before = fingerprint_run(run)
    found = try_mask_options(run, ["threshold", "largest-component", "smallest"])
    options = read_run(run).mask_options
    assert options.threshold < 0.5
    assert options.largest_component
    assert options.smallest_mm3 == 0  # nothing is left for it to gain
    assert f"{len(found.stored.trials)} settings tried on 5 validation cases" in str(found)
    assert sum(trial.taken for trial in found.stored.trials) == 2
    assert fingerprint_run(run) != before
    (case,) = find_part(read_run(run), "test")
    mask = read_volume(segment(run, case.images[0], tmp_path / "mask.nii.gz")).array
    truth = read_volume(case.mask).array
    assert mean_dice(truth, mask, 1) > 0.99
    scores = evaluate(run)
    assert scores[0]["dice"] == pytest.approx(mean_dice(truth, mask, 1))
    assert (scores.summary.threshold, scores.summary.largest_component) == (options.threshold, True)
    assert f"from a probability of {options.threshold:g} on" in str(scores)
    version = export_saved_model(run, tmp_path / "served")
    card = json.loads((version / "assets.extra" / "mcc_keras.json").read_text())
    assert (card["threshold"], card["not_in_the_graph"]["largest_component"]) == (options.threshold, True)
    image, affine = map(tf.constant, arrays_of(read_image(case)))
    served = tf.saved_model.load(str(version)).signatures["serving_default"](image=image, affine=affine)["mask"].numpy()
    assert np.array_equal(served[mask == 1], mask[mask == 1])
    assert served.sum() > mask.sum()  # the specks: no graph finds components


def test_what_gains_nothing_is_not_taken(run):
    found = try_mask_options(run, ["flips"])  # a network of single voxels answers the same for all flips
    assert len(found.stored.trials) == 7
    assert not any(trial.taken for trial in found.stored.trials)
    assert read_run(run).mask_options.flip_axes == read_run(run).recipe.flip_axes


def test_the_command_prints_what_was_tried(run, capsys):
    assert main(["evaluate", str(run), "--try", "largest-component"]) == 0
    assert "1 settings tried on 5 validation cases" in capsys.readouterr().out
    assert not (run / "test").exists()


def test_unknown_options_and_too_few_cases_are_refused(run):
    with pytest.raises(UsageError, match="Received: speed"):
        try_mask_options(run, ["speed"])
    data = json.loads((run / "data.json").read_text())
    data["cases"]["validation"] = data["cases"]["validation"][:2]
    (run / "data.json").write_text(json.dumps(data))
    with pytest.raises(UsageError, match="3 cases or more to choose by. Received: 2"):
        try_mask_options(run)
    assert not (run / "segmenter.json").exists()
