"""Versions of a served model: counted, published by one rename, by one process at a time."""

import msgspec
import pytest

from mcc_keras.errors import BusyError
from mcc_keras.locks import Owner
from mcc_keras.serving.versions import LOCK, next_version


def test_after_an_error_nothing_is_published(tmp_path):
    def fail():
        with next_version(tmp_path) as (aside, _):
            aside.mkdir()
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_was_taken_for_dead_publishes_nothing(tmp_path):
    with (
        pytest.raises(BusyError, match="host beta, process 1. It has taken over"),
        next_version(tmp_path) as (aside, _),
    ):
        aside.mkdir()
        (tmp_path / LOCK).write_bytes(msgspec.json.encode(Owner("beta", "boot", 1, "token")))
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def test_names_that_are_no_numbers_are_not_counted(tmp_path):
    for name in ("7", "old", "٨", "9x"):
        (tmp_path / name).mkdir()
    with next_version(tmp_path) as (aside, path):
        aside.mkdir()
    assert path == tmp_path / "8" and path.is_dir()
