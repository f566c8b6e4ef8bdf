import dataclasses
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import tensorflow as tf

from mcc_keras.datasets import find_cases
from mcc_keras.errors import CaseError, DataErrors, OutputExistsError, RecordError, UsageError
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.tfrecords import parse_example, read_manifest, write_tfrecords

BOX = Preprocessing(size=8)


@pytest.fixture
def work(write_pairs, tmp_path):
    write_tfrecords(find_cases(write_pairs(count=10)), tmp_path / "work", preprocessing=BOX, seed=3, workers=1)
    return tmp_path / "work"


def all_bytes(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_ten_cases_split_seven_two_one(work):
    assert read_manifest(work).counts == {"train": 7, "validation": 2, "test": 1}


def test_a_record_holds_the_preprocessed_case(work):
    manifest = read_manifest(work)
    shard, case = manifest.shards["test"][0], manifest.cases("test")[0]
    (record,) = tf.data.TFRecordDataset(str(work / shard["file"]))
    example = parse_example(record, manifest.image_shape)
    scan, mask = nib.load(case.images[0]), nib.load(case.mask)
    assert example["case_id"] == case.case_id.encode()
    assert example["spacing_mm"].numpy().tolist() == [2, 2, 4]
    assert np.array_equal(example["image"], BOX.apply(scan.get_fdata()[..., None], scan.affine))
    assert np.array_equal(example["mask"], BOX.apply_mask(np.asarray(mask.dataobj), mask.affine, num_labels=1))


def test_positions_in_the_manifest_point_at_the_records(work):
    manifest = read_manifest(work)
    for path, before, length, behind in manifest.records("train"):
        content = (work / path).read_bytes()
        assert before + length + behind == len(content)
        assert parse_example(content[before : before + length], manifest.image_shape)["image"].shape == (8, 8, 8, 1)


def test_the_bytes_do_not_depend_on_the_number_of_workers(work, write_pairs, tmp_path):
    write_tfrecords(find_cases(tmp_path / "pairs"), tmp_path / "two", preprocessing=BOX, seed=3, workers=2)
    assert all_bytes(tmp_path / "two") == all_bytes(work)


def test_the_same_settings_again_leave_the_folder_alone(work, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in work.iterdir()}
    write_tfrecords(find_cases(tmp_path / "pairs"), work, preprocessing=BOX, seed=3)
    assert {path: path.stat().st_mtime_ns for path in work.iterdir()} == before


@pytest.mark.parametrize("other", [{"seed": 4}, {"preprocessing": Preprocessing(size=16)}, {"split": (0.8, 0.1, 0.1)}])
def test_a_folder_of_other_settings_is_refused_and_kept(work, tmp_path, other):
    before = all_bytes(work)
    with pytest.raises(OutputExistsError, match=f"other settings.*{next(iter(other))}"):
        write_tfrecords(find_cases(tmp_path / "pairs"), work, **{"preprocessing": BOX, "seed": 3} | other)
    assert all_bytes(work) == before


def test_a_folder_of_something_else_is_refused(write_pairs, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("dear")
    with pytest.raises(OutputExistsError, match="not empty"):
        write_tfrecords(find_cases(write_pairs()), tmp_path / "full", preprocessing=BOX)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def test_all_bad_cases_are_told_at_once_and_nothing_is_left(write_pairs, tmp_path):
    folder = write_pairs(count=5)
    for name in ("case1", "case3"):
        nib.save(
            nib.Nifti1Image(np.full((16, 16, 16), 7, np.uint8), np.diag([1, 1, 2, 1])), folder / f"{name}_mask.nii.gz"
        )
    with pytest.raises(DataErrors) as caught:
        write_tfrecords(find_cases(folder), tmp_path / "work", preprocessing=BOX)
    assert [("case1" in str(e), "case3" in str(e)) for e in caught.value.errors] == [(True, False), (False, True)]
    assert [path.name for path in tmp_path.iterdir()] == ["pairs"]


def test_cases_without_masks_are_refused(write_pairs, tmp_path):
    folder = write_pairs(count=3)
    (folder / "case0_mask.nii.gz").unlink()
    with pytest.raises(DataErrors, match="case0.*expected a mask"):
        write_tfrecords(find_cases(folder), tmp_path / "work", preprocessing=BOX)


def test_no_cases_are_refused(tmp_path):
    with pytest.raises(UsageError, match="at least one case"):
        write_tfrecords([], tmp_path / "work", preprocessing=BOX)


def test_the_size_is_fitted_to_training_cases_only(write_pairs, tmp_path):
    folder = write_pairs(count=3)
    big = nib.Nifti1Image(np.random.default_rng(0).normal(size=(40, 40, 40)), np.eye(4))
    nib.save(big, folder / "case0.nii.gz")
    nib.save(nib.Nifti1Image(np.ones((40, 40, 40), np.uint8), np.eye(4)), folder / "case0_mask.nii.gz")
    split = {"train": ("case1",), "validation": ("case2",), "test": ("case0",)}
    manifest = write_tfrecords(
        find_cases(folder), tmp_path / "work", preprocessing=Preprocessing(spacing_mm=1.0), split=split, workers=1
    )
    assert manifest.preprocessing.size == (16, 16, 32)
    assert read_manifest(tmp_path / "work").preprocessing == manifest.preprocessing


def test_a_given_split_with_a_patient_in_two_parts_is_refused(write_pairs, tmp_path):
    cases = [dataclasses.replace(case, group="one") for case in find_cases(write_pairs(count=3))]
    split = {"train": ("case0",), "validation": ("case1",), "test": ("case2",)}
    with pytest.raises(CaseError, match="one"):
        write_tfrecords(cases, tmp_path / "work", preprocessing=BOX, split=split)
    assert not (tmp_path / "work").exists()


def test_every_flipped_byte_and_every_cut_is_noticed(work):
    shard = next(work.glob("test-*"))
    content = shard.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(content), 20):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(rng.integers(8))
        shard.write_bytes(damaged)
        with pytest.raises(RecordError, match="SHA-256"):
            read_manifest(work)
    for length in rng.integers(0, len(content), 20):
        shard.write_bytes(content[:length])
        with pytest.raises(RecordError, match="bytes"):
            read_manifest(work)
    shard.unlink()
    with pytest.raises(RecordError, match="no file"):
        read_manifest(work)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"schema": 99, "settings": {}, "shards": {}}'])
def test_a_manifest_of_something_else_is_an_error_that_names_it(work, text):
    (work / "manifest.json").write_text(text)
    with pytest.raises(RecordError, match="manifest.json"):
        read_manifest(work)


def test_a_folder_without_records_is_an_error(tmp_path):
    with pytest.raises(RecordError, match="prepare"):
        read_manifest(tmp_path)


def test_an_empty_part_is_an_error_that_lists_the_others(work, tmp_path):
    manifest = write_tfrecords(
        find_cases(tmp_path / "pairs"), tmp_path / "all", preprocessing=BOX, split=(0, 0, 1), workers=1
    )
    with pytest.raises(UsageError, match=r"test \(10\)"):
        manifest.records("train")


def test_the_folder_can_be_moved(work, tmp_path):
    shutil.move(work, tmp_path / "elsewhere")
    assert read_manifest(tmp_path / "elsewhere").records("test")


def test_the_manifest_names_every_source_file(work, tmp_path):
    settings = json.loads((work / "manifest.json").read_text())["settings"]
    assert len(settings["cases"]) == 10
    assert settings["cases"][0]["images"] == [str(tmp_path / "pairs" / "case0.nii.gz")]
