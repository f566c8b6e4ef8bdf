import csv
import json
import os

import keras
import numpy as np
import pytest
from sklearn.metrics import f1_score, matthews_corrcoef, precision_score, recall_score

from mcc_keras.datasets import find_cases, read_image, read_mask, write_synthetic
from mcc_keras.errors import CaseError, GeometryError, OutputExistsError, RunError, UsageError
from mcc_keras.evaluation.evaluate import _write, compare_masks, evaluate, score_counts
from mcc_keras.evaluation.scores import Scores
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.write import write_tfrecords
from mcc_keras.runs.run import read_run
from mcc_keras.segmentation.segment import keep_largest_component, segment
from mcc_keras.task import Task
from mcc_keras.volumes import read_volume, write_volume

SIZE = (16, 16, 8)


@pytest.fixture(scope="module")
def brightness_run(write_run):
    """Return a function that writes a run whose network says how bright a voxel is: its masks are not empty."""

    def write(folder, work, *, labels=((1,),), channels=1):
        task = Task(labels=labels, channel_names=tuple(f"image_{i}" for i in range(channels)))
        return write_run(folder, brightness_network(task), Preprocessing(size=SIZE), task=task, work=work)

    return write


def brightness_network(task):
    channels, classes = len(task.channel_names), task.num_classes
    inputs = keras.Input((*SIZE, channels))
    activation = "sigmoid" if classes == 1 else "softmax"
    head = keras.layers.Conv3D(classes, 1, activation=activation)
    model = keras.Model(inputs, head(inputs))
    weights = np.linspace(-2, 2, classes) if classes > 1 else np.array([2.0])
    head.set_weights([np.broadcast_to(weights, (1, 1, 1, channels, classes)), np.full(classes, -2.0)])
    return model


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    return write_synthetic(folder, num_cases=8, size=(20, 20, 10), foreground_fraction=0.03, empty_fraction=0.25)


@pytest.fixture(scope="module")
def work(scans, tmp_path_factory):
    folder = tmp_path_factory.mktemp("work") / "work"
    write_tfrecords(find_cases(scans), folder, preprocessing=Preprocessing(size=SIZE), workers=1)
    return folder


@pytest.fixture
def run(brightness_run, work, tmp_path):
    return brightness_run(tmp_path / "run", work)


def test_counts_and_scores_equal_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth, predicted = (rng.integers(0, 3, (7, 8, 9)) for _ in range(2))
    for label, counts in enumerate(compare_masks(truth, predicted, num_labels=2), start=1):
        y, p = (truth == label).ravel(), (predicted == label).ravel()
        scores = score_counts(*counts)
        assert sum(counts) == truth.size
        assert scores["dice"] == pytest.approx(f1_score(y, p))
        assert scores["mcc"] == pytest.approx(matthews_corrcoef(y, p))
        assert scores["sensitivity"] == pytest.approx(recall_score(y, p))
        assert scores["precision"] == pytest.approx(precision_score(y, p))
        assert scores["volume_difference_percent"] == pytest.approx(100 * (p.sum() / y.sum() - 1))


def test_scores_of_a_volume_of_2_to_the_27_voxels_are_exact():
    scores = score_counts(2**24 + 1, 1, 0, 2**27 - 2**24 - 2)
    assert scores["dice"] == (2**25 + 2) / (2**25 + 3)
    assert 1 - scores["mcc"] == pytest.approx((1 - scores["dice"]) * 8 / 7, rel=1e-3)


@pytest.mark.parametrize(
    ("counts", "dice", "mcc", "sensitivity", "precision", "difference", "counted_as"),
    [
        ((5, 0, 0, 95), 1.0, 1.0, 1.0, 1.0, 0.0, "scored"),
        ((0, 5, 5, 90), 0.0, -1 / 19, 0.0, 0.0, 0.0, "scored"),
        ((0, 0, 5, 95), 0.0, 0.0, 0.0, None, -100.0, "missed"),
        ((0, 5, 0, 95), None, None, None, None, None, "false alarm"),
        ((0, 0, 0, 100), None, None, None, None, None, "correctly empty"),
        ((60, 0, 40, 0), 0.75, None, 0.6, 1.0, -40.0, "scored"),
        ((60, 40, 0, 0), 0.75, 0.0, 1.0, 0.6, 200 / 3, "scored"),
    ],
)
def test_empty_and_full_masks_follow_the_table(counts, dice, mcc, sensitivity, precision, difference, counted_as):
    scores = score_counts(*counts)
    assert scores.pop("counted_as") == counted_as
    expected = {"dice": dice, "mcc": mcc, "sensitivity": sensitivity, "precision": precision}
    expected["volume_difference_percent"] = difference
    assert scores == {name: value if value is None else pytest.approx(value) for name, value in expected.items()}


def test_masks_of_different_shapes_are_not_compared():
    with pytest.raises(UsageError, match=r"truth.shape=\(2, 2\), predicted.shape=\(2, 3\)"):
        compare_masks(np.zeros((2, 2), int), np.zeros((2, 3), int), num_labels=1)


def test_every_case_of_the_part_is_scored_as_the_mask_on_disk_says(run, scans, tmp_path):
    scores = evaluate(run.folder)
    cases = [case for case in find_cases(scans) if case.part == "test"]
    assert [row["case"] for row in scores.rows] == [case.case_id for case in cases]
    for row, case in zip(scores.rows, cases, strict=True):
        predicted = read_volume(segment(run.folder, case.images[0], tmp_path / f"{case.case_id}.nii.gz")).array
        truth = read_mask(case, read_image(case))
        assert (row["tp"], row["fp"], row["fn"]) == (
            int((predicted & truth).sum()),
            int((predicted & ~truth & 1).sum()),
            int((truth & ~predicted & 1).sum()),
        )
        voxel_ml = np.prod(read_image(case).spacing_mm) / 1000
        assert row["true_ml"] == pytest.approx(truth.sum() * voxel_ml)
        assert row["predicted_ml"] == pytest.approx(predicted.sum() * voxel_ml)


def test_means_leave_out_the_cases_without_the_organ_and_count_them(run, scans):
    scores = evaluate(run, source=scans)
    (summary,) = scores.summary["classes"]
    dice = [row["dice"] for row in scores.rows if row["tp"] + row["fn"] > 0]
    empty = [row for row in scores.rows if row["tp"] + row["fn"] == 0]
    assert (summary["with_organ"], summary["without_organ"]) == (6, 2) == (len(dice), len(empty))
    assert summary["dice"]["mean"] == pytest.approx(np.mean(dice)) == scores.mean()
    assert summary["dice"]["std"] == pytest.approx(np.std(dice, ddof=1))
    assert summary["dice"]["min"] == min(dice)
    assert summary["false_positive_voxels_without_organ"] == sum(row["fp"] for row in empty) > 0
    assert summary["false_alarms"] + summary["correctly_empty"] == 2
    assert all(row["dice"] is None and row["mcc"] is None for row in empty)


def test_the_files_hold_what_is_returned(run):
    scores = evaluate(run)
    with open(scores.scores_path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(scores.rows[0])
    for row, expected in zip(rows, scores.rows, strict=True):
        assert row["dice"] == ("" if expected["dice"] is None else f"{expected['dice']:.6g}")
        assert int(row["fp"]) == expected["fp"]
    assert json.loads((scores.folder / "summary.json").read_text()) == json.loads(json.dumps(scores.summary))
    page = scores.report_path.read_text(encoding="utf-8")
    assert all(row["case"] in page for row in scores.rows)
    assert sorted(path.name for path in scores.folder.iterdir()) == ["report.html", "scores.csv", "summary.json"]
    assert scores.folder == run.folder / "test"


def test_the_table_to_read_names_every_case_and_the_options(run):
    text = str(evaluate(run, largest_component=True))
    lines = text.splitlines()
    assert lines[0].split()[:4] == ["case", "label", "Dice", "MCC"]
    assert sum(line.startswith("case_") for line in lines) == 3
    assert "mean Dice" in text
    assert "averaged over flips along x, only the largest component kept" in text


def test_scores_of_the_same_run_are_the_same_bytes(run, tmp_path):
    first, second = (evaluate(run, output=tmp_path / name) for name in ("first", "second"))
    for name in ("scores.csv", "summary.json", "report.html"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


def test_only_the_largest_component_is_scored_where_it_is_asked_for(run, scans):
    case = next(case for case in find_cases(scans) if case.part == "test")
    scores = evaluate(run, largest_component=True)
    assert scores.summary["options"] == {"flip_axes": [0], "largest_component": True}
    predicted = read_volume(segment(run.folder, case.images[0], run.folder / "mask.nii.gz")).array
    kept = keep_largest_component(predicted)
    assert 0 < kept.sum() < predicted.sum()
    assert scores.rows[0]["tp"] + scores.rows[0]["fp"] == kept.sum()


def test_classes_kept_apart_have_a_row_each(brightness_run, tmp_path):
    scans = write_synthetic(tmp_path / "scans", num_cases=2, size=SIZE, num_labels=2, foreground_fraction=0.05)
    run = brightness_run(tmp_path / "run", "nowhere", labels=((1,), (2,)))
    scores = evaluate(run, source=scans)
    assert [(row["case"], row["label"]) for row in scores.rows] == [
        ("case_000", "1"), ("case_000", "2"), ("case_001", "1"), ("case_001", "2"),
    ]  # fmt: skip
    assert [group["label"] for group in scores.summary["classes"]] == ["1", "2"]
    assert scores.mean() == pytest.approx(np.mean([row["dice"] for row in scores.rows]))


def test_earlier_scores_are_kept_unless_overwriting_is_allowed(run):
    path = evaluate(run).scores_path
    path.write_text("mine")
    with pytest.raises(OutputExistsError, match="earlier evaluation"):
        evaluate(run)
    assert path.read_text() == "mine"
    (path.parent / "notes.txt").write_text("beside")
    evaluate(run, overwrite=True)
    assert path.read_text().startswith("case,")
    assert (path.parent / "notes.txt").read_text() == "beside"


def test_nothing_is_left_behind_where_a_case_cannot_be_scored(run, scans, tmp_path):
    case = find_cases(scans)[0]
    bad = tmp_path / "bad"
    scan = read_volume(case.images[0])
    write_volume(scan.array, bad / "a.nii.gz", affine=scan.affine)
    write_volume(np.ones((5, 5, 5), np.uint8), bad / "a_mask.nii.gz", affine=scan.affine)
    before = sorted(path.name for path in run.folder.iterdir())
    with pytest.raises(GeometryError, match="expected the shape"):
        evaluate(run, source=bad)
    assert sorted(path.name for path in run.folder.iterdir()) == before


def test_bad_requests_are_refused_with_the_way_out(run, scans, tmp_path):
    with pytest.raises(RunError, match="expected a finished run"):
        evaluate(tmp_path / "no_run")
    with pytest.raises(UsageError, match="part='holdout'"):
        evaluate(run, part="holdout")
    two = write_synthetic(tmp_path / "two", num_cases=1, size=SIZE, num_channels=2, empty_fraction=0)
    with pytest.raises(CaseError, match="expected 1 channels"):
        evaluate(run, source=two)
    scan = read_volume(find_cases(scans)[0].images[0])
    write_volume(scan.array, tmp_path / "bare" / "a.nii.gz", affine=scan.affine)
    with pytest.raises(CaseError, match="found none"):
        evaluate(run, source=tmp_path / "bare")


def test_no_progress_is_shown_where_there_is_no_terminal(run, capsys):
    evaluate(read_run(run.folder))
    assert capsys.readouterr() == ("", "")


def test_scores_are_written_aside_and_take_their_place_at_once(run, tmp_path):
    scores = evaluate(run)
    os.link(scores.scores_path, tmp_path / "earlier.csv")
    before = (tmp_path / "earlier.csv").read_text()
    evaluate(run, largest_component=True, overwrite=True)
    assert scores.scores_path.stat().st_ino != (tmp_path / "earlier.csv").stat().st_ino
    assert (tmp_path / "earlier.csv").read_text() == before


def test_scores_of_which_one_cannot_be_written_leave_no_folder(tmp_path):
    scores = Scores(({"case": "a"},), {}, tmp_path / "scores")
    with pytest.raises(UnicodeEncodeError):
        _write(scores, "a page that UTF-8 cannot hold: \ud800")
    assert list(tmp_path.iterdir()) == []
