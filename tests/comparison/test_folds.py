import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mcc_keras.comparison.folds import patient_ratio, prepare_folds, read_sources, split_folds
from mcc_keras.datasets import Case, find_cases
from mcc_keras.errors import CaseError, DataErrors, UsageError
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.manifest import read_manifest
from mcc_keras.records.write import write_tfrecords


@pytest.fixture(scope="module")
def folds(work, tmp_path_factory):
    """The manifests of three folds."""
    manifest = read_manifest(work)
    cases = read_sources(manifest)
    works = prepare_folds(manifest, cases, split_folds(cases, folds=3), tmp_path_factory.mktemp("folds"), workers=1)
    return [read_manifest(each) for each in works]


def test_every_patient_is_in_one_test_part_and_a_fifth_of_the_others_validate(folds):
    tested = [case.case_id for fold in folds for case in fold.cases("test")]
    assert sorted(tested) == [f"p{index:02d}" for index in range(12)]
    assert [fold.counts for fold in folds] == [{"train": 6, "validation": 2, "test": 4}] * 3


def test_a_statistic_of_the_set_is_fitted_to_the_training_part_of_each_fold_alone(folds, work):
    """One scan is a hundred times as bright: only where it trains may the statistics know of it."""
    for fold in folds:
        part = next(entry.part for entry in fold.settings.cases if entry.case_id == "p11")
        ((low, high, _, _),) = fold.preprocessing.statistics
        assert (high > 5000) == (part == "train"), part
    assert {next(e.part for e in fold.settings.cases if e.case_id == "p11") for fold in folds} > {"test"}


def test_the_folds_have_the_requested_preprocessing_and_labels_of_work(folds, work):
    manifest = read_manifest(work)
    assert {fold.settings.preprocessing["statistics"] for fold in folds} == {"dataset"}
    assert {fold.settings.task for fold in folds} == {manifest.settings.task}
    assert len({fold.preprocessing for fold in folds}) > 1


def test_the_protocol_of_the_paper_is_one_split_of_70_20_and_10_per_cent(work):
    cases = read_sources(read_manifest(work))
    splits = split_folds(cases, protocol="paper")
    assert [[len(split[part]) for part in ("train", "validation", "test")] for split in splits] == [[9, 2, 1]]
    assert patient_ratio(cases, splits) == 1 / 9


@pytest.mark.parametrize(
    ("settings", "error", "named"),
    [
        ({"folds": 13}, CaseError, "13 folds"),
        ({"folds": 1}, UsageError, "folds=1"),
        ({"protocol": "loo"}, UsageError, "protocol='loo'"),
        ({"stratify": "site"}, UsageError, "stratify='site'"),
    ],
)
def test_folds_that_cannot_be_are_one_line(work, settings, error, named):
    with pytest.raises(error, match=named):
        split_folds(read_sources(read_manifest(work)), **settings)


@pytest.mark.parametrize(("patients", "folds", "enough"), [(2, 2, False), (3, 2, False), (3, 3, True), (4, 2, True)])
def test_each_fold_needs_patients_to_train_and_to_validate_on(patients, folds, enough):
    cases = [Case(f"p{number}", (Path("x.nii"),)) for number in range(patients)]
    if enough:
        assert all(split["train"] and split["validation"] for split in split_folds(cases, folds=folds))
    else:
        with pytest.raises(CaseError, match="to train and to validate on"):
            split_folds(cases, folds=folds)


def test_sources_that_moved_or_changed_since_work_was_prepared_are_named(work, tmp_path):
    shutil.copytree(work.parent / "scans", tmp_path / "scans")
    box = Preprocessing(size=(16, 16, 8))
    write_tfrecords(find_cases(tmp_path / "scans"), tmp_path / "work", preprocessing=box, workers=1)
    manifest = read_manifest(tmp_path / "work")
    (tmp_path / "scans" / "p03.nii.gz").unlink()
    with pytest.raises(CaseError, match="p03.nii.gz: expected the file of case p03 as it was .* found none"):
        read_sources(manifest)
    nib.save(nib.Nifti1Image(np.ones((16, 16, 8), np.uint8), np.eye(4)), tmp_path / "scans" / "p05_mask.nii.gz")
    with pytest.raises(DataErrors, match="p05_mask.nii.gz: .* found another"):
        read_sources(manifest)
