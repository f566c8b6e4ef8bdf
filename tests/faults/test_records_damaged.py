"""Records whose files are cut, flipped, missing or too many: verifying and reading both say so."""

import os

import nibabel as nib
import numpy as np
import pytest

from mcc_keras.cli import main
from mcc_keras.datasets import find_cases
from mcc_keras.errors import MCCKerasError
from mcc_keras.pipeline.dataset import load_dataset
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.manifest import read_manifest
from mcc_keras.records.verify import verify_records
from mcc_keras.records.write import write_tfrecords


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Three cases in boxes of 2³ voxels, one a part: the smallest set that has all kinds of files."""
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "pairs").mkdir()
    for index in range(3):
        voxels = np.random.default_rng(index).normal(size=(2, 2, 2))
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), folder / "pairs" / f"{index}.nii")
        nib.save(nib.Nifti1Image((voxels > 0).astype(np.uint8), np.eye(4)), folder / "pairs" / f"{index}_mask.nii")
    write_tfrecords(find_cases(folder / "pairs"), folder / "work", preprocessing=Preprocessing(size=2), workers=1)
    return folder / "work"


@pytest.fixture
def records(work):
    """Return the folder of the set."""
    return read_manifest(work).folder


@pytest.fixture
def damaged(records):
    """Return a function that puts other bytes in a file's place; all is as before after the test."""
    before = {path: path.read_bytes() for path in records.iterdir()}
    yield lambda path, content: path.write_bytes(content)
    for path in records.iterdir():
        if path not in before:
            path.unlink()
    for path, content in before.items():
        path.write_bytes(content)


def visible(folder):
    return sorted(path for path in folder.iterdir() if path.name[0] != ".")


def noticed(work):
    """Does verifying report damage, and does reading refuse it?"""
    try:
        read_manifest(work)
    except MCCKerasError:
        return bool(verify_records(work).problems)
    return False


def test_every_cut_of_every_file_is_noticed(work, records, damaged):
    missed = []
    for path in visible(records):
        content = path.read_bytes()
        for length in reversed(range(len(content))):
            os.truncate(path, length)
            if not noticed(work):
                missed.append((path.name, length))
        damaged(path, content)
    assert missed == []
    assert not noticed(work)


def test_a_thousand_flipped_bits_are_noticed(work, records, damaged):
    files = visible(records)
    sizes = np.array([path.stat().st_size for path in files])
    rng, missed = np.random.default_rng(19), []
    for flip in range(1000):
        path = files[rng.choice(len(files), p=sizes / sizes.sum())] if flip % 2 else files[flip // 2 % len(files)]
        content = path.read_bytes()
        position, bit = int(rng.integers(len(content))), int(rng.integers(8))
        damaged(path, content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1 :])
        if not noticed(work):
            missed.append((path.name, position, bit))
        damaged(path, content)
    assert missed == []


@pytest.mark.parametrize("kind", ["train", "validation", "test", "manifest", "preprocessing", "split"])
def test_a_missing_file_is_noticed(work, records, damaged, kind):
    (path,) = records.glob(f"{kind}*")
    path.unlink()
    assert noticed(work)
    with pytest.raises(MCCKerasError, match=path.name):
        load_dataset(work, "train")


def test_an_extra_shard_is_noticed(work, records, damaged):
    extra = records / "train-00001-of-00002.tfrecord"
    damaged(extra, next(records.glob("train-*")).read_bytes())
    (problem,) = verify_records(work).problems
    assert str(extra) in str(problem)
    with pytest.raises(MCCKerasError, match="no other shards"):
        load_dataset(work, "train")


def test_shards_that_changed_places_are_noticed(work, records, damaged):
    one, other = next(records.glob("train-*")), next(records.glob("test-*"))
    contents = one.read_bytes(), other.read_bytes()
    damaged(one, contents[1])
    damaged(other, contents[0])
    assert len(verify_records(work).problems) == 2


def test_the_command_prints_a_line_per_problem_and_exits_as_data(work, records, damaged, capsys):
    assert main(["verify", str(work), "--sources"]) == 0
    assert "3 shards (3 cases" in capsys.readouterr().out
    for name in ("train", "test"):
        (path,) = records.glob(f"{name}-*")
        damaged(path, path.read_bytes() + b"\0")
    assert main(["verify", str(work)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert [name in line for name, line in zip(("train", "test"), lines, strict=True)] == [True, True]
