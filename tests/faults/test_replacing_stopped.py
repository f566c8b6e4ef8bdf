"""Replacing a folder while the process is killed: the old one or the new one, and the next call works."""

import pytest
from scripts import run_script

KILLED = """
    import os, shutil, sys
    from pathlib import Path
    from mcc_keras import publishing
    from mcc_keras.publishing import replaced_folder
    from stopping import killed_after, moments

    os.fsync = lambda handle: None  # a kill loses nothing that has been written
    folder, kind = Path(sys.argv[1]), sys.argv[2]
    if kind == "renames":
        publishing._exchange_at_once = lambda aside, path: False
    path = folder / "RUN" / "test"

    def write(text="new"):
        with replaced_folder(path, command="evaluate", overwrite=True) as aside:
            for name in ("scores.csv", "report.html"):
                (aside / name).write_text(text)

    def texts():
        return {path.read_text() for path in path.glob("[a-z]*")}

    def reset():
        shutil.rmtree(folder / "RUN", ignore_errors=True)
        write("old")
        (path / ".notes").write_text("mine")

    kills = 0
    for number in moments(write, reset=reset):
        found = texts()
        assert found in ({"old"}, {"new"}) or (kind == "renames" and not path.exists()), (number, found)
        killed_after(number // 2, write)
        write()
        assert texts() == {"new"}, number
        assert (path / ".notes").read_text() == "mine", number
        assert [entry.name for entry in path.parent.iterdir()] == ["test"], number
        kills += 1
    print(kills)
"""


@pytest.mark.parametrize("kind", ["exchanging", "renames"])
def test_killed_after_each_change_the_folder_is_the_old_or_the_new_one_and_the_next_call_works(tmp_path, kind):
    assert int(run_script(KILLED, tmp_path, kind)) > 5
