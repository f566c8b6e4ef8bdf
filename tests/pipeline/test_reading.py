"""Records are read from the set that was opened, and each is compared with its checksum on every read."""

import gc
import os

import numpy as np
import pytest
import tensorflow as tf

from mcc_keras.datasets import find_cases
from mcc_keras.errors import DataErrors, RecordError
from mcc_keras.pipeline.cache import open_records
from mcc_keras.pipeline.dataset import load_dataset
from mcc_keras.pipeline.reading import read_payload, record_errors
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records import sources
from mcc_keras.records.manifest import read_manifest
from mcc_keras.records.write import write_tfrecords


@pytest.fixture
def work(write_pairs, tmp_path):
    prepare(write_pairs(count=8), tmp_path / "work", seed=0)
    return tmp_path / "work"


def prepare(scans, work, *, seed, size=8):
    keywords = {"preprocessing": Preprocessing(size=size), "split": (0.5, 0.25, 0.25), "seed": seed, "workers": 1}
    return write_tfrecords(find_cases(scans), work, overwrite=True, **keywords)


def flip(record, position):
    """Flip a bit of a record's shard, counted from the record's first byte."""
    with open(record.path, "r+b") as file:
        file.seek(record.position + position)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 4]))


def one_pass(dataset):
    return np.concatenate([images for images, *_ in dataset.as_numpy_iterator()])


def test_a_bit_that_flips_after_the_first_pass_is_an_error_that_names_case_and_shard(work):
    manifest = read_manifest(work)
    dataset, damaged = load_dataset(manifest, "train", batch_size=2), manifest.records("train")[2]
    one_pass(dataset)
    flip(damaged, 100)
    text = f"{damaged.path}: expected the record of case {damaged.case_id} as it was written"
    with pytest.raises(RecordError, match=text), record_errors(manifest):
        one_pass(dataset)


@pytest.mark.parametrize("position", [-12, -5, -4, -1, 0, 1000, "last", "checksum"])
def test_a_flipped_bit_anywhere_in_a_record_is_noticed_by_graph_and_copy(work, position):
    manifest = read_manifest(work)
    record = manifest.records("train")[1]
    flip(record, {"last": record.bytes - 1, "checksum": record.bytes + 3}.get(position, position))
    read, _ = open_records(manifest, "train")
    others = tf.data.Dataset.from_tensor_slices([0, 2, 3]).flat_map(read)
    assert [len(payload) for payload in others.as_numpy_iterator()] == [
        r.bytes for r in manifest.records("train") if r != record
    ]
    with pytest.raises(RecordError, match=record.case_id), record_errors(manifest):
        list(tf.data.Dataset.range(2).flat_map(read))
    with pytest.raises(RecordError, match=record.case_id):
        read_payload(record)
    with pytest.raises(RecordError, match=record.case_id):
        open_records(manifest, "train", cache="memory")


def test_a_shard_that_has_gone_is_an_error_that_names_case_and_set(work):
    manifest = read_manifest(work)
    dataset = load_dataset(manifest, "validation")
    path = manifest.records("validation")[0].path
    os.unlink(path)
    with (
        pytest.raises(DataErrors, match=f"{path}: expected the record of case case\\d") as caught,
        record_errors(manifest),
    ):
        one_pass(dataset)
    assert len(caught.value.errors) == 2


def test_a_shard_that_ends_before_a_record_is_noticed_when_it_is_read(work):
    manifest = read_manifest(work)
    last = manifest.records("train")[-1]
    read, _ = open_records(manifest, "train")
    os.truncate(last.path, last.position - 12)
    with pytest.raises(RecordError, match=last.case_id), record_errors(manifest):
        list(tf.data.Dataset.from_tensors(3).flat_map(read))


def test_other_errors_of_tensorflow_stay_what_they_are(work):
    manifest = read_manifest(work)
    with pytest.raises(tf.errors.InvalidArgumentError), record_errors(manifest):
        tf.reshape(tf.zeros(3), (2, 2))


def test_a_pass_reads_the_set_that_was_opened_while_others_are_published(work, tmp_path):
    dataset = load_dataset(work, "train", shuffle=False)
    before, opened = one_pass(dataset), read_manifest(work).folder
    for seed in (1, 2):
        prepare(tmp_path / "pairs", work, seed=seed)
    assert np.array_equal(one_pass(dataset), before)
    assert not np.array_equal(one_pass(load_dataset(work, "train", shuffle=False)), before)
    assert opened.exists()


def test_parts_of_one_manifest_are_of_one_split_whatever_is_published_in_between(work, tmp_path):
    manifest = read_manifest(work)
    load_dataset(manifest, "train")
    prepare(tmp_path / "pairs", work, seed=1)
    validation = load_dataset(manifest, "validation")
    assert validation.cases_of(1, 0) == [manifest.cases("validation")[0].case_id]


@pytest.mark.parametrize("kind", ["whole", "rest", "records"])
def test_a_data_set_made_of_a_data_set_keeps_the_set_and_the_last_one_lets_it_go(work, tmp_path, kind):
    if kind == "records":
        dataset = tf.data.Dataset.range(2).flat_map(open_records(read_manifest(work), "train")[0]).take(2)
    else:
        dataset = load_dataset(work, "train")
        dataset = (dataset.rest(1) if kind == "rest" else dataset).map(lambda image, mask: image).take(2)
    opened = read_manifest(work).folder
    gc.collect()
    prepare(tmp_path / "pairs", work, seed=1)
    assert opened.exists()
    del dataset
    gc.collect()
    prepare(tmp_path / "pairs", work, seed=2)
    assert not opened.exists()


def test_a_set_is_hashed_once_in_a_process_and_again_when_it_changes(work, monkeypatch):
    monkeypatch.setattr(sources, "_SETTLED", -(10**12))  # as if the files were old
    read_manifest(work)
    hashed = []
    monkeypatch.setattr(
        sources, "_hash", lambda path, plain=sources._hash: (hashed.append(path.suffix), plain(path))[1]
    )
    read_manifest(work)
    assert ".tfrecord" not in hashed
    flip(read_manifest(work).records("test")[0], 0)
    with pytest.raises(RecordError, match="SHA-256"):
        read_manifest(work)
