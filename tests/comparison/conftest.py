"""What the tests of comparisons share: records of twelve patients, and cells that train nothing."""

import fake_cells
import nibabel as nib
import numpy as np
import pytest

from mcc_keras.comparison import cells
from mcc_keras.datasets import find_cases
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.write import write_tfrecords


@pytest.fixture(scope="package")
def work(tmp_path_factory):
    """Records of twelve small scans with a bright organ; the last scan is a hundred times as bright as the others."""
    folder = tmp_path_factory.mktemp("comparison")
    (folder / "scans").mkdir()
    rng = np.random.default_rng(0)
    for index in range(12):
        mask = np.zeros((16, 16, 8), np.uint8)
        mask[4 + index % 3 : 10, 5:11, 2:6] = 1
        image = (rng.normal(100, 10, mask.shape) + 100 * mask) * (100 if index == 11 else 1)
        for name, array in ((f"p{index:02d}", image.astype(np.int32)), (f"p{index:02d}_mask", mask)):
            nib.save(nib.Nifti1Image(array, np.eye(4)), folder / "scans" / f"{name}.nii.gz")
    preprocessing = Preprocessing(size=(16, 16, 8), statistics="dataset")
    write_tfrecords(find_cases(folder / "scans"), folder / "work", preprocessing=preprocessing, workers=1)
    return folder / "work"


@pytest.fixture
def fake(monkeypatch):
    """Let cells train nothing."""
    monkeypatch.setattr(cells, "KINDS", fake_cells.KINDS)
