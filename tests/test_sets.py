"""Readers resolve the pointer once and keep the set that they opened."""

import os

import pytest

from mcc_keras import sets
from mcc_keras.errors import OutputExistsError, RecordError
from mcc_keras.sets import POINTER, current_set, open_set, owned_sets, publish_set, remove_unread, unfinished_set


@pytest.fixture
def folder(tmp_path):
    publish(tmp_path / "work", "one")
    return tmp_path / "work"


def publish(folder, text):
    with owned_sets(folder, command="prepare") as confirm:
        with unfinished_set(folder) as aside:
            (aside / "a.txt").write_text(text)
            publish_set(folder, name=text, command="prepare", confirm=confirm)
        remove_unread(folder)


def read(folder):
    path, _lock = open_set(folder, missing="Make one.")
    return (path / "a.txt").read_text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"schema": 1}',
        '{"schema": 2, "command": "prepare", "current": "one"}',
        '{"schema": 1, "command": "prepare", "current": "../one"}',
        '{"schema": 1, "command": "prepare", "current": "/etc"}',
        '{"schema": 1, "command": "prepare", "current": 7}',
        "[" * 5000,
        '{"schema": 1, "command": "prepare", "current": "one", "other": 1}',
    ],
)
def test_a_damaged_pointer_is_an_error_that_names_it(folder, text):
    (folder / POINTER).write_text(text)
    with pytest.raises(RecordError, match=POINTER):
        open_set(folder, missing="Make one.")


def test_a_pointer_to_a_set_that_is_gone_is_an_error(folder):
    os.rename(folder / "sets" / "one", folder / "sets" / "other")
    with pytest.raises(RecordError, match="sets/one: expected the set that current.json names"):
        open_set(folder, missing="Make one.")


def test_a_folder_that_has_no_set_yet_is_an_error_with_a_way_out(tmp_path):
    with pytest.raises(RecordError, match="found no current.json. Make one."):
        open_set(tmp_path, missing="Make one.")
    with owned_sets(tmp_path / "work", command="prepare"), unfinished_set(tmp_path / "work"):
        assert current_set(tmp_path / "work") is None
        with pytest.raises(RecordError, match="unfinished ones only. Make one."):
            open_set(tmp_path / "work", missing="Make one.")


def test_a_set_that_is_removed_between_pointer_and_lock_is_looked_up_again(folder, monkeypatch):
    lock_file, once = sets.lock_file, iter([lambda: publish(folder, "two")])
    monkeypatch.setattr(sets, "lock_file", lambda *a, **k: (next(once, lambda: None)(), lock_file(*a, **k))[1])
    assert read(folder) == "two"


def test_a_reader_that_may_not_open_the_lock_reads_without(folder, monkeypatch):
    def open_nothing(path, *args, plain=os.open):
        if str(path).endswith(".lock"):
            raise PermissionError(13, "Permission denied")
        return plain(path, *args)

    monkeypatch.setattr(os, "open", open_nothing)
    path, lock = open_set(folder, missing="Make one.")
    assert ((path / "a.txt").read_text(), lock) == ("one", None)


def test_a_set_that_was_copied_without_its_lock_is_read(folder):
    (folder / "sets" / "one" / ".lock").unlink()
    assert read(folder) == "one"


def test_a_kept_set_survives_publications_until_nobody_reads_it(folder):
    path, lock = open_set(folder, missing="Make one.")
    publish(folder, "two")
    assert (path / "a.txt").read_text() == "one"
    del lock
    publish(folder, "three")
    assert [entry.name for entry in (folder / "sets").iterdir()] == ["three"]


def test_a_name_that_is_taken_gets_a_number(folder):
    kept = open_set(folder, missing="Make one.")
    publish(folder, "one")
    assert current_set(folder) == "one-2"
    assert kept[0].name == "one"


def test_folders_and_files_of_others_stay(folder):
    (folder / "sets" / "mine").mkdir()
    (folder / "sets" / "mine" / "thesis.tex").write_text("mine")
    (folder / "sets" / "one" / "notes.txt").write_text("mine")
    publish(folder, "two")
    assert sorted(path.name for path in folder.rglob("*.t*x*")) == ["a.txt", "notes.txt", "thesis.tex"]


def test_a_folder_of_something_else_is_refused_and_a_new_one_is_removed_after_an_error(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    with pytest.raises(OutputExistsError, match="not empty"), owned_sets(tmp_path / "mine", command="prepare"):
        pass
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
    owned = owned_sets(tmp_path / "work", command="prepare")
    with pytest.raises(ValueError, match="half"), owned, unfinished_set(tmp_path / "work"):
        raise ValueError("half")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
