"""The scores of benchmarks/long/same_minutes.py, by hand; the trainings themselves take minutes and are run by hand."""

import importlib.util
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

PATH = Path(__file__).parents[1] / "benchmarks" / "long" / "same_minutes.py"


@pytest.fixture(scope="module")
def bench():
    if not PATH.exists():
        pytest.skip("the package is installed without its source tree")
    spec = importlib.util.spec_from_file_location("same_minutes", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(path, labels):
    nib.save(nib.Nifti1Image(np.uint8(labels).reshape(2, 2, 2), np.eye(4)), path)
    return str(path)


def test_masks_are_scored_by_the_labels_that_count_as_foreground(bench, tmp_path):
    (tmp_path / "masks").mkdir()
    truths = {"a": [1, 2, 0, 0, 3, 0, 0, 0], "b": [0] * 8}
    found = {"a": [1, 0, 1, 1, 0, 0, 0, 0], "b": [0] * 8}
    for name, labels in found.items():
        write(tmp_path / "masks" / f"{name}.nii.gz", labels)
    test = [{"id": name, "mask": write(tmp_path / f"{name}.nii.gz", labels)} for name, labels in truths.items()]
    scores = bench.score({"test": test, "masks": str(tmp_path / "masks")}, [1, 2])
    assert scores == {"a": 2 * 1 / (2 + 3), "b": 1.0}


def test_a_mask_on_another_grid_is_refused(bench, tmp_path):
    (tmp_path / "masks").mkdir()
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 3), np.uint8), np.eye(4)), tmp_path / "masks" / "a.nii.gz")
    test = [{"id": "a", "mask": write(tmp_path / "a.nii.gz", [0] * 8)}]
    with pytest.raises(SystemExit, match=r"a: expected a mask of \(2, 2, 2\), found \(2, 2, 3\)"):
        bench.score({"test": test, "masks": str(tmp_path / "masks")}, [1])


def test_differences_are_paired_by_case(bench):
    first, second = {"a": 0.9, "b": 0.5, "c": 0.7}, {"c": 0.8, "a": 0.9, "b": 0.7}
    mean, error, p = bench.compare(first, second)
    # 0, 0.2 and 0.1: their standard deviation is 0.1
    assert (mean, error) == (pytest.approx(0.1), pytest.approx(0.1 / np.sqrt(3)))
    assert 0 < p <= 1
    assert bench.compare(first, dict(first)) == (0, 0, 1)


def test_the_mean_over_seeds_is_taken_case_by_case(bench):
    assert bench.mean_scores([{"dice": {"a": 0.8, "b": 0.2}}, {"dice": {"a": 0.6, "b": 0.4}}]) == pytest.approx(
        {"a": 0.7, "b": 0.3}
    )


def test_a_tool_of_another_name_is_refused(bench, capsys):
    with pytest.raises(SystemExit):
        bench.parse(["data", "out", "--foreground", "1", "--size", "16", "--tools", "mnoai"])
    assert "no such tool: mnoai; there are default, fast, monai, dynunet, nnunet" in capsys.readouterr().err
