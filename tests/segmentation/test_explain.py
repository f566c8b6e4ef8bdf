import shutil

import keras
import nibabel as nib
import numpy as np
import pytest

from mcc_keras.cli import main
from mcc_keras.errors import DataError
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.runs.run import MODEL
from mcc_keras.segmentation.explain import explain
from mcc_keras.segmentation.fingerprint import fingerprint_run
from mcc_keras.segmentation.segment import segment


@pytest.fixture(scope="module")
def made(write_run, tmp_path_factory):
    """A folder with runs/one, runs/two and scan.nii, and the mask of the first."""
    folder = tmp_path_factory.mktemp("explain")
    for name in ("one", "two"):
        inputs = keras.Input((None, None, None, 1))
        model = keras.Model(inputs, keras.layers.Conv3D(1, 1, activation="sigmoid")(inputs))
        write_run(folder / "runs" / name, model, Preprocessing(size=8))
    nib.save(nib.Nifti1Image(np.ones((8, 8, 8), np.int16), np.eye(4)), folder / "scan.nii")
    segment(folder / "runs" / "one", folder / "scan.nii", folder / "mask.nii.gz", largest_component=True)
    return folder


def test_a_mask_names_its_model_its_options_its_scan_and_its_run(made, capsys):
    assert main(["explain", str(made / "mask.nii.gz")]) == 0
    printed = capsys.readouterr().out
    fingerprint = fingerprint_run(made / "runs" / "one")
    lines = dict(line.split(maxsplit=1) for line in printed.splitlines())
    assert lines["fingerprint"] == fingerprint
    assert lines["run"] == str((made / "runs" / "one").resolve())
    assert lines["largest_component"] == "True"
    assert lines["scan"].startswith(f"{made / 'scan.nii'} (unchanged, SHA-256 ")
    assert nib.load(made / "mask.nii.gz").header["descrip"].item().decode() == f"mcc_keras {fingerprint}"


def test_a_run_that_has_moved_is_found_below_a_folder(made, tmp_path, capsys):
    here = shutil.copytree(made, tmp_path / "here")
    gone = made / "runs" / "gone"
    (made / "runs" / "one").rename(gone)
    try:
        assert explain(here / "mask.nii.gz").runs == {fingerprint_run(gone): None}
        assert main(["explain", str(here / "mask.nii.gz")]) == 0
        assert "search a folder with --runs FOLDER" in capsys.readouterr().out
        found = explain(here / "mask.nii.gz", runs=here / "runs")
        assert list(found.runs.values()) == [here / "runs" / "one"]
    finally:
        gone.rename(made / "runs" / "one")


def test_a_run_that_was_trained_again_is_not_the_one(made, tmp_path):
    here = shutil.copytree(made, tmp_path / "here")
    fingerprint = fingerprint_run(made / "runs" / "one")
    shutil.copy(made / "runs" / "two" / MODEL, made / "runs" / "one" / MODEL)
    try:
        assert explain(here / "mask.nii.gz").runs == {fingerprint: None}
    finally:
        shutil.copy(here / "runs" / "one" / MODEL, made / "runs" / "one" / MODEL)


def test_a_scan_that_changed_or_went_is_said(made, tmp_path):
    here = shutil.copytree(made, tmp_path / "here")
    segment(here / "runs" / "one", here / "scan.nii", here / "mask2.nii")
    (here / "scan.nii").write_bytes(b"other")
    assert list(explain(here / "mask2.nii").inputs.values()) == ["changed"]
    (here / "scan.nii").unlink()
    assert list(explain(here / "mask2.nii").inputs.values()) == ["not found"]


def test_what_cannot_be_explained_is_one_line(made, tmp_path, capsys):
    shutil.copy(made / "mask.nii.gz", tmp_path / "alone.nii.gz")
    assert main(["explain", str(tmp_path / "alone.nii.gz")]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected alone.nii.gz.json beside it, found none" in line
    with pytest.raises(DataError, match="expected a folder of runs"):
        explain(made / "mask.nii.gz", runs=tmp_path / "no")
