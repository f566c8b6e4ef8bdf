import pytest

from mcc_keras.errors import OutputExistsError
from mcc_keras.files import staged_folder, write_text, written_aside


def test_a_text_file_is_replaced_whole(tmp_path):
    path = write_text(tmp_path / "new" / "note.txt", "one")
    write_text(path, "two")
    assert path.read_text() == "two"
    assert [entry.name for entry in path.parent.iterdir()] == ["note.txt"]


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


def test_a_staged_folder_takes_the_place_of_a_full_one_in_one_step(tmp_path):
    write_text(tmp_path / "set" / "old.txt", "old")
    with staged_folder(tmp_path / "set") as aside:
        write_text(aside / "new.txt", "new")
        assert [entry.name for entry in (tmp_path / "set").iterdir()] == ["old.txt"]
    assert [entry.name for entry in (tmp_path / "set").iterdir()] == ["new.txt"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


def test_an_interruption_leaves_a_staged_folder_and_an_error_does_not(tmp_path):
    for error, left in ((KeyboardInterrupt, True), (ValueError, False)):
        with pytest.raises(error), staged_folder(tmp_path / "set") as aside:
            write_text(aside / "half.txt", "half")
            raise error
        assert aside.exists() == left
    assert not (tmp_path / "set").exists()


def test_only_one_process_at_a_time_stages_a_folder(tmp_path):
    with staged_folder(tmp_path / "set") as aside:
        with pytest.raises(OutputExistsError, match="set: .*another process"), staged_folder(tmp_path / "set"):
            pass
        write_text(aside / "mine.txt", "mine")
    assert (tmp_path / "set" / "mine.txt").read_text() == "mine"


def test_a_stop_between_two_renames_is_set_right_by_the_next_call(tmp_path):
    write_text(tmp_path / ".set.retired" / "old.txt", "old")  # as where the system cannot exchange folders in one step
    with pytest.raises(ValueError, match="stop"), staged_folder(tmp_path / "set"):
        raise ValueError("stop")
    assert (tmp_path / "set" / "old.txt").read_text() == "old"
