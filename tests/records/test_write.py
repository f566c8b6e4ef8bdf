import dataclasses
import hashlib
import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tensorflow as tf

from mcc_keras.datasets import find_cases
from mcc_keras.datasets.splits import read_split, write_split
from mcc_keras.errors import BusyError, CaseError, DataErrors, LabelError, OutputExistsError, RecordError, UsageError
from mcc_keras.pipeline.dataset import load_dataset
from mcc_keras.pipeline.parse import parse_example
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.manifest import read_manifest
from mcc_keras.records.write import write_tfrecords
from mcc_keras.sets import owned_sets
from mcc_keras.task import Task

BOX = Preprocessing(size=8)


@pytest.fixture
def work(write_pairs, tmp_path):
    write_tfrecords(find_cases(write_pairs(count=10)), tmp_path / "work", preprocessing=BOX, seed=3, workers=1)
    return tmp_path / "work"


def folder_of(work):
    return read_manifest(work, verify=False).folder


def all_bytes(work):
    return {path.name: path.read_bytes() for path in sorted(folder_of(work).iterdir()) if path.name[0] != "."}


def test_ten_cases_split_seven_two_one(work):
    assert read_manifest(work).counts == {"train": 7, "validation": 2, "test": 1}


def test_a_record_holds_the_preprocessed_case(work):
    manifest = read_manifest(work)
    shard, case = manifest.shards["test"][0], manifest.cases("test")[0]
    (record,) = tf.data.TFRecordDataset(str(manifest.folder / shard.file))
    example = parse_example(record, manifest.image_shape)
    scan, mask = nib.load(case.images[0]), nib.load(case.mask)
    grid = BOX.grid(scan.get_fdata()[..., None], scan.affine)
    assert example["case_id"] == case.case_id.encode()
    assert example["spacing_mm"].numpy().tolist() == [2, 2, 4]
    assert np.array_equal(example["image"], BOX.apply(scan.get_fdata()[..., None], grid))
    assert np.array_equal(example["mask"], BOX.apply_mask(np.asarray(mask.dataobj), grid, num_labels=1))


def test_positions_in_the_manifest_point_at_the_records(work):
    manifest = read_manifest(work)
    for record in manifest.records("train"):
        payload = Path(record.path).read_bytes()[record.position :][: record.bytes]
        assert parse_example(payload, manifest.image_shape)["case_id"] == record.case_id.encode()


def test_the_bytes_do_not_depend_on_the_number_of_workers(write_pairs, tmp_path):
    cases = find_cases(write_pairs(count=10))
    for workers in (1, 2, 3):  # into a box in which matrix products are large enough to be dealt out to threads
        write_tfrecords(cases, tmp_path / str(workers), preprocessing=Preprocessing(size=48), workers=workers)
    assert all_bytes(tmp_path / "1") == all_bytes(tmp_path / "2") == all_bytes(tmp_path / "3")


def test_the_same_settings_again_leave_the_folder_alone(work, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*")}
    write_tfrecords(find_cases(tmp_path / "pairs"), work, preprocessing=BOX, seed=3)
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*")} == before


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
    with pytest.raises(LabelError, match="case0.*expected a mask"):
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


@pytest.mark.parametrize("as_file", [False, True])
def test_a_given_split_with_a_patient_in_two_parts_is_refused(write_pairs, tmp_path, as_file):
    cases = [dataclasses.replace(case, group="one") for case in find_cases(write_pairs(count=3))]
    split = {"train": ("case0",), "validation": ("case1",), "test": ("case2",)}
    if as_file:
        split = write_split(split, tmp_path / "split.json")
    with pytest.raises(CaseError, match="one: expected a patient in one part, found in test and train and validation"):
        write_tfrecords(cases, tmp_path / "work", preprocessing=BOX, split=split)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"schema": 99, "settings": {}, "shards": {}}'])
def test_a_manifest_of_something_else_is_an_error_that_names_it(work, text):
    (folder_of(work) / "manifest.json").write_text(text)
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
    settings = json.loads((folder_of(work) / "manifest.json").read_text())["settings"]
    assert len(settings["cases"]) == 10
    assert settings["cases"][0]["images"] == [str(tmp_path / "pairs" / "case0.nii.gz")]


def prepare_again(tmp_path, **changes):
    settings = {"preprocessing": BOX, "seed": 3, "workers": 1, **changes}
    return write_tfrecords(find_cases(tmp_path / "pairs"), tmp_path / "work", **settings)


def brighten(folder, name):
    scan = nib.load(folder / f"{name}.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(scan.dataobj) + 1, scan.affine), folder / f"{name}.nii.gz")


def test_the_manifest_counts_hashes_and_tells_the_command(work, tmp_path):
    content = json.loads((folder_of(work) / "manifest.json").read_text())
    source = content["settings"]["cases"][0]["sources"][0]
    voxels = (tmp_path / "pairs" / "case0.nii.gz").read_bytes()
    assert content["counts"] == {"train": 7, "validation": 2, "test": 1}
    assert (source["bytes"], source["sha256"]) == (len(voxels), hashlib.sha256(voxels).hexdigest())
    for shard in (shard for part in content["shards"].values() for shard in part):
        assert shard["sha256"] == hashlib.sha256((folder_of(work) / shard["file"]).read_bytes()).hexdigest()
    assert content["command"].startswith("write_tfrecords(cases, work, preprocessing=Preprocessing(size=(8, 8, 8)")
    assert "workers" not in content["command"]


def test_no_more_than_eight_cases_lie_in_a_shard(write_pairs, tmp_path):
    cases = find_cases(write_pairs(count=10))
    manifest = write_tfrecords(cases, tmp_path / "all", preprocessing=BOX, split=(1, 0, 0), workers=1)
    assert [len(shard.records) for shard in manifest.shards["train"]] == [8, 2]
    assert [shard.file for shard in manifest.shards["train"]] == [
        "train-00000-of-00002.tfrecord",
        "train-00001-of-00002.tfrecord",
    ]


def test_a_changed_source_is_refused_and_named_before_anything_changes(work, tmp_path):
    before = all_bytes(work)
    brighten(tmp_path / "pairs", "case1")
    with pytest.raises(OutputExistsError, match=r"other settings \(sources of case1\).*overwrite"):
        prepare_again(tmp_path)
    assert all_bytes(work) == before


def test_a_changed_source_costs_its_own_shard_only(work, tmp_path):
    before = {path.name: (path.stat().st_ino, path.read_bytes()) for path in folder_of(work).glob("*.tfrecord")}
    brighten(tmp_path / "pairs", "case1")
    manifest = prepare_again(tmp_path, overwrite=True)
    fresh = write_tfrecords(find_cases(tmp_path / "pairs"), tmp_path / "fresh", preprocessing=BOX, seed=3, workers=1)
    assert (manifest.prepared, fresh.prepared) == (1, 10)
    assert all_bytes(work) == all_bytes(tmp_path / "fresh")
    after = {path.name: (path.stat().st_ino, path.read_bytes()) for path in folder_of(work).glob("*.tfrecord")}
    part = next(entry.part for entry in manifest.settings.cases if entry.case_id == "case1")
    assert {name for name in before if after[name] != before[name]} == {f"{part}-00000-of-00001.tfrecord"}


def test_another_split_moves_records_and_prepares_nothing(work, tmp_path):
    manifest = prepare_again(tmp_path, seed=4, overwrite=True)
    write_tfrecords(find_cases(tmp_path / "pairs"), tmp_path / "fresh", preprocessing=BOX, seed=4, workers=1)
    assert manifest.prepared == 0
    assert all_bytes(work) == all_bytes(tmp_path / "fresh")


@pytest.mark.parametrize("change", [{"preprocessing": Preprocessing(size=8, normalize="minmax")}, {"labels": ((2,),)}])
def test_other_preprocessing_or_labels_write_every_record_again(write_pairs, tmp_path, change):
    cases = find_cases(write_pairs(count=3))
    write_tfrecords(cases, tmp_path / "work", preprocessing=BOX, split=(1, 0, 0), workers=1)
    if "labels" in change:
        cases = [dataclasses.replace(case, task=Task(labels=change["labels"], background=(0, 1))) for case in cases]
    box = change.get("preprocessing", BOX)
    again = write_tfrecords(cases, tmp_path / "work", preprocessing=box, split=(1, 0, 0), workers=1, overwrite=True)
    assert again.prepared == 3


def test_a_damaged_set_is_mended_on_an_explicit_word_only(work, tmp_path):
    before = all_bytes(work)
    shard = next(folder_of(work).glob("train-*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(RecordError, match="overwrite"):
        prepare_again(tmp_path)
    assert prepare_again(tmp_path, overwrite=True).prepared == 7
    assert all_bytes(work) == before


@pytest.mark.parametrize("inside", [False, True])
def test_files_that_are_not_ours_are_never_swept_away(work, tmp_path, inside):
    folder = folder_of(work) if inside else work
    (folder / "run").mkdir()
    for name in ("thesis.tex", "mine.tfrecord", "run/model.keras"):
        (folder / name).write_text("dear")
    if inside:
        with pytest.raises(RecordError, match="no other shards"):
            read_manifest(work)
    prepare_again(tmp_path, seed=4, overwrite=True)
    assert [(folder / name).read_text() for name in ("thesis.tex", "mine.tfrecord", "run/model.keras")] == ["dear"] * 3
    assert folder.exists() and not list(folder.glob("train-*")) or not inside
    assert read_manifest(work).settings.seed == 4


def test_the_split_of_a_work_folder_makes_the_same_set_again(work, tmp_path):
    split = read_split(folder_of(work) / "split.json")
    assert [len(split[part]) for part in ("train", "validation", "test")] == [7, 2, 1]
    cases = find_cases(tmp_path / "pairs")
    again = write_tfrecords(cases, tmp_path / "again", preprocessing=BOX, split=work, workers=1)
    assert {part: again.cases(part) for part in split} == {part: read_manifest(work).cases(part) for part in split}
    for name in ("train", "validation", "test"):
        file = f"{name}-00000-of-00001.tfrecord"
        assert all_bytes(tmp_path / "again")[file] == all_bytes(work)[file]


def test_a_split_by_foreground_is_stored_and_not_measured_again(write_pairs, tmp_path):
    cases = find_cases(write_pairs(count=6))
    keywords = {"preprocessing": BOX, "stratify": "foreground", "split": (0.5, 0.5, 0), "workers": 1}
    first = write_tfrecords(cases, tmp_path / "work", **keywords)
    again = write_tfrecords(cases, tmp_path / "work", **keywords)
    assert again.prepared == 0
    assert again.settings == first.settings
    assert json.loads((first.folder / "split.json").read_text())["stratify"] == "foreground"


def test_a_second_writer_of_the_same_work_is_refused_and_learns_who_the_first_is(write_pairs, tmp_path):
    cases = find_cases(write_pairs(count=3))
    refused = pytest.raises(BusyError, match=f"work: expected no other writer, found one: .* process {os.getpid()}")
    with owned_sets(tmp_path / "work", command="prepare"), refused:
        write_tfrecords(cases, tmp_path / "work", preprocessing=BOX)
    assert write_tfrecords(cases, tmp_path / "work", preprocessing=BOX, workers=1).prepared == 3


def test_a_reader_keeps_its_set_while_another_is_published_and_a_later_call_removes_it(work, tmp_path):
    old = read_manifest(work)
    before = all_bytes(work)
    prepare_again(tmp_path, seed=4, overwrite=True)
    prepare_again(tmp_path, seed=5, overwrite=True)
    assert {name: (old.folder / name).read_bytes() for name in before} == before
    assert sorted(path.name for path in (work / "sets").iterdir()) == sorted({old.folder.name, folder_of(work).name})
    folder = old.folder
    del old
    prepare_again(tmp_path, seed=6, overwrite=True)
    assert not folder.exists()


def test_a_set_that_a_reader_has_kept_becomes_the_current_one_again(work, tmp_path):
    old = read_manifest(work)
    prepare_again(tmp_path, seed=4, overwrite=True)
    (old.folder / "manifest.json").touch()
    stamp = (old.folder / "manifest.json").stat().st_mtime_ns
    assert prepare_again(tmp_path, seed=3, overwrite=True).folder == old.folder
    assert (old.folder / "manifest.json").stat().st_mtime_ns == stamp


def test_a_work_folder_behind_a_link_is_written_there(write_pairs, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "work").symlink_to("disk")
    cases = find_cases(write_pairs(count=3))
    for seed in (1, 2):
        write_tfrecords(cases, tmp_path / "work", preprocessing=BOX, seed=seed, workers=1, overwrite=True)
    assert (tmp_path / "work").is_symlink()
    assert read_manifest(tmp_path / "disk").settings.seed == 2


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
def test_whole_numbers_are_stored_small_and_read_back_bit_for_bit(tmp_path, dtype, compression):
    rng = np.random.default_rng(0)
    limit = 1.5 if dtype == np.float32 else np.iinfo(dtype).max
    voxels = rng.uniform(0, limit, (8, 8, 8)).astype(dtype)
    voxels[0, 0, :2] = 0, limit
    if dtype == np.int16:
        voxels[0, 0, 0] = -32768
    (tmp_path / "pairs").mkdir()
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "pairs" / "a.nii.gz")
    nib.save(nib.Nifti1Image((voxels > 1).astype(np.uint8), np.eye(4)), tmp_path / "pairs" / "a_mask.nii.gz")
    plain = Preprocessing(size=8, normalize="none", clip_percentiles=None)
    manifest = write_tfrecords(
        find_cases(tmp_path / "pairs"),
        tmp_path / "work",
        preprocessing=plain,
        split=(1, 0, 0),
        workers=1,
        compression=compression,
    )
    image, mask = next(iter(load_dataset(tmp_path / "work", "train")))
    assert np.array_equal(image[0, ..., 0].numpy().view(np.uint32), voxels.astype(np.float32).view(np.uint32))
    assert np.array_equal(mask[0, ..., 0], voxels > 1)
    if compression is None:
        (record,) = manifest.shards["train"][0].records
        assert record.bytes - 512 * (np.dtype(dtype).itemsize + 1) < 200


def test_compression_shrinks_the_records_and_is_part_of_the_settings(work, tmp_path):
    with pytest.raises(OutputExistsError, match=r"other settings \(compression\)"):
        prepare_again(tmp_path, compression="gzip")
    small = write_tfrecords(
        find_cases(tmp_path / "pairs"), tmp_path / "small", preprocessing=BOX, seed=3, workers=1, compression="gzip"
    )
    sizes = [
        sum(path.stat().st_size for path in folder_of(folder).glob("*.tfrecord"))
        for folder in (tmp_path / "small", work)
    ]
    assert sizes[0] < sizes[1]
    assert small.image_shape == (8, 8, 8, 1)
    with pytest.raises(UsageError, match="'gzip'"):
        write_tfrecords(find_cases(tmp_path / "pairs"), tmp_path / "other", preprocessing=BOX, compression="zip")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"compression": null', '"compression": 7'),
        ('"counts":', '"count":'),
        ('"seed": 3', '"seed": 4'),
        ('"labels": [', '"labels": [[0], '),
        ('"position": 12', '"position": "12"'),
    ],
)
def test_a_manifest_that_was_edited_by_hand_is_an_error_that_names_it(work, old, new):
    path = folder_of(work) / "manifest.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(RecordError, match="manifest.json: "):
        read_manifest(work)
