"""What the tests of the commands share: a run that must succeed, one that must fail, files that are spoiled."""

import shutil

import nibabel as nib
import numpy as np
import pytest

from mcc_keras.cli import main
from mcc_keras.datasets import write_synthetic


@pytest.fixture(scope="session")
def run():
    """Return a function that runs a command, which must succeed."""

    def command(*arguments):
        assert main([str(argument) for argument in arguments]) == 0

    return command


@pytest.fixture
def complaints(capsys):
    """Return a function that runs a command, which must fail, and returns its exit code and the lines it prints."""

    def command(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stopped:  # argparse
            code = stopped.code
        lines = capsys.readouterr().err.splitlines()
        assert not any("Traceback" in line for line in lines)
        return code, [line for line in lines if not line.startswith("warning: ")]

    return command


@pytest.fixture
def prepare(write_pairs, tmp_path):
    """Return a function that writes pairs, lets `spoil` change the folder, and returns the command that prepares it."""

    def command(spoil=lambda folder: None, *options):
        folder = write_pairs()
        spoil(folder)
        return ["prepare", folder, tmp_path / "work", "--size", 16, "--workers", 1, *options]

    return command


@pytest.fixture
def spoil():
    """Return a function that spoils one case of a folder in a named way."""

    def spoil_case(folder, way, case="case3"):
        path = folder / f"{case}.nii.gz"
        mask = folder / f"{case}_mask.nii.gz"
        if way == "shape":
            save_like(mask, np.zeros((16, 16, 15), np.uint8))
        elif way == "labels":
            save_like(mask, np.full((16, 16, 16), 2, np.uint8))
        elif way == "voxels":
            voxels = np.ones((16, 16, 16), np.float32)
            voxels[1, 2, 3] = np.nan
            save_like(path, voxels)
        elif way == "stream":
            path.write_bytes(path.read_bytes()[:-100])
        elif way == "copy":
            shutil.copy(path, folder / "case1.nii.gz")

    return spoil_case


def save_like(path, array):
    nib.save(nib.Nifti1Image(array, nib.load(path).affine), path)


@pytest.fixture(scope="session")
def prepared(run, tmp_path_factory):
    """Return a folder with six `pairs` and `work`, what `prepare` has made of them."""
    folder = tmp_path_factory.mktemp("prepared")
    scans = {"num_cases": 6, "size": (16, 16, 16), "foreground_fraction": 0.05, "empty_fraction": 0, "layout": "pairs"}
    write_synthetic(folder / "pairs", **scans)
    run("prepare", folder / "pairs", folder / "work", "--size", 16, "--split", "0.5,0.25,0.25", "--workers", 1)
    return folder
