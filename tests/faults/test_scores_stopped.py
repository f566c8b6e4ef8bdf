"""Replacing the scores of an evaluation while the process is killed: table, summary and page are of one evaluation."""

from scripts import run_script

KILLED = """
    import os, shutil, sys
    from pathlib import Path
    import numpy as np
    from mcc_keras.evaluation.case import Settings, score_case
    from mcc_keras.evaluation.output import write_scores
    from mcc_keras.evaluation.scores import Scores, Summary, summarize_rows
    from stopping import killed_after, moments

    os.fsync = lambda handle: None  # a kill loses nothing that has been written
    folder = Path(sys.argv[1]) / "RUN" / "test"

    def scores(name):
        mask = np.ones((4, 4, 4), np.uint8)
        identity = {"case": name, "group": "", "note": ""}
        rows = score_case(identity, mask, mask, affine=np.eye(4), classes={"organ": (1,)}, settings=Settings()).rows
        return Scores(rows, summarize_rows(rows, summary=Summary(scored=name)), folder)

    made = {name: scores(name) for name in ("old", "new")}

    def write(name="new"):
        write_scores(made[name], f"page {name}", overwrite=True)

    def content():
        return {path.name: path.read_text() for path in folder.glob("[a-z]*")}

    def reset(name="old"):
        shutil.rmtree(folder.parent, ignore_errors=True)
        write(name)

    reset("new")
    new = content()
    reset()
    old = content()
    assert len(old) == 3 and all(old[name] != new[name] for name in old)
    kills = 0
    for number in moments(write, reset=reset):
        assert content() in (old, new), number
        killed_after(number // 2, write)
        assert content() in (old, new), number
        write()
        assert content() == new, number
        assert [path.name for path in folder.parent.iterdir()] == ["test"], number
        kills += 1
    assert "tensorflow" not in sys.modules  # which must not be forked
    print(kills)
"""


def test_killed_after_each_change_all_scores_are_of_one_evaluation(tmp_path):
    assert int(run_script(KILLED, tmp_path)) > 8
