"""Sides of a preview are chosen as in a training."""

import nibabel as nib
import numpy as np
import pytest


@pytest.fixture
def lungs(tmp_path):
    """Return a data set of one case whose two classes are sides of each other."""
    folder = tmp_path / "lungs"
    for kind, name in (("imagesTr", "a_0000.nii.gz"), ("labelsTr", "a.nii.gz")):
        (folder / kind).mkdir(parents=True)
        array = np.zeros((16, 16, 8), np.uint8)
        array[2:7, 4:12, 2:6], array[9:14, 4:12, 2:6] = 1, 2
        nib.save(nib.Nifti1Image(array, np.eye(4)), folder / kind / name)
    (folder / "dataset.json").write_text(
        '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "left lung": 1, "right lung": 2},'
        ' "numTraining": 1, "file_ending": ".nii.gz"}'
    )
    return folder


@pytest.mark.parametrize("options", [("--swap-labels", "1:2"), ("--no-flip",)])
def test_the_advice_about_sides_can_be_followed(lungs, options, run, complaints, tmp_path):
    code, (line,) = complaints("preview", lungs, "-o", tmp_path / "a.png", "--draws", 1)
    assert (code, all(option in line for option in options[:1])) == (2, True)
    run("preview", lungs, "-o", tmp_path / "a.png", "--draws", 1, *options)
    assert (tmp_path / "a.png").is_file()
