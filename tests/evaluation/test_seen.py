"""What a run was trained on is never scored as unseen, whatever it is called and wherever it lies."""

import shutil

import keras
import nibabel
import numpy as np
import pytest

from mcc_keras.datasets import Case, find_cases
from mcc_keras.errors import CaseError
from mcc_keras.evaluation.evaluate import evaluate
from mcc_keras.evaluation.seen import find_seen
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.manifest import read_manifest
from mcc_keras.records.sources import hash_files
from mcc_keras.records.write import write_tfrecords
from mcc_keras.runs.data import RunData, SeenCase, describe_data
from mcc_keras.task import Task
from mcc_keras.volumes import read_volume, write_volume

SPLIT = {"train": ["case0", "case1"], "validation": ["case2"], "test": ["case3", "case4"]}


@pytest.fixture
def scans(write_pairs):
    return write_pairs()


@pytest.fixture
def run(scans, write_run, tmp_path):
    """A run on five pairs, of which two were trained on and one chose the epoch."""
    cases = find_cases(scans)
    write_tfrecords(cases, tmp_path / "work", preprocessing=Preprocessing(size=8), split=SPLIT, workers=1)
    inputs = keras.Input((8, 8, 8, 1))
    model = keras.Model(inputs, keras.layers.Conv3D(1, 1, activation="sigmoid")(inputs))
    seen = describe_data(read_manifest(tmp_path / "work")).cases
    return write_run(tmp_path / "run", model, Preprocessing(size=8), work=tmp_path / "work", cases=seen)


def notes(scores):
    return {row["case"]: row["note"] for row in scores}


def test_cases_of_another_data_set_that_were_trained_on_are_in_no_mean(run, scans, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(scans, moved)
    for path in sorted(moved.iterdir()):
        path.rename(moved / path.name.replace("case", "renamed"))
    scores = evaluate(run, source=moved)
    expected = ("trained on", "trained on", "chose the epoch", "", "")
    assert notes(scores) == {f"renamed{index}": note for index, note in enumerate(expected)}
    unseen = [row["dice"] for row in scores if not row["note"]]
    assert scores.summary.classes[0].measures["dice"].n == 2
    assert scores.mean() == pytest.approx(np.mean(unseen))
    for text in (str(scores), scores.report_path.read_text()):
        assert "In no mean, since the run saw them (trained on): renamed0, renamed1." in text


@pytest.mark.parametrize(
    ("part", "kept", "warning"),
    [
        ("train", {"case0", "case1"}, "These are training cases"),
        ("validation", {"case2"}, "These cases chose the epoch"),
        ("test", {"case3", "case4"}, ""),
    ],
)
def test_a_part_says_what_its_cases_were_used_for(run, scans, tmp_path, part, kept, warning):
    own = evaluate(run, part=part)
    source = evaluate(run, part=part, source=scans, output=tmp_path / "scores")
    assert {row["case"] for row in own} == kept
    assert own.mean() == source.mean()
    for scores in (own, source):
        assert scores.summary.classes[0].measures["dice"].n == len(kept)
        assert warning in str(scores) and warning in scores.report_path.read_text()
    assert ("These" in str(own)) == bool(warning)


def test_another_scan_of_a_patient_is_marked_where_the_patient_is_named(run, scans, tmp_path):
    table = tmp_path / "later.csv"
    later = read_volume(scans / "case0.nii.gz")
    write_volume(later.array + 1, tmp_path / "later.nii.gz", affine=later.affine)
    shutil.copy(scans / "case0_mask.nii.gz", tmp_path / "later_mask.nii.gz")
    table.write_text("case,image,label,group\nlater,later.nii.gz,later_mask.nii.gz,case0\n")
    assert notes(evaluate(run, source=table)) == {"later": "trained on: another scan of patient case0"}
    table.write_text("case,image,label\ncase0,later.nii.gz,later_mask.nii.gz\n")
    assert notes(evaluate(run, source=table, overwrite=True)) == {"case0": ""}


def test_records_that_were_prepared_again_change_no_part(run, scans, tmp_path):
    before = evaluate(run)
    work, cases = tmp_path / "work", find_cases(scans)
    other = {"train": SPLIT["test"], "validation": SPLIT["validation"], "test": SPLIT["train"]}
    write_tfrecords(cases, work, preprocessing=Preprocessing(size=8), split=other, workers=1, overwrite=True)
    assert evaluate(run, overwrite=True).rows == before.rows
    shutil.rmtree(work)
    assert evaluate(run, overwrite=True).rows == before.rows


def test_a_mask_that_changed_after_training_is_named(run, scans, tmp_path):
    path = scans / "case0_mask.nii.gz"
    mask = read_volume(path)
    write_volume(np.roll(mask.array, 1, axis=0), path, affine=mask.affine, overwrite=True)
    with pytest.raises(CaseError, match="case0_mask.nii.gz: expected the file of case case0 as it was for"):
        evaluate(run, part="train")
    scores = evaluate(run, source=scans)
    assert notes(scores)["case0"] == "trained on: the mask has changed since"
    assert scores.summary.classes[0].measures["dice"].n == 2


def test_a_header_that_cases_share_proves_nothing(tmp_path):
    for name, value in (("a", 0), ("b", 1)):
        nibabel.save(nibabel.Nifti1Pair(np.full((4, 4, 4), value, np.int16), np.eye(4)), tmp_path / f"{name}.img")
    assert (tmp_path / "a.hdr").read_bytes() == (tmp_path / "b.hdr").read_bytes()
    digests = {name: hash_files([tmp_path / name])[tmp_path / name][1] for name in ("a.hdr", "a.img")}
    sources = {"a.img": digests["a.img"], "a.hdr": digests["a.hdr"], "m.nii": "0"}
    trained = SeenCase(
        case_id="a", group="a", images=("a.img",), mask="m.nii", affine=None, nonfinite="error", sources=sources
    )
    data = RunData(work="", manifest_sha256="", task=Task(), image_shape=(), cases={"train": (trained,)})
    found = find_seen([Case(name, (tmp_path / f"{name}.img",)) for name in ("a", "b")], data)
    assert {name: seen.kind for name, seen in found.items()} == {"a": "trained on", "b": ""}
