import csv
import os
from dataclasses import replace

import keras
import numpy as np
import pytest
from scipy import ndimage

from mcc_keras.datasets import find_cases, read_image, read_mask, write_synthetic
from mcc_keras.documents import read_document
from mcc_keras.errors import (
    CaseError,
    GeometryError,
    LabelError,
    OutputExistsError,
    RunError,
    UsageError,
    VolumeError,
)
from mcc_keras.evaluation.evaluate import evaluate, name_scores
from mcc_keras.evaluation.measures import MEASURES
from mcc_keras.evaluation.output import write_scores
from mcc_keras.evaluation.scores import SCHEMA, Summary
from mcc_keras.listing import LISTING
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.manifest import read_manifest
from mcc_keras.records.write import write_tfrecords
from mcc_keras.runs.data import describe_data
from mcc_keras.runs.run import read_run
from mcc_keras.segmentation.cleaning import clean
from mcc_keras.segmentation.segment import arrays_of, segment
from mcc_keras.segmentation.segmenter import load_segmenter
from mcc_keras.task import Task
from mcc_keras.volumes import read_volume, write_volume

SIZE = (16, 16, 8)


@pytest.fixture(scope="module")
def brightness_run(write_run):
    """Return a function that writes a run whose network says how bright a voxel is: its masks are not empty."""

    def write(folder, work, *, labels=((1,),), names=()):
        task = Task(labels=labels, names=names)
        cases = describe_data(read_manifest(work)).cases if work != "nowhere" else {}
        return write_run(folder, brightness_network(task), Preprocessing(size=SIZE), task=task, work=work, cases=cases)

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


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Scans that no run has seen."""
    folder = tmp_path_factory.mktemp("others")
    table = write_synthetic(
        folder, num_cases=4, size=(20, 20, 10), foreground_fraction=0.03, empty_fraction=0.25, seed=1
    )
    lines = table.read_text().replace("patient_", "other_").splitlines()
    table.write_text("\n".join(f"{line},{site}" for line, site in zip(lines, ("site", *"ABAB"), strict=True)))
    return table


@pytest.fixture
def run(brightness_run, work, tmp_path):
    return brightness_run(tmp_path / "run", work)


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


def test_a_score_stands_beside_what_the_box_allows_at_best(run, scans):
    scores = evaluate(run)
    case = next(case for case in find_cases(scans) if case.case_id == scores[0]["case"])
    truth = read_mask(case, read_image(case))
    grid = run.preprocessing.grid(read_image(case).array, read_image(case).affine)
    # The probability of a perfect network is the mask in the box.
    in_box = run.preprocessing.apply_mask(truth, grid, num_labels=1)
    back = run.preprocessing.restore(in_box[..., None].astype(np.float32), grid)[..., 0] >= 0.5
    assert scores[0]["box_dice"] == pytest.approx(2 * (truth * back).sum() / (truth.sum() + back.sum()))
    assert 0.5 < scores[0]["box_dice"] < 1
    assert str(scores).splitlines()[0].split()[:4] == ["case", "class", "Dice", "box"]


def test_means_leave_out_the_cases_without_the_organ_and_count_them(run, others):
    scores = evaluate(run, source=others)
    (summary,) = scores.summary.classes
    dice = [row["dice"] for row in scores if row["tp"] + row["fn"] > 0]
    empty = [row for row in scores if row["tp"] + row["fn"] == 0]
    assert (summary.with_organ, summary.without_organ) == (3, 1) == (len(dice), len(empty))
    assert summary.measures["dice"].mean == pytest.approx(np.mean(dice)) == scores.mean()
    assert summary.measures["dice"].std == pytest.approx(np.std(dice, ddof=1))
    assert (summary.measures["dice"].min, summary.measures["dice"].n) == (min(dice), 3)
    assert summary.false_positive_voxels_without_organ == sum(row["fp"] for row in empty) > 0
    assert summary.false_alarms + summary.correctly_empty == 1
    assert all(row["dice"] is None and row["mcc"] is None for row in empty)


def test_the_files_hold_what_is_returned(run):
    scores = evaluate(run)
    with open(scores.scores_path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["case", "group", "note", "class", "counted_as", *MEASURES]
    for row, expected in zip(rows, scores.rows, strict=True):
        assert row["dice"] == ("" if expected["dice"] is None else f"{expected['dice']:.6g}")
        assert int(row["fp"]) == expected["fp"]
    assert read_document(scores.folder / "summary.json", Summary, schema=SCHEMA) == scores.summary
    page = scores.report_path.read_text(encoding="utf-8")
    assert all(row["case"] in page for row in scores.rows)
    files = {path.name for path in scores.folder.iterdir()}
    assert files == {LISTING, "report.html", "scores.csv", "summary.json", "calibration.csv"}
    assert scores.folder == run.folder / "test"


def test_the_table_to_read_names_every_case_and_the_options(run):
    text = str(evaluate(run, largest_component=True))
    lines = text.splitlines()
    assert lines[0].split()[:5] == ["case", "class", "Dice", "box", "MCC"]
    assert sum(line.startswith("case_") for line in lines) == 3
    assert "mean Dice" in text
    assert "averaged over flips along x, only the largest component kept" in text


def test_scores_of_the_same_run_are_the_same_bytes(run, tmp_path):
    first, second = (evaluate(run, output=tmp_path / name) for name in ("first", "second"))
    for name in ("scores.csv", "summary.json", "report.html", "calibration.csv"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


def test_only_the_largest_component_is_scored_where_it_is_asked_for(run, scans):
    case = next(case for case in find_cases(scans) if case.part == "test")
    scores = evaluate(run, largest_component=True)
    assert (scores.summary.flip_axes, scores.summary.largest_component) == ((0,), True)
    predicted = read_volume(segment(run.folder, case.images[0], run.folder / "mask.nii.gz")).array
    kept = clean(predicted, largest_component=True)
    assert 0 < kept.sum() < predicted.sum()
    assert scores.rows[0]["tp"] + scores.rows[0]["fp"] == kept.sum()


@pytest.fixture(scope="module")
def two_classes(brightness_run, tmp_path_factory):
    """A run of two classes that are called lung and heart, and scans with the same labels."""
    folder = tmp_path_factory.mktemp("two")
    scans = write_synthetic(folder / "scans", num_cases=2, size=SIZE, num_labels=2, foreground_fraction=0.05)
    return brightness_run(folder / "run", "nowhere", labels=((1,), (2,)), names=("lung", "heart")), scans


def test_classes_kept_apart_have_a_row_each_with_their_name(two_classes, tmp_path):
    run, scans = two_classes
    scores = evaluate(run, source=scans, output=tmp_path / "scores")
    assert [(row["case"], row["class"]) for row in scores] == [
        ("case_000", "lung"), ("case_000", "heart"), ("case_001", "lung"), ("case_001", "heart"),
    ]  # fmt: skip
    assert [group.name for group in scores.summary.classes] == ["lung", "heart"]
    assert scores.mean() == pytest.approx(np.mean([row["dice"] for row in scores]))
    for text in (str(scores), scores.report_path.read_text(), scores.scores_path.read_text()):
        assert "heart" in text


def test_a_region_merges_classes_by_their_labels(two_classes, tmp_path):
    run, scans = two_classes
    scores = evaluate(run, source=scans, output=tmp_path / "scores", regions={"thorax": (1, 2)})
    lung, heart, thorax = scores[:3]
    assert thorax["class"] == "thorax"
    assert thorax["tp"] + thorax["fn"] == sum(row["tp"] + row["fn"] for row in (lung, heart))
    with pytest.raises(UsageError, match="whole classes, whose labels are 1, 2. Received: other=3"):
        evaluate(run, source=scans, regions={"other": (3,)})


def voxels_near(case, run, numbers=(1,)):
    """Return probability and truth of each voxel of a case within 10 mm of truth or prediction."""
    image = read_image(case)
    answer = load_segmenter(run).answer(*arrays_of(image))
    mask, probability = answer["mask"].numpy(), answer["probability"].numpy()
    truth = np.isin(read_mask(case, image), numbers)
    outside = ~(truth | np.isin(mask, numbers))
    near = ndimage.distance_transform_edt(outside, sampling=image.spacing_mm) <= 10
    first = 1 if probability.shape[-1] == 1 else 0
    return sum(probability[..., number - first] for number in numbers)[near], truth[near]


def calibration_error(p, truth):
    bins = np.minimum((p * 15).astype(int), 14)
    return sum(abs(p[bins == b].sum(dtype=float) - truth[bins == b].sum()) for b in range(15)) / p.size


def test_the_calibration_error_is_that_of_the_voxels_near_truth_and_prediction(run, scans):
    scores = evaluate(run)
    cases = [case for case in find_cases(scans) if case.part == "test"]
    p, truth = map(np.concatenate, zip(*(voxels_near(case, run) for case in cases), strict=True))
    (found,) = scores.summary.calibration.classes
    assert found.voxels == p.size
    assert found.error == pytest.approx(calibration_error(p, truth), abs=1e-6)
    assert f"expected calibration error {found.error:.3f} over {p.size} voxels within 10 mm" in str(scores)
    assert "it is fitted when the validation part is evaluated" in str(scores)


def test_the_validation_part_fits_a_temperature_that_changes_no_score(run, tmp_path):
    before = evaluate(run)
    fitted = evaluate(run, part="validation")
    after = evaluate(run, overwrite=True)
    temperature = fitted.summary.calibration.temperature
    assert fitted.summary.calibration.fitted_here and not after.summary.calibration.fitted_here
    assert after.summary.calibration.temperature == temperature != 1
    assert list(after) == list(before)
    (first,), (second,) = before.summary.calibration.classes, after.summary.calibration.classes
    assert (first.error, first.bins, first.bins_with_temperature) == (second.error, second.bins, ())
    text = f"{second.error_with_temperature:.3f} with temperature {temperature:.2f}"
    assert text in str(after) and text in after.report_path.read_text()
    with open(after.folder / "calibration.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["temperature"]) for row in rows] == pytest.approx([1] * 15 + [temperature] * 15, rel=1e-5)
    assert sum(int(row["voxels"]) for row in rows) == 2 * second.voxels


def test_a_temperature_of_another_network_is_not_taken(run):
    evaluate(run, part="validation")
    path = run.folder / "validation" / "summary.json"
    text = path.read_text()
    path.write_text(text.replace('"model_sha256": "', '"model_sha256": "0'))
    assert evaluate(run).summary.calibration.temperature is None
    path.write_text("{")
    assert evaluate(run, overwrite=True).summary.calibration.temperature is None


def test_cases_that_are_in_no_mean_are_in_no_calibration(run, scans, tmp_path):
    of_all = evaluate(run, source=scans, output=tmp_path / "all").summary
    assert of_all.left_out
    (all_cases,), (test_cases,) = of_all.calibration.classes, evaluate(run).summary.calibration.classes
    assert all_cases == test_cases


def test_each_class_and_region_is_calibrated(two_classes, tmp_path):
    run, scans = two_classes
    summary = evaluate(run, source=scans, output=tmp_path / "scores", regions={"thorax": (1, 2)}).summary
    cases = [replace(case, task=run.task) for case in find_cases(scans, labels=((1,), (2,)))]
    for found, numbers in zip(summary.calibration.classes, ((1,), (2,), (1, 2)), strict=True):
        p, truth = map(np.concatenate, zip(*(voxels_near(case, run, numbers) for case in cases), strict=True))
        assert (found.voxels, found.error) == (p.size, pytest.approx(calibration_error(p, truth), abs=1e-5))


def test_the_values_of_a_column_have_means_of_their_own(run, others, tmp_path):
    scores = evaluate(run, source=others, by="site")
    assert {value: classes[0].cases for value, classes in scores.summary.groups.items()} == {"A": 2, "B": 2}
    assert "site: A" in str(scores)
    with pytest.raises(UsageError, match="by='city'. The columns are .*site"):
        evaluate(run, source=others, by="city", output=tmp_path / "other")


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


def test_another_source_can_be_read_in_another_way_than_the_runs_cases(run, scans, tmp_path):
    case = find_cases(scans)[0]
    scan, mask = read_volume(case.images[0]), read_volume(case.mask)
    voxels = scan.array.astype(np.float32)
    voxels[0, 0, 0] = np.nan
    write_volume(voxels, tmp_path / "source" / "a.nii.gz", affine=scan.affine)
    write_volume(mask.array, tmp_path / "source" / "a_mask.nii.gz", affine=mask.affine)
    with pytest.raises(VolumeError, match='nonfinite="zero"'):
        evaluate(run, source=tmp_path / "source")
    assert len(evaluate(run, source=tmp_path / "source", nonfinite="zero")) == 1


def test_the_advice_about_other_labels_is_not_to_choose_the_foreground(run, scans, tmp_path):
    case = find_cases(scans)[0]
    scan, mask = read_volume(case.images[0]), read_volume(case.mask)
    write_volume(scan.array, tmp_path / "source" / "a.nii.gz", affine=scan.affine)
    write_volume(mask.array * 7, tmp_path / "source" / "a_mask.nii.gz", affine=mask.affine)
    with pytest.raises(LabelError, match="found also 7 .* Save it with the labels of the run.$"):
        evaluate(run, source=tmp_path / "source")


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


def test_workers_change_no_number(run):
    assert evaluate(run, workers=2) == evaluate(run, workers=1, overwrite=True)


@pytest.mark.parametrize("name", ["..", ".", "../..", "/", "test", "Logs", "model.keras", "a/../..", "\x1b[2J"])
def test_the_name_of_a_source_is_that_of_a_new_folder_in_the_run(tmp_path, monkeypatch, name):
    (tmp_path / "here" / "there").mkdir(parents=True)
    (tmp_path / "model.keras").touch()
    monkeypatch.chdir(tmp_path / "here" / "there")
    found = name_scores(name, tmp_path)
    assert (tmp_path / found).resolve().parent == tmp_path
    assert found.isprintable() and found.lower() not in ("train", "validation", "test", "logs")
    assert not (tmp_path / found).is_file()


def test_scores_are_never_written_among_the_scans(run, others, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(others.parent)
    for output in (others.parent, others.parent / "images" / "..", link, others.parent.parent):
        with pytest.raises(UsageError, match="must not be an input"):
            evaluate(run, source=others, output=output, overwrite=True)
    with pytest.raises(OutputExistsError, match="found a file"):
        evaluate(run, source=others, output=others)


def test_names_can_neither_move_a_cursor_nor_be_a_formula(run, others):
    text = others.read_text().replace("other_000", "=HYPERLINK(1)").replace(",A", ",\x1b[2JA")
    source = others.with_name("hostile.csv")
    source.write_text(text)
    scores = evaluate(run, source=source, by="site", output=run.folder / "hostile")
    source.unlink()
    assert "'=HYPERLINK(1)" in scores.scores_path.read_text()
    for text in (str(scores), scores.scores_path.read_text(), scores.report_path.read_text()):
        assert "\x1b" not in text and "\\x1b[2JA" in text


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


def test_scores_of_which_one_cannot_be_written_leave_no_folder(run, tmp_path):
    scores = evaluate(run)
    scores.folder = tmp_path / "scores"
    with pytest.raises(UnicodeEncodeError):
        write_scores(scores, "a page that UTF-8 cannot hold: \ud800")
    assert not (tmp_path / "scores").exists()
