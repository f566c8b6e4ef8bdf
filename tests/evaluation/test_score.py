"""Two folders of masks are compared as anyone would by hand, and what does not fit is named."""

import csv
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

import mcc_keras as mk
from mcc_keras.errors import (
    CaseError,
    DataErrors,
    GeometryError,
    LabelError,
    OutputExistsError,
    UsageError,
    VolumeError,
)
from mcc_keras.listing import LISTING
from mcc_keras.volumes import write_volume

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def cube(start=2, *, value=1, side=4):
    mask = np.zeros((12, 12, 8), np.uint8)
    mask[start : start + side, 2 : 2 + side, 2 : 2 + side] = value
    return mask


def save(mask, path, affine=AFFINE):
    return write_volume(mask, path, affine=affine, overwrite=True)


@pytest.fixture
def folders(tmp_path):
    """Two cases: a, found two voxels aside, and b, found exactly; the predictions are called after another habit."""
    truth, prediction = tmp_path / "truth", tmp_path / "prediction"
    for name, shift in (("a", 2), ("b", 0)):
        save(cube(), truth / f"{name}.nii.gz")
        save(cube(2 + shift), prediction / f"{name}_seg.nii")
    return truth, prediction


def test_cases_are_paired_by_name_and_scored(folders):
    scores = mk.score(*folders)
    assert [(row["case"], row["class"], row["dice"]) for row in scores] == [("a", "1", 0.5), ("b", "1", 1.0)]
    assert [row["hausdorff_distance_mm"] for row in scores] == [2.0, 0.0]
    assert scores[0]["true_ml"] == pytest.approx(64 * 2 / 1000)
    assert (scores.summary.classes[0].measures["dice"].n, scores.mean()) == (2, 0.75)
    assert isinstance(scores, list) and scores.folder is None


def test_two_files_are_one_case_whatever_they_are_called(folders):
    (row,) = mk.score(folders[0] / "a.nii.gz", folders[1] / "b_seg.nii")
    assert (row["case"], row["dice"]) == ("a", 1.0)


def test_a_truth_without_prediction_is_an_empty_mask_and_named(folders):
    (folders[1] / "b_seg.nii").unlink()
    save(cube(), folders[1] / "c_seg.nii")
    scores = mk.score(*folders)
    assert [(row["case"], row["counted_as"], row["dice"]) for row in scores] == [
        ("a", "scored", 0.5),
        ("b", "missed", 0),
    ]
    assert scores.summary.without_prediction == ("b",)
    assert "No prediction, counted as an empty mask: b." in str(scores)
    assert "No truth, not scored: " in str(scores) and "c_seg.nii" in str(scores)
    with pytest.raises(CaseError, match="b: expected a prediction, found none"):
        mk.score(*folders, missing="error")


def test_labels_and_regions_have_names(folders):
    for folder in folders:
        for path in folder.iterdir():
            save(cube() + cube(6, value=2), path)
    scores = mk.score(*folders, labels={"core": 1, "edema": 2}, regions={"whole": (1, 2)})
    assert [(row["class"], row["tp"]) for row in scores[:3]] == [("core", 64), ("edema", 64), ("whole", 128)]
    assert [row["class"] for row in mk.score(*folders)[:2]] == ["1", "2"]
    assert [row["class"] for row in mk.score(*folders, labels=(1,), background=(0, 2))] == ["1", "1"]
    with pytest.raises(LabelError, match="expected labels 0, 1 in the truth, found also 2"):
        mk.score(*folders, labels=(1,))


def test_the_names_and_patients_of_a_data_set_are_used(tmp_path):
    source = mk.datasets.write_synthetic(
        tmp_path / "set", num_cases=2, size=(16, 16, 8), layout="nnunet", empty_fraction=0
    )
    cases = mk.find_cases(source)
    for case in cases:
        save(
            mk.read_volume(case.mask).array,
            tmp_path / "out" / f"{case.case_id}.nii.gz",
            mk.read_volume(case.mask).affine,
        )
    scores = mk.score(source, tmp_path / "out")
    assert {row["class"] for row in scores} == set(cases[0].task.names) != {"1"}
    assert scores.mean() == 1.0


def test_a_table_pairs_any_names_and_groups_by_a_column(folders, tmp_path):
    table = tmp_path / "pairs.csv"
    table.write_text(
        "case,truth,prediction,group,site\n"
        "x,truth/a.nii.gz,prediction/a_seg.nii,p,Bern\ny,truth/b.nii.gz,prediction/b_seg.nii,q,Oslo\n"
    )
    scores = mk.score(table, by="site")
    assert [(row["case"], row["group"], row["site"], row["dice"]) for row in scores] == [
        ("x", "p", "Bern", 0.5), ("y", "q", "Oslo", 1.0)
    ]  # fmt: skip
    assert {site: classes[0].measures["dice"].mean for site, classes in scores.summary.groups.items()} == {
        "Bern": 0.5, "Oslo": 1.0
    }  # fmt: skip
    with pytest.raises(UsageError, match="left out where `truth` is a table"):
        mk.score(table, folders[1])


def test_a_prediction_in_another_order_of_axes_is_the_same(folders):
    turned = np.diag([-1.0, 1.0, 2.0, 1.0])
    turned[0, 3] = 11
    save(cube()[::-1], folders[1] / "b_seg.nii", turned)
    with pytest.warns(UserWarning, match="stored in another order"):
        scores = mk.score(*folders)
    assert scores[1]["dice"] == 1.0


@pytest.mark.parametrize(
    ("mask", "affine", "error", "text"),
    [
        (cube()[:, :, :7], AFFINE, GeometryError, r"expected the shape \(12, 12, 8\) of a.nii.gz"),
        (cube(), np.diag([1.0, 1.0, 3.0, 1.0]), GeometryError, "expected the place of a.nii.gz"),
        (cube(value=7), AFFINE, LabelError, "expected labels 0, 1 in the prediction, found also 7"),
        (cube() * 0.5, AFFINE, LabelError, "expected whole numbers"),
        (np.where(cube(), np.nan, 0.0), AFFINE, VolumeError, "NaN"),
    ],
)
def test_what_does_not_fit_is_one_line_with_the_file(folders, mask, affine, error, text):
    path = save(mask, folders[1] / "a_seg.nii", affine)
    with pytest.raises(error, match=text) as caught:
        mk.score(*folders)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_the_advice_about_a_mask_with_nan_is_to_repair_it(folders):
    save(np.where(cube(), np.nan, 0.0), folders[1] / "a_seg.nii")
    with pytest.raises(VolumeError, match="Repair the file: a mask holds whole numbers") as caught:
        mk.score(*folders)
    assert "nonfinite" not in str(caught.value)


def test_one_of_two_affines_that_disagree_can_be_chosen(folders):
    for path in (folders[0] / "a.nii.gz", folders[1] / "a_seg.nii"):
        mask = nib.load(path)
        mask.set_qform(AFFINE + np.eye(4, k=3) * 5)
        nib.save(nib.Nifti1Image(np.array(mask.dataobj), None, mask.header), path)
    with pytest.raises(GeometryError, match='affine="sform"'):
        mk.score(*folders)
    assert [row["dice"] for row in mk.score(*folders, affine="qform")] == [0.5, 1.0]


def test_folders_without_pairs_are_refused(folders, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for pair in ((empty, folders[1]), (folders[0], empty)):
        with pytest.raises(CaseError, match="empty: expected (masks|cases), found no"):
            mk.score(*pair)
    save(cube(), folders[1] / "a_mask.nii")
    with pytest.raises(CaseError, match="expected one mask of a, found a_mask.nii, a_seg.nii"):
        mk.score(*folders)
    save(cube(), tmp_path / "else" / "z.nii")
    with pytest.raises(CaseError, match="expected a mask for a, b, found z"):
        mk.score(folders[0], tmp_path / "else")
    (folders[1] / "a_seg.nii").unlink(), (folders[1] / "a_mask.nii").unlink(), (folders[1] / "b_seg.nii").unlink()
    save(cube(), folders[1] / "c.nii")
    with pytest.raises((CaseError, DataErrors), match="expected a mask for a, b, found c"):
        mk.score(*folders, missing="error")


def test_the_files_are_those_of_evaluate_and_never_among_the_masks(folders, tmp_path):
    scores = mk.score(*folders, tmp_path / "scores")
    files = {path.name for path in scores.folder.iterdir()}
    assert files == {LISTING, "report.html", "scores.csv", "summary.json"}
    with open(scores.scores_path, newline="") as file:
        assert [row["dice"] for row in csv.DictReader(file)] == ["0.5", "1"]
    with pytest.raises(OutputExistsError, match="earlier evaluation"):
        mk.score(*folders, tmp_path / "scores")
    for folder in (*folders, tmp_path, tmp_path / "scores" / ".." / "truth"):
        with pytest.raises(UsageError, match="must not be an input"):
            mk.score(*folders, folder, overwrite=True)


def test_workers_change_no_number(folders):
    assert mk.score(*folders, workers=2) == mk.score(*folders, workers=1)


def test_scoring_masks_loads_neither_keras_nor_tensorflow(folders):
    code = "import sys, mcc_keras as mk; mk.score(*sys.argv[1:]); sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, *map(str, folders)], timeout=120).returncode == 0
