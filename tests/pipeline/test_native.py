"""Records of native size: each case in the shape that it has, read as patches."""

import json

import numpy as np
import pytest
from native_scans import SHAPES, write_scans

from mcc_keras.errors import UsageError
from mcc_keras.pipeline.arrays import read_arrays
from mcc_keras.pipeline.dataset import load_dataset
from mcc_keras.pipeline.patches import Patches
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.manifest import read_manifest
from mcc_keras.records.verify import verify_records
from mcc_keras.records.write import write_tfrecords

SPLIT = (0.5, 0.5, 0)
SETTINGS = {"seed": 5, "batch_size": 2, "patches": Patches(size=(6, 6, 4), per_volume=2)}


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return write_scans(tmp_path_factory.mktemp("native") / "scans")


@pytest.fixture(scope="module")
def work(cases, tmp_path_factory):
    work = tmp_path_factory.mktemp("native") / "work"
    write_tfrecords(cases, work, preprocessing=Preprocessing(size="native"), split=SPLIT, workers=1)
    return work


def one_pass(dataset):
    return tuple(np.concatenate([part.numpy() for part in parts]) for parts in zip(*dataset, strict=True))


def test_each_record_has_the_shape_and_voxel_size_of_its_scan(work, cases):
    manifest = read_manifest(work)
    assert manifest.image_shape == (None, None, None, 1)
    known = {case.case_id: (SHAPES[n], (1.0, 1.0, 1.0 + n % 2)) for n, case in enumerate(cases)}
    for part in ("train", "validation"):
        for record, arrays in zip(manifest.records(part), read_arrays(manifest, part), strict=True):
            assert (record.shape, record.spacing_mm) == known[record.case_id]
            assert arrays.image.shape == (*record.shape, 1)
            assert arrays.mask.shape == record.shape
            assert arrays.mask.sum() == 4 * 4 * 3
    assert [len(shard.records) for part in manifest.shards.values() for shard in part] == [1] * 6
    assert verify_records(work).problems == ()


def test_a_changed_scan_alone_is_prepared_again(work, cases, tmp_path):
    copy = tmp_path / "work"
    settings = {"preprocessing": Preprocessing(size="native", normalize="minmax"), "split": SPLIT, "workers": 1}
    write_tfrecords(cases, copy, **settings)
    before = {
        record.case_id: record for part in ("train", "validation") for record in read_manifest(copy).records(part)
    }
    again = write_tfrecords(cases[:5], copy, **settings, overwrite=True)
    assert again.prepared == 0
    records = [record for part in ("train", "validation") for record in again.records(part)]
    assert all(
        (record.shape, record.bytes) == (before[record.case_id].shape, before[record.case_id].bytes)
        for record in records
    )


def test_whole_volumes_of_many_sizes_are_refused_with_the_way_out(work):
    with pytest.raises(
        UsageError, match="sizes of their own. Received: patches=None. Train on patches: --patch-size 64"
    ):
        load_dataset(work, "validation")


def test_patches_are_cut_from_the_volumes_bit_for_bit(work):
    whole = {record.case_id: record for record in read_arrays(read_manifest(work), "train")}
    dataset = load_dataset(work, "train", **SETTINGS)
    images, masks = one_pass(dataset)
    assert images.shape == (6, 6, 6, 4, 1)
    assert dataset.element_spec[0].shape.as_list() == [None, 6, 6, 4, 1]
    found = set()
    for image, mask in zip(images[..., 0], masks[..., 0], strict=True):
        for case_id, record in whole.items():
            windows = np.lib.stride_tricks.sliding_window_view(record.image[..., 0], image.shape)
            for place in np.argwhere((windows == image).all(axis=(3, 4, 5))):
                part = tuple(slice(start, start + n) for start, n in zip(place, image.shape, strict=True))
                assert np.array_equal(record.mask[part], mask)
                found.add(case_id)
    assert found == set(whole)


def test_augmented_patches_are_the_same_on_a_rerun_and_with_any_number_of_parallel_calls(work):
    passes = [
        one_pass(load_dataset(work, "train", augment="light", num_parallel_calls=calls, **SETTINGS)) for calls in (1, 4)
    ]
    assert all(np.array_equal(*parts) for parts in zip(*passes, strict=True))
    assert np.isfinite(passes[0][0]).all()
    plain = one_pass(load_dataset(work, "train", **SETTINGS))
    assert not np.array_equal(plain[0], passes[0][0])


def test_scans_of_one_size_give_the_patches_of_a_box_of_that_size(tmp_path):
    cases, batches = write_scans(tmp_path / "scans", [(12, 10, 8)] * 4), []
    for size in ("native", (12, 10, 8)):
        write_tfrecords(cases, tmp_path / str(size), preprocessing=Preprocessing(size=size), split=SPLIT, workers=1)
        batches.append(one_pass(load_dataset(tmp_path / str(size), "train", augment="light", **SETTINGS)))
    assert all(np.array_equal(*parts) for parts in zip(*batches, strict=True))


def test_a_patch_larger_than_some_cases_is_padded(work):
    patches = Patches(size=(6, 6, 9))
    with pytest.warns(UserWarning, match=r"exceeds \d of 3 volumes, the smallest \(.*\): these are padded"):
        dataset = load_dataset(work, "train", patches=patches, shuffle=False)
    for record, (image, mask) in zip(read_arrays(read_manifest(work), "train"), dataset, strict=True):
        lacking = max(0, 9 - record.mask.shape[2])
        first, last = lacking // 2, 9 - (lacking - lacking // 2)
        outside = np.delete(image[0, ..., 0], np.s_[first:last], axis=2)
        assert outside.shape[2] == lacking
        assert (outside == record.image.min()).all()
        assert not np.delete(mask[0, ..., 0], np.s_[first:last], axis=2).any()
    with pytest.raises(UsageError, match="oversize='pad'"):
        load_dataset(work, "train", patches=Patches(size=(6, 6, 9), oversize="error"))


def test_the_preprocessing_in_json_says_native(work):
    manifest = read_manifest(work)
    assert json.loads((manifest.folder / "preprocessing.json").read_text())["size"] == "native"
