"""What `check` reports of a box: the best Dice of each class, and of classes that are sides of each other."""

import json

import numpy as np
import pytest

from mcc_keras.checks import check_cases
from mcc_keras.cli import main
from mcc_keras.datasets import find_cases
from mcc_keras.errors import LabelError, UsageError
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.volumes import write_volume

COARSE = Preprocessing(size=4)
LAS = np.diag([-1.0, 1, 1, 1])


def write(folder, *masks, affine=LAS):
    for number, mask in enumerate(masks):
        image = np.random.default_rng(number).normal(size=mask.shape)
        write_volume(image, folder / f"case{number}.nii", affine=affine)
        write_volume(mask, folder / f"case{number}_mask.nii", affine=affine)
    return folder


def block(length, label=1):
    mask = np.zeros((16, 16, 16), np.uint8)
    mask[tuple(slice(4, 4 + length) for _ in range(3))] = label
    return mask


def check(folder, **options):
    labels = options.pop("labels", None)
    return check_cases(find_cases(folder, labels=labels), workers=1, pictures=False, **options)


def test_a_class_that_the_box_loses_is_an_error_unless_it_is_accepted(tmp_path):
    source = write(tmp_path, block(1), block(2))
    with pytest.raises(LabelError, match="4 x 4 x 4 voxels with a best mean Dice of 0.00 for 1. Use a larger size"):
        check(source, preprocessing=COARSE).raise_for_errors()
    report = check(source, preprocessing=COARSE, accept_loss=True).raise_for_errors()
    assert any(kind == "warning" and "best mean Dice of 0.00" in text for kind, _, text in report.table())


def test_a_case_below_nine_tenths_is_a_warning_and_the_table_has_the_numbers(tmp_path):
    report = check(write(tmp_path, block(8), block(1)), preprocessing=COARSE)
    warned = [finding.case_id for finding in report.findings if "best Dice of 1 after the round trip" in finding.text]
    assert warned == ["case0", "case1"]  # the edges of the block come back rounded, the single voxel does not
    assert report.rows[1]["box"][0].best_dice == 0 and report.rows[1]["box"][0].lost == 1
    assert "best Dice" in str(report) and "1 of 2 components lost" in report.summary()["best Dice of 1"]
    assert json.loads(report.to_json())["cases"][1]["box"][0]["best_dice"] == 0


def test_a_fine_box_raises_no_alarm(tmp_path):
    report = check(write(tmp_path, block(8), block(1)), preprocessing=Preprocessing(size=16))
    assert not [finding for finding in report.findings if "Dice" in finding.text]
    assert report.summary()["best Dice of 1"].startswith("1.000 (lowest 1.000), 513 of 513 voxels kept")


def test_the_command_takes_the_box_and_exits_with_3(tmp_path, capsys):
    source = write(tmp_path, block(1))
    assert main(["check", str(source)]) == 0
    assert main(["check", str(source), "--size", "4"]) == 3
    assert "--accept-loss" in capsys.readouterr().out
    assert main(["check", str(source), "--size", "4", "--accept-loss"]) == 0


@pytest.mark.parametrize("box", [{"spacing_mm": 2.0}, {"size": 8, "spacing_mm": "median"}])
def test_a_box_that_has_to_be_fitted_is_refused(tmp_path, box):
    with pytest.raises(UsageError, match="nothing is fitted here"):
        check(write(tmp_path, block(1)), preprocessing=Preprocessing(**box))


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2)])
def test_classes_that_are_mirror_images_are_reported_and_kept_in_the_task(tmp_path, axes):
    lungs = np.zeros((16, 12, 10), np.uint8)
    lungs[2:6, 3:9, 2:8], lungs[10:14, 3:9, 2:8], lungs[7:9, 5:7, 4:6] = 7, 5, 3
    affine = np.eye(4)[[*axes, 3]]
    source = write(tmp_path, *[lungs.transpose(axes)] * 2, affine=affine)
    report = check(source, labels=(5, 3, 7))
    assert report.task.sided == ((1, 3),)
    assert any("5 and 7 are left and right of each other" in text for _, _, text in report.table())
    assert any("--swap-labels 5:7, or with --no-flip" in text for _, _, text in report.table())


def test_labels_that_change_sides_from_case_to_case_are_no_sides(tmp_path):
    lesions = np.zeros((16, 12, 10), np.uint8)
    lesions[2:6, 3:9, 2:8], lesions[10:14, 3:9, 2:8] = 1, 2
    assert check(write(tmp_path, lesions, lesions[::-1]), labels=(1, 2)).task.sided == ()


def test_columns_that_only_stratify_are_named(tmp_path):
    source = write(tmp_path, block(3))
    (source / "cases.csv").write_text("case,image,label,site\na,case0.nii,case0_mask.nii,Rome\n")
    texts = [text for kind, _, text in check(source / "cases.csv").table() if kind == "note"]
    assert texts == ["columns kept with the cases: site (for mcc-keras prepare --stratify)"]
