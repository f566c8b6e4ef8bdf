import contextlib
import os
import shutil
from pathlib import Path

import pytest

from mcc_keras.errors import OutputExistsError, UsageError
from mcc_keras.files import (
    refuse_impossible_output,
    refuse_output_that_is_input,
    remove_leftovers,
    write_text,
    written_aside,
)


def test_a_text_file_is_replaced_whole(tmp_path):
    path = write_text(tmp_path / "new" / "note.txt", "one")
    write_text(path, "two")
    assert path.read_text() == "two"
    assert [entry.name for entry in path.parent.iterdir()] == ["note.txt"]


def test_a_folder_that_another_thread_makes_in_between_is_no_file(tmp_path, monkeypatch):
    is_dir = Path.is_dir

    def look_and_make(path):
        found = is_dir(path)
        if path == tmp_path / "new":
            os.makedirs(path, exist_ok=True)
        return found

    monkeypatch.setattr(Path, "is_dir", look_and_make)
    refuse_impossible_output(tmp_path / "new" / "note.txt")
    (tmp_path / "file").touch()
    with pytest.raises(OutputExistsError, match="a file where a folder is needed"):
        refuse_impossible_output(tmp_path / "file" / "note.txt")


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write_text(tmp_path / "note.txt", "one")

    def fail():
        with written_aside(path) as aside:
            aside.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text() == "one"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_appears_whole_even_where_an_empty_one_stood(tmp_path):
    (tmp_path / "set").mkdir()
    with written_aside(tmp_path / "set") as aside:
        aside.mkdir()
        (aside / "a.txt").write_text("a")
        assert not any((tmp_path / "set").iterdir())
    assert [entry.name for entry in (tmp_path / "set").iterdir()] == ["a.txt"]


def test_everything_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (fsync(handle), steps.append(os.fstat(handle).st_ino)))
    monkeypatch.setattr(os, "replace", lambda *names: (replace(*names), steps.append("renamed")))
    with written_aside(tmp_path / "set") as aside:
        (aside / "deep").mkdir(parents=True)
        (aside / "deep" / "a.txt").write_text("a")
        inside = {path.stat().st_ino for path in (aside, aside / "deep", aside / "deep" / "a.txt")}
    assert set(steps[:3]) == inside
    assert steps[3:] == ["renamed", tmp_path.stat().st_ino]


def test_two_writers_of_one_file_do_not_mix_even_in_containers_that_share_a_process_id(tmp_path):
    with written_aside(tmp_path / "a.txt") as one, written_aside(tmp_path / "a.txt") as other:
        one.write_text("one")
        other.write_text("other")
        assert one != other
    assert (tmp_path / "a.txt").read_text() == "one"


def test_the_leftovers_of_killed_calls_are_known_by_their_names(tmp_path):
    with written_aside(tmp_path / "note.txt") as aside:
        aside.write_text("done")
        shutil.copy(aside, tmp_path / "kept")
        left = aside
    os.rename(tmp_path / "kept", left)
    (tmp_path / ".aside.txt").write_text("mine")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".aside.txt", "note.txt"]


# ---- an input is never an output ----------------------------------------------------------------------------------


def names_of(folder):
    """Ways to name `folder/scan.nii.gz`."""
    os.symlink(folder / "scan.nii.gz", folder / "link.nii.gz")
    os.link(folder / "scan.nii.gz", folder / "twin.nii.gz")
    os.symlink(folder, folder.parent / "elsewhere")
    os.symlink("link.nii.gz", folder / "chain.nii.gz")
    inside = [
        "scan.nii.gz",
        "link.nii.gz",
        "twin.nii.gz",
        "chain.nii.gz",
        "./scan.nii.gz",
        f"../{folder.name}/scan.nii.gz",
    ]
    return [folder / name for name in inside] + [folder.parent / "elsewhere" / "scan.nii.gz"]


def test_an_input_is_no_output_under_any_name(tmp_path, monkeypatch):
    folder = tmp_path / "scans"
    write_text(folder / "scan.nii.gz", "voxels")
    names = names_of(folder)
    monkeypatch.chdir(folder)
    for output in [*names, Path("scan.nii.gz"), "./scan.nii.gz"]:
        for scan in (folder / "scan.nii.gz", Path("link.nii.gz")):
            with pytest.raises(UsageError, match="The output must not be an input"):
                refuse_output_that_is_input(output, [folder / "other.nii.gz", scan])


def test_names_that_differ_in_case_are_one_file_where_the_system_says_so(tmp_path):
    write_text(tmp_path / "scan.nii.gz", "voxels")
    same = os.path.exists(tmp_path / "SCAN.nii.gz")
    with pytest.raises(UsageError) if same else contextlib.nullcontext():
        refuse_output_that_is_input(tmp_path / "SCAN.nii.gz", [tmp_path / "scan.nii.gz"])


def test_a_folder_with_an_input_in_it_is_no_output(tmp_path):
    scan = write_text(tmp_path / "a" / "b" / "scan.nii.gz", "voxels")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for output in (tmp_path, tmp_path / "a", tmp_path / "link", tmp_path / "a" / "b", tmp_path / "a" / ".." / "a"):
        with pytest.raises(UsageError, match="must not be an input"):
            refuse_output_that_is_input(output, [scan])
    with pytest.raises(UsageError, match="must not be an input"):
        refuse_output_that_is_input(tmp_path / "link", [tmp_path / "a"])


def test_other_files_new_names_and_folders_below_an_input_are_outputs(tmp_path):
    scan = write_text(tmp_path / "scan.nii.gz", "voxels")
    mask = write_text(tmp_path / "mask.nii.gz", "voxels")
    (tmp_path / "run").mkdir()
    for output in (mask, tmp_path / "new.nii.gz", tmp_path / "run", tmp_path / "no" / "scan.nii.gz"):
        refuse_output_that_is_input(output, [scan, tmp_path / "gone.nii.gz"])
    refuse_output_that_is_input(tmp_path / "run", [tmp_path])


# ---- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a" * 255, "ü" * 127, "a" * 248 + ".nii.gz"])
def test_the_longest_name_that_a_file_can_have_is_written(tmp_path, name):
    assert write_text(tmp_path / name, "text").read_text() == "text"
    with pytest.raises(UsageError, match="at most 255 bytes"):
        write_text(tmp_path / (name + "bb"), "text")
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["file/a.txt", "file/b/a.txt", "broken/a.txt"])
def test_a_file_where_a_folder_should_be_is_named(tmp_path, name):
    write_text(tmp_path / "file", "text")
    (tmp_path / "broken").symlink_to(tmp_path / "gone")
    with pytest.raises(OutputExistsError, match="(file|broken): expected a free name, found a file where a folder"):
        write_text(tmp_path / name, "text")
