import hashlib
import json
import os

import msgspec
import nibabel as nib
import numpy as np
import pytest
import tensorflow as tf
import threadpoolctl

from mcc_keras.datasets import find_cases
from mcc_keras.errors import EnvironmentFailure, LabelError
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.encoding import EncodedCase
from mcc_keras.records.entries import RecordEntry
from mcc_keras.records.example import encode_example, frame_record
from mcc_keras.records.shards import ShardTask, keep_shard, plan_shards, unfinished, write_shard


@pytest.mark.parametrize("size", [0, 1, 9, 2**18 + 7])
def test_the_checksum_in_the_frame_is_that_of_tensorflow(tmp_path, size):
    data = np.random.default_rng(size).bytes(size)
    with tf.io.TFRecordWriter(str(tmp_path / "a")) as writer:
        writer.write(data)
    before, behind = frame_record(data)
    assert (tmp_path / "a").read_bytes() == before + data + behind


@pytest.mark.parametrize("size", [0, 5, 100, 300, 20_000, 3_000_000])
def test_a_record_is_byte_for_byte_what_tensorflow_writes(tmp_path, size):
    voxels, spacing_mm = np.random.default_rng(size).bytes(size), (0.625, 1.0, 3.3)
    case = EncodedCase("Fall-ß", voxels, b"mask", image_dtype="int16", shape=(1, size, 300, 1), spacing_mm=spacing_mm)
    expected = tf.train.Example()
    feature = expected.features.feature
    for name, content in {"case_id": "Fall-ß".encode(), "image": voxels, "image_dtype": b"int16"}.items():
        feature[name].bytes_list.value.append(content)
    feature["mask"].bytes_list.value.append(b"mask")
    feature["shape"].int64_list.value.extend((1, size, 300, 1))
    feature["spacing_mm"].float_list.value.extend(spacing_mm)
    payload = encode_example(case)
    assert tf.train.Example.FromString(payload) == expected
    before, behind = frame_record(payload)
    with tf.io.TFRecordWriter(str(tmp_path / "a")) as writer:
        writer.write(payload)
    assert (tmp_path / "a").read_bytes() == before + payload + behind


class Watched(Preprocessing):
    """Notes how many threads linear algebra may use while a case is prepared."""

    threads = []  # noqa: RUF012

    def grid(self, image, affine):
        self.threads.extend(blas_threads())
        return super().grid(image, affine)


def blas_threads():
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]


@pytest.fixture
def task(write_pairs, tmp_path):
    """Return a function that gives the task of one shard of three cases."""
    cases = find_cases(write_pairs(count=3))
    (tmp_path / "staged" / "scratch").mkdir(parents=True)

    def make(*, preprocessing=Preprocessing(size=8), earlier=None, threads=1):  # noqa: B008
        (shard,) = plan_shards(
            {"train": cases}, {case.case_id: f"key of {case.case_id}" for case in cases}, record_bytes=1
        )
        scratch = tmp_path / "staged" / "scratch"
        return ShardTask(shard, scratch, preprocessing, compression=None, earlier=earlier or {}, threads=threads)

    return make


def test_a_shard_and_its_note_are_there_when_they_are_kept_and_not_before(task, tmp_path):
    one, folder = task(), tmp_path / "staged"
    assert write_shard(one) == []
    assert unfinished([one.shard], folder) == [one.shard]
    keep_shard(one, folder)
    assert unfinished([one.shard], folder) == []
    content, note = (folder / one.shard.file).read_bytes(), json.loads((folder / f"{one.shard.file}.json").read_text())
    assert (note["bytes"], note["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    payloads = [record.numpy() for record in tf.data.TFRecordDataset(str(folder / one.shard.file))]
    assert payloads == [content[r["position"] : r["position"] + r["bytes"]] for r in note["records"]]
    assert list(one.scratch.iterdir()) == []


def test_a_staged_shard_with_a_flipped_bit_is_written_again(task, tmp_path):
    one, folder = task(), tmp_path / "staged"
    write_shard(one)
    keep_shard(one, folder)
    content = bytearray((folder / one.shard.file).read_bytes())
    content[50] ^= 1
    (folder / one.shard.file).write_bytes(content)
    assert unfinished([one.shard], folder) == [one.shard]


def test_threads_and_earlier_records_change_no_byte(task, tmp_path):
    alone = task()
    write_shard(alone)
    path = alone.scratch / alone.shard.file
    expected, note = path.read_bytes(), json.loads((alone.scratch / f"{alone.shard.file}.json").read_text())
    path.rename(tmp_path / "before")
    middle = note["records"][1]
    copied = {middle["key"]: (tmp_path / "before", msgspec.convert(middle, RecordEntry))}
    for again in (task(threads=3), task(earlier=copied)):
        assert write_shard(again) == []
        assert path.read_bytes() == expected
    assert [case.case_id for case in again.new] == ["case0", "case2"]


def test_every_case_that_fails_is_told_and_no_note_is_written(task):
    one = task()
    for case in one.shard.cases[:2]:
        nib.save(nib.Nifti1Image(np.full((16, 16, 16), 7, np.uint8), np.diag([1, 1, 2, 1])), case.mask)
    assert [type(problem) for problem in write_shard(one)] == [LabelError, LabelError]
    assert not (one.scratch / f"{one.shard.file}.json").exists()


def test_a_worker_whose_call_is_gone_leaves_nothing_anywhere(task, tmp_path):
    one = task()
    os.rmdir(one.scratch)
    (problem,) = write_shard(one)
    assert isinstance(problem, EnvironmentFailure)
    assert list((tmp_path / "staged").iterdir()) == []


def test_sums_are_taken_on_one_thread_so_that_their_rounding_does_not_depend_on_the_processes(task):
    before = blas_threads()
    write_shard(task(preprocessing=Watched(size=4)))
    assert set(Watched.threads) == {1}
    assert blas_threads() == before
