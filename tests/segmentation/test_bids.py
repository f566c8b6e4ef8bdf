import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from mcc_keras.datasets import find_cases
from mcc_keras.datasets.cases import Case
from mcc_keras.errors import OutputExistsError, UsageError
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.segmentation.bids import bids_outputs
from mcc_keras.segmentation.explain import explain
from mcc_keras.segmentation.many import segment_many
from mcc_keras.task import Task
from mcc_keras.volumes import write_volume


@pytest.fixture(scope="module")
def run(write_run, tmp_path_factory):
    inputs = keras.Input((None, None, None, 2))
    model = keras.Model(inputs, keras.layers.Conv3D(3, 1, activation="softmax")(inputs))
    task = Task(labels=((1,), (4,)), names=("liver", "tumour"), channel_names=("T1w", "T2w"))
    return write_run(tmp_path_factory.mktemp("bids") / "run", model, Preprocessing(size=6), task=task).folder


@pytest.fixture
def source(tmp_path):
    """Two subjects in the layout of BIDS; the first has two sessions."""
    for place in ("sub-01/ses-a", "sub-01/ses-b", "sub-02"):
        for channel in ("T1w", "T2w"):
            name = f"{place.replace('/', '_')}_acq-fast_run-1_{channel}.nii.gz"
            voxels = np.random.default_rng(len(place)).integers(0, 100, (5, 6, 7)).astype(np.int16)
            write_volume(voxels, tmp_path / "data" / place / "anat" / name, affine=np.diag([1, 1, 3, 1]))
    return tmp_path / "data"


def test_a_derivative_has_the_names_of_its_scans_and_is_read_again(run, source):
    folder = source / "derivatives" / "mcc"
    done = segment_many(run, source, folder, bids_names=True, probability=True).raise_for_problems()
    assert [path.relative_to(folder).as_posix() for path in done.written] == [
        "sub-01/ses-a/anat/sub-01_ses-a_acq-fast_run-1_desc-mcckeras_dseg.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_acq-fast_run-1_desc-mcckeras_dseg.nii.gz",
        "sub-02/anat/sub-02_acq-fast_run-1_desc-mcckeras_dseg.nii.gz",
    ]
    cases = find_cases(source)
    assert [case.mask for case in cases] == list(done.written)
    assert (cases[0].task.labels, cases[0].task.names) == (((1,), (4,)), ("liver", "tumour"))
    names = json.loads((folder / "sub-02/anat/sub-02_acq-fast_run-1_desc-mcckeras_probseg.json").read_text())
    assert names == {"LabelMap": ["background", "liver", "tumour"]}
    assert len(explain(done.written[0]).inputs) == 2
    again = segment_many(run, source, folder, bids_names=True, probability=True)
    assert (len(again.skipped), again.exit_code) == (3, 0)


def test_the_validator_of_bids_accepts_a_derivative(run, source, tmp_path):
    validator = shutil.which(
        "bids-validator-deno", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    segment_many(run, source, tmp_path / "out", bids_names=True, probability=True).raise_for_problems()
    finished = subprocess.run([validator, str(tmp_path / "out"), "--json"], capture_output=True, text=True)
    issues = json.loads(finished.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert finished.returncode == 0
    (tmp_path / "out" / "sub-02" / "anat" / "mask.nii.gz").write_bytes(b"")
    assert subprocess.run([validator, str(tmp_path / "out")], capture_output=True).returncode != 0


def test_only_what_all_channels_share_and_a_segmentation_may_have_is_in_a_name():
    paths = (Path("sub-1_acq-a_echo-1_run-2_T1w.nii.gz"), Path("sub-1_acq-b_echo-1_run-2_T2w.nii.gz"))
    found = bids_outputs(Case("x", paths), "out", probability=True)
    assert found.mask.as_posix() == "out/sub-1/anat/sub-1_run-2_desc-mcckeras_dseg.nii.gz"
    assert found.probability.name == "sub-1_run-2_desc-mcckeras_probseg.nii.gz"
    assert found.origin.name == "sub-1_run-2_desc-mcckeras_dseg.json"


def test_two_scans_of_one_subject_without_a_name_of_bids_are_refused(run, tmp_path):
    for name in ("a_1", "a1"):
        write_volume(np.ones((5, 6, 7, 2), np.int16), tmp_path / f"{name}.nii.gz", affine=np.eye(4))
    with pytest.raises(UsageError, match="mask of its own.*sub-a1_desc"):
        segment_many(run, [tmp_path / "a_1.nii.gz", tmp_path / "a1.nii.gz"], tmp_path / "out", bids_names=True)


@pytest.mark.parametrize("text", ["{}", "no JSON", '{"Name": "x", "GeneratedBy": [{"Name": "fMRIPrep"}]}'])
def test_another_data_set_is_never_written_into(run, source, tmp_path, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dataset_description.json").write_text(text)
    with pytest.raises(OutputExistsError, match="another data set"):
        segment_many(run, source, tmp_path / "out", bids_names=True, overwrite=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dataset_description.json"]
