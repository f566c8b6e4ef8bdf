import pytest

from mcc_keras.files import write_text, written_aside


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
