import csv
import gzip
import hashlib
import json

import nibabel
import numpy as np
import pytest
import SimpleITK

from mcc_keras.datasets import find_cases, read_image, read_mask, write_synthetic
from mcc_keras.datasets.phantom import SyntheticVolume, random_volume
from mcc_keras.datasets.synthetic import WRITERS
from mcc_keras.errors import OutputExistsError, UsageError

SIZE = (16, 16, 8)


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("layout", WRITERS)
def test_the_same_seed_gives_the_same_bytes_in_every_layout(tmp_path, layout):
    for name, seed in (("first", 5), ("again", 5), ("other", 6)):
        write_synthetic(tmp_path / name, num_cases=2, size=SIZE, seed=seed, layout=layout)
    assert digests(tmp_path / "first") == digests(tmp_path / "again")
    assert digests(tmp_path / "first") != digests(tmp_path / "other")


def test_compressed_files_carry_no_time(tmp_path):
    write_synthetic(tmp_path, num_cases=1, size=SIZE, layout="pairs")
    header = (tmp_path / "case_000.nii.gz").read_bytes()[:10]
    assert header[:2] == b"\x1f\x8b"
    assert header[4:8] == bytes(4)
    assert gzip.decompress((tmp_path / "case_000.nii.gz").read_bytes())


def along_the_normal(scan):
    """The scan with its slices in the order of DICOM: along the cross product of rows and columns, in LPS."""
    lps = scan.affine[:3, :3] * np.array([[-1], [-1], [1]])
    if np.cross(lps[:, 0], lps[:, 1]) @ lps[:, 2] > 0:
        return scan
    turn = np.eye(4)
    turn[2, 2:] = -1, scan.mask.shape[2] - 1
    return SyntheticVolume(scan.image[:, :, ::-1], scan.mask[:, :, ::-1], scan.affine @ turn)


@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_is_read_back_voxel_for_voxel(tmp_path, layout):
    labels = {"decathlon": 2, "nnunet": 2, "nnunet_v1": 2, "brats15": 4}.get(layout, 1)
    channels = {"table": 2, "decathlon": 2, "nnunet": 2, "nnunet_v1": 2, "brats15": 4}.get(layout, 1)
    source = write_synthetic(
        tmp_path,
        num_cases=3,
        size=SIZE,
        empty_fraction=0,
        foreground_fraction=0.05,
        layout=layout,
        num_labels=labels,
        num_channels=channels,
    )
    cases = find_cases(source, labels=tuple(range(1, labels + 1)))
    assert len(cases) == 3
    truths = [
        random_volume([7, i], size=SIZE, foreground_fraction=0.05, num_labels=labels, num_channels=channels)
        for i in range(3)
    ]
    if layout == "dicom":
        truths = [along_the_normal(scan) for scan in truths]
    for case in cases:
        image = read_image(case)
        truth = next(scan for scan in truths if scan.mask.sum() == (mask := read_mask(case, image)).sum())
        names = ("Flair", "T1", "T1c", "T2") if layout == "brats15" else case.task.channel_names
        order = [case.task.channel_names.index(name) for name in names]
        assert np.array_equal(image.array[..., order], truth.image)
        assert np.array_equal(mask, truth.mask)
        assert np.allclose(image.affine, truth.affine, atol=1e-4)


def test_nibabel_and_simpleitk_see_the_same_place(tmp_path):
    write_synthetic(tmp_path / "nifti", num_cases=2, size=SIZE, layout="pairs")
    write_synthetic(tmp_path / "meta", num_cases=2, size=SIZE, layout="promise12")
    for index in range(2):
        nifti = nibabel.load(tmp_path / "nifti" / f"case_{index:03d}.nii.gz")
        meta = SimpleITK.ReadImage(str(tmp_path / "meta" / f"Case{index:02d}.mhd"))
        corner = [n - 1 for n in nifti.shape]
        ras = np.array(meta.TransformIndexToPhysicalPoint(corner)) * (-1, -1, 1)
        assert np.allclose(nifti.affine[:3] @ [*corner, 1], ras, atol=1e-3)
        assert np.array_equal(np.asarray(nifti.dataobj), SimpleITK.GetArrayFromImage(meta).transpose(2, 1, 0))


def test_the_default_table_tests_on_at_least_eight_cases_with_the_organ_and_two_without(tmp_path):
    path = write_synthetic(tmp_path, size=(8, 8, 8))
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 48
    has_organ = {row["case"]: nibabel.load(tmp_path / row["label"]).get_fdata().any() for row in rows}
    by_part = {
        part: [has_organ[row["case"]] for row in rows if row["part"] == part]
        for part in ("train", "validation", "test")
    }
    assert sum(by_part["test"]) >= 8
    assert by_part["test"].count(False) >= 2
    assert all(part.count(False) >= 1 for part in by_part.values())
    assert len(by_part["train"]) > 0.5 * len(rows)
    assert len({row["group"] for row in rows}) == len(rows)


def test_the_smallest_table_can_still_be_trained_on(tmp_path):
    cases = find_cases(write_synthetic(tmp_path, num_cases=3, size=SIZE, empty_fraction=0))
    assert sorted(case.part for case in cases) == ["test", "train", "validation"]


def test_the_chosen_share_of_the_scans_is_empty(tmp_path):
    cases = find_cases(write_synthetic(tmp_path, num_cases=10, size=SIZE, empty_fraction=0.3))
    assert sum(not read_mask(case, read_image(case)).any() for case in cases) == 3


def test_two_scans_of_the_first_brats_patient_belong_together(tmp_path):
    cases = find_cases(write_synthetic(tmp_path, num_cases=3, size=SIZE, layout="brats15"))
    assert len({case.group for case in cases}) == 2
    assert [case.columns["grade"] for case in cases] == ["HGG", "HGG", "LGG"]


def test_the_decathlon_index_declares_what_the_files_hold(tmp_path):
    folder = write_synthetic(tmp_path, num_cases=2, size=SIZE, layout="decathlon", num_labels=2, num_channels=2)
    index = json.loads((folder / "dataset.json").read_text())
    assert index["labels"] == {"0": "background", "1": "organ_1", "2": "organ_2"}
    assert index["numTraining"] == 2
    assert nibabel.load(folder / index["training"][0]["image"]).shape[3] == 2


def test_both_versions_of_nnunet_have_the_same_files_and_another_index(tmp_path):
    indices, files = {}, {}
    for layout in ("nnunet", "nnunet_v1"):
        folder = write_synthetic(tmp_path / layout, num_cases=1, size=SIZE, layout=layout, num_channels=2)
        indices[layout] = json.loads((folder / "dataset.json").read_text())
        files[layout] = {name: digest for name, digest in digests(folder).items() if name != "dataset.json"}
    assert files["nnunet"] == files["nnunet_v1"]
    assert set(files["nnunet"]) == {
        "imagesTr/organ_000_0000.nii.gz",
        "imagesTr/organ_000_0001.nii.gz",
        "labelsTr/organ_000.nii.gz",
    }
    assert indices["nnunet_v1"]["training"] == [
        {"image": "./imagesTr/organ_000.nii.gz", "label": "./labelsTr/organ_000.nii.gz"}
    ]
    assert indices["nnunet"]["labels"] == {"background": 0, "organ_1": 1} and "training" not in indices["nnunet"]


def test_progress_is_reported_after_every_case(tmp_path):
    calls = []
    write_synthetic(tmp_path, num_cases=2, size=SIZE, progress=lambda *done: calls.append(done))
    assert calls == [(1, 2), (2, 2)]


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(OutputExistsError, match="not empty"):
        write_synthetic(tmp_path, num_cases=1, size=SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    "settings",
    [
        {"layout": "tar"},
        {"num_cases": 0},
        {"empty_fraction": 1},
        {"layout": "pairs", "num_channels": 2},
        {"foreground_fraction": 0.5},
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_is_written(tmp_path, settings):
    with pytest.raises(UsageError, match="Received"):
        write_synthetic(tmp_path / "new", **({"num_cases": 1, "size": SIZE} | settings))
    assert not (tmp_path / "new").exists()
