import json

import pytest

from mcc_keras.listing import LISTING, read_listing, remove_listed, write_listing


@pytest.fixture
def folder(tmp_path):
    """A folder that a command wrote: two files, one of them deeper."""
    (tmp_path / "out" / "deep").mkdir(parents=True)
    for name in ("scores.csv", "deep/a.txt"):
        (tmp_path / "out" / name).write_text("ours")
    write_listing(tmp_path / "out", command="evaluate")
    return tmp_path / "out"


def test_everything_that_is_listed_is_removed_and_the_folders_with_it(folder):
    assert remove_listed(folder, read_listing(folder, command="evaluate")) == []
    assert not folder.exists()


def test_files_that_came_later_stay_with_the_list(folder):
    for name in ("thesis.tex", "deep/b.txt"):
        (folder / name).write_text("mine")
    assert remove_listed(folder, read_listing(folder, command="evaluate")) == ["deep/b.txt", "thesis.tex"]
    assert sorted(path.name for path in folder.rglob("*")) == [LISTING, "b.txt", "deep", "thesis.tex"]


def test_the_list_of_another_command_is_none(folder):
    assert read_listing(folder, command="demo") is None
    assert read_listing(folder / "deep", command="evaluate") is None


@pytest.mark.parametrize("name", ["../mine.txt", "/etc/hostname", "deep/../../mine.txt", ".", ""])
def test_a_list_that_names_files_elsewhere_is_none(folder, name):
    (folder / LISTING).write_text(json.dumps({"schema": 1, "command": "evaluate", "files": [name]}))
    assert read_listing(folder, command="evaluate") is None


@pytest.mark.parametrize("text", ["", "{}", "[" * 5000, '{"schema": 2, "command": "evaluate", "files": []}'])
def test_a_damaged_list_is_none(folder, text):
    (folder / LISTING).write_text(text)
    assert read_listing(folder, command="evaluate") is None


def test_a_link_is_removed_and_what_it_leads_to_is_not(folder, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("mine")
    (folder / "scores.csv").unlink()
    (folder / "scores.csv").symlink_to(tmp_path / "mine" / "a.txt")
    (folder / "deep" / "a.txt").unlink()
    (folder / "deep").rmdir()
    (folder / "deep").symlink_to(tmp_path / "mine")
    remove_listed(folder, read_listing(folder, command="evaluate"))
    assert (tmp_path / "mine" / "a.txt").read_text() == "mine"
    assert not (folder / "scores.csv").is_symlink()
