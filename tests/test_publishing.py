import os

import msgspec
import pytest

from mcc_keras import publishing
from mcc_keras.errors import BusyError, EnvironmentFailure, OutputExistsError, UsageError
from mcc_keras.listing import LISTING
from mcc_keras.locks import Owner
from mcc_keras.publishing import complete_exchange, exchange, replaced_folder


@pytest.fixture(params=["exchanging rename", "renames"])
def system(request, monkeypatch):
    """A system that can exchange two folders in one step, and one that cannot."""
    if request.param == "renames":
        monkeypatch.setattr(publishing, "_exchange_at_once", lambda aside, path: False)
    return request.param


def write(folder, text, **keywords):
    with replaced_folder(folder, command="evaluate", **keywords) as aside:
        (aside / "scores.csv").write_text(text)
        (aside / "pictures").mkdir()
        (aside / "pictures" / f"{text}.png").write_text(text)


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_folder_is_replaced_whole(system, tmp_path):
    write(tmp_path / "test", "one")
    write(tmp_path / "test", "two", overwrite=True)
    assert names(tmp_path) == [f"test/{LISTING}", "test/pictures/two.png", "test/scores.csv"]
    assert (tmp_path / "test" / "scores.csv").read_text() == "two"


def test_nothing_is_replaced_without_permission(tmp_path):
    write(tmp_path / "test", "one")
    with pytest.raises(OutputExistsError, match="the output of an earlier `evaluate`. .*allow overwriting"):
        write(tmp_path / "test", "two")
    assert (tmp_path / "test" / "scores.csv").read_text() == "one"


@pytest.mark.parametrize("other", [None, "demo"])
def test_what_another_command_or_person_wrote_is_never_replaced(tmp_path, other):
    if other:
        with replaced_folder(tmp_path / "test", command=other) as aside:
            (aside / "thesis.tex").write_text("mine")
    else:
        (tmp_path / "test").mkdir()
        (tmp_path / "test" / "thesis.tex").write_text("mine")
    with pytest.raises(OutputExistsError, match="something that `evaluate` did not write"):
        write(tmp_path / "test", "two", overwrite=True)
    assert (tmp_path / "test" / "thesis.tex").read_text() == "mine"


def test_a_file_that_somebody_has_added_moves_to_the_new_folder(system, tmp_path):
    write(tmp_path / "test", "one")
    for name in ("notes.txt", "pictures/mine.png"):
        (tmp_path / "test" / name).write_text("mine")
    write(tmp_path / "test", "two", overwrite=True)
    assert names(tmp_path / "test") == [LISTING, "notes.txt", "pictures/mine.png", "pictures/two.png", "scores.csv"]
    assert [path.name for path in tmp_path.iterdir()] == ["test"]


def test_after_an_error_the_old_folder_is_as_it_was(tmp_path):
    write(tmp_path / "test", "one")

    def fail():
        with replaced_folder(tmp_path / "test", command="evaluate", overwrite=True) as aside:
            (aside / "scores.csv").write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(EnvironmentFailure, match="test: cannot be written .No space left"):
        fail()
    assert (tmp_path / "test" / "scores.csv").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["test"]


def test_one_of_two_writers_wins(tmp_path):
    with replaced_folder(tmp_path / "test", command="evaluate") as aside:
        with pytest.raises(BusyError, match=f"process {os.getpid()}"):
            write(tmp_path / "test", "two")
        (aside / "scores.csv").write_text("one")
    assert (tmp_path / "test" / "scores.csv").read_text() == "one"


def test_a_writer_that_was_taken_for_dead_publishes_nothing(tmp_path):
    write(tmp_path / "test", "one")
    taken_over = replaced_folder(tmp_path / "test", command="evaluate", overwrite=True)
    with pytest.raises(BusyError, match="host beta, process 1. It has taken over"), taken_over as aside:
        (aside / "scores.csv").write_text("two")
        owner = msgspec.json.encode(Owner("beta", "boot", 1, "token"))
        (tmp_path / ".test.lock").write_bytes(owner)
    assert (tmp_path / "test" / "scores.csv").read_text() == "one"


def test_a_link_is_followed_and_a_mount_point_is_refused_at_once(tmp_path, monkeypatch):
    write(tmp_path / "disk", "one")
    (tmp_path / "test").symlink_to("disk")
    write(tmp_path / "test", "two", overwrite=True)
    assert (tmp_path / "test").is_symlink()
    assert (tmp_path / "disk" / "scores.csv").read_text() == "two"
    monkeypatch.setattr(os.path, "ismount", lambda path: True)
    with pytest.raises(UsageError, match="mount point"):
        write(tmp_path / "test", "three", overwrite=True)


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_an_exchange_that_stops_between_its_renames_is_completed(tmp_path, monkeypatch, stop):
    monkeypatch.setattr(publishing, "_exchange_at_once", lambda aside, path: False)
    write(tmp_path / "test", "one")
    aside = tmp_path / ".test.unfinished"
    with replaced_folder(tmp_path / "new", command="evaluate") as other:
        (other / "scores.csv").write_text("two")
    (tmp_path / "new").rename(aside)
    rename, done = publishing.rename, []

    def stopping(source, target):
        rename(source, target)
        done.append(target)
        if len(done) == stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(publishing, "rename", stopping)
    with pytest.raises(KeyboardInterrupt):
        exchange(aside, tmp_path / "test")
    monkeypatch.setattr(publishing, "rename", rename)
    complete_exchange(tmp_path / "test", command="evaluate")
    assert names(tmp_path) == [f"test/{LISTING}", "test/scores.csv"]
    assert (tmp_path / "test" / "scores.csv").read_text() == "two"
