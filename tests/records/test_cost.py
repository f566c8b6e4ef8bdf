"""What `prepare` keeps of the box in the manifest: its cost for each case and class, and classes that are sides."""

import numpy as np
import pytest

from mcc_keras.cli import main
from mcc_keras.datasets import find_cases
from mcc_keras.errors import LabelError
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.manifest import read_manifest
from mcc_keras.records.write import write_tfrecords
from mcc_keras.volumes import write_volume


@pytest.fixture
def source(tmp_path):
    """Five cases: lungs of 4 x 6 x 6 voxels, labels 5 and 7, and one voxel of 3 in the first case."""
    (tmp_path / "scans").mkdir()
    for number in range(5):
        mask = np.zeros((16, 12, 10), np.uint8)
        mask[2:6, 3:9, 2:8], mask[10:14, 3:9, 2:8] = 7, 5
        mask[8, 5, 5] = 3 if number == 0 else 0
        image = np.random.default_rng(number).normal(size=mask.shape)
        write_volume(image, tmp_path / "scans" / f"c{number}.nii", affine=np.eye(4))
        write_volume(mask, tmp_path / "scans" / f"c{number}_mask.nii", affine=np.eye(4))
    return tmp_path / "scans"


def prepare(source, work, size, **options):
    cases = find_cases(source, labels=(5, 3, 7))
    return write_tfrecords(cases, work, preprocessing=Preprocessing(size=size), workers=1, **options)


def test_the_manifest_keeps_the_cost_of_each_case_and_the_sides_of_the_training_cases(source, tmp_path):
    prepare(source, tmp_path / "work", (16, 12, 10))
    manifest = read_manifest(tmp_path / "work")
    assert manifest.task.sided == ((1, 3),) and manifest.settings.task.sided == ()
    assert sorted(manifest.costs) == [f"c{number}" for number in range(5)]
    assert [(cost.voxels, cost.best_dice) for cost in manifest.costs["c1"]] == [(144, 1.0), (0, None), (144, 1.0)]


def test_a_box_that_loses_a_class_is_refused_and_nothing_is_written(source, tmp_path):
    with pytest.raises(LabelError, match="8 x 6 x 5 voxels with a best mean Dice of 0.00 for 3. Use a larger size"):
        prepare(source, tmp_path / "work", (8, 6, 5))
    assert not (tmp_path / "work" / "manifest.json").exists()
    with pytest.warns(UserWarning, match="best mean Dice of 0.00 for 3"):
        assert prepare(source, tmp_path / "work", (8, 6, 5), accept_loss=True).prepared == 5
    with pytest.raises(LabelError, match="best mean Dice of 0.00 for 3"):
        prepare(source, tmp_path / "work", (8, 6, 5))


def test_cases_with_a_low_best_dice_are_named(source, tmp_path):
    with pytest.warns(UserWarning, match="best mean Dice") as caught:
        prepare(source, tmp_path / "work", 4, accept_loss=True)
    assert "best Dice after the round trip is below 0.9 in c0, c1, c2, c3, c4." in str(caught[-1].message)


def test_costs_of_records_that_are_taken_from_an_earlier_set_are_kept(source, tmp_path):
    first = prepare(source, tmp_path / "work", (16, 12, 10))
    mask = source / "c4_mask.nii"
    mask.write_bytes((source / "c3_mask.nii").read_bytes() + b"\0")
    again = prepare(source, tmp_path / "work", (16, 12, 10), overwrite=True)
    assert again.prepared < 5 and again.costs["c0"] == first.costs["c0"]


def test_the_command_exits_with_3_and_names_the_permission(source, tmp_path, capsys):
    command = ["prepare", str(source), str(tmp_path / "work"), "--labels", "5,3,7", "--size", "8,6,5", "--workers", "1"]
    assert main(command) == 3
    assert "or pass --accept-loss." in capsys.readouterr().err
