"""Publishing a version of a served model while the process is killed: a server sees whole versions or none."""

from scripts import run_script

KILLED = """
    import os, shutil, sys
    from pathlib import Path
    from mcc_keras.serving.versions import next_version
    from stopping import killed_after, moments

    os.fsync = lambda handle: None  # a kill loses nothing that has been written
    folder = Path(sys.argv[1]) / "organ"

    def export():
        with next_version(folder) as (aside, _):
            (aside / "variables").mkdir(parents=True)
            for name in ("variables/variables.index", "saved_model.pb"):
                (aside / name).write_text(name)

    def versions():
        return {path.name: sum(found.is_file() for found in path.rglob("*")) for path in folder.glob("[0-9]*")}

    def reset():
        shutil.rmtree(folder, ignore_errors=True)
        export()
        (folder / "notes.txt").write_text("mine")

    kills = left = 0
    for number in moments(export, reset=reset):
        killed_after(number // 2, export)
        found = versions()
        assert found.pop("1") == 2 and all(files == 2 for files in found.values()), (number, found)
        left += any(path.name.startswith(".") for path in folder.iterdir())
        export()
        found = versions()
        assert len(found) >= 2 and all(files == 2 for files in found.values()), (number, found)
        assert {path.name for path in folder.iterdir()} == {"notes.txt", *found}, number
        kills += 1
    assert "tensorflow" not in sys.modules  # which must not be forked
    print(kills, left)
"""


def test_killed_after_each_change_every_version_is_whole_and_the_next_export_leaves_nothing_else(tmp_path):
    kills, left = map(int, run_script(KILLED, tmp_path).split())
    assert kills > 2
    assert left > 1  # of what the killed exports have left, the next has removed all
