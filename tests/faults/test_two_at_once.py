"""Two processes at the same moment against each other: one wins, the loser says who, nothing mixes."""

import subprocess

import pytest
from scripts import run_script, start_script

from mcc_keras.records.manifest import read_manifest

SCRIPT = """
    import contextlib, sys
    from pathlib import Path
    from mcc_keras.errors import MCCKerasError

    what, role, source, folder, *options = sys.argv[1:]
    source, folder, seed = Path(source), Path(folder), 1 + (role != "first")

    def wait():
        if role == "first":
            print("held", flush=True)
            sys.stdin.readline()

    def prepare():
        from mcc_keras.datasets import find_cases
        from mcc_keras.preprocessing import Preprocessing
        from mcc_keras.records.write import write_tfrecords

        class Waiting(Preprocessing):
            def apply(self, image, grid):
                wait()
                return super().apply(image, grid)

        keywords = {"seed": seed, "workers": 1, "take_over": "take over" in options}
        write_tfrecords(find_cases(source)[:1], folder, preprocessing=Waiting(size=16), split=(1, 0, 0), **keywords)

    def train():
        import mcc_keras as mk
        from mcc_keras.runs.data import RunData
        from mcc_keras.training.resume import owned_run

        data = RunData(work=str(seed), manifest_sha256="", task=mk.Task(), image_shape=(8, 8, 8, 1), cases={})
        with owned_run(folder, recipe=mk.Recipe(seed=seed), data=data, preprocessing=mk.Preprocessing(size=8)):
            wait()
            (folder / "model.keras").write_text(str(seed))

    def evaluate():
        import numpy as np
        from mcc_keras.evaluation import output
        from mcc_keras.evaluation.case import Settings, score_case
        from mcc_keras.evaluation.scores import Scores, Summary, summarize_rows
        from mcc_keras.publishing import replaced_folder

        @contextlib.contextmanager
        def replaced_after_waiting(*arguments, **keywords):
            with replaced_folder(*arguments, **keywords) as aside:
                wait()
                yield aside

        output.replaced_folder = replaced_after_waiting
        mask = np.ones((4, 4, 4), np.uint8)
        identity = {"case": str(seed), "group": "", "note": ""}
        rows = score_case(identity, mask, mask, affine=np.eye(4), classes={"organ": (1,)}, settings=Settings()).rows
        scores = Scores(rows, summarize_rows(rows, summary=Summary(scored=str(seed))), folder)
        output.write_scores(scores, f"page {seed}", overwrite=True)

    def export():
        from mcc_keras.serving.versions import next_version

        with next_version(folder) as (aside, _):
            aside.mkdir()
            wait()
            (aside / "saved_model.pb").write_text(str(seed))

    def demo():
        from mcc_keras import demo

        def write_synthetic(data, **settings):
            wait()
            raise MCCKerasError("this is far enough")

        demo.write_synthetic = write_synthetic
        demo.run_demo(folder, seed=seed)

    if "without locks" in options:
        from mcc_keras import locks

        def flock(handle, kind):
            raise OSError(95, "Operation not supported")

        locks.fcntl.flock, locks.SETTLE = flock, 0

    try:
        locals()[what]()
    except MCCKerasError as error:
        print(type(error).__name__, error)
"""


@pytest.fixture
def meet(write_pairs, tmp_path):
    """Return a function that lets a second process meet the first, and what both of them and the first's pid are."""

    def meet(what, *options, second=()):
        paths = write_pairs(count=1), tmp_path / "out"
        with start_script(SCRIPT, what, "first", *paths, *options, stdin=subprocess.PIPE) as first:
            assert first.stdout.readline() == "held\n"
            refused = run_script(SCRIPT, what, "second", *paths, *options, *second)
            printed, _ = first.communicate("\n", timeout=300)
        assert first.returncode == 0
        return refused, printed, first.pid

    return meet


@pytest.mark.parametrize("options", [(), ("without locks",)])
@pytest.mark.parametrize("what", ["prepare", "train", "evaluate", "export", "demo"])
def test_of_two_at_once_one_wins_and_the_other_says_who(meet, tmp_path, what, options):
    refused, printed, pid = meet(what, *options)
    assert refused.startswith("BusyError") and f"process {pid}" in refused
    assert printed == ("MCCKerasError this is far enough\n" if what == "demo" else "")
    CHECKS[what](tmp_path / "out")


def check_prepare(folder):
    assert read_manifest(folder).settings.seed == 1
    assert sorted(path.name for path in folder.iterdir()) == ["current.json", "sets"]


def check_train(folder):
    assert '"work": "1"' in (folder / "data.json").read_text()
    assert '"seed": 1' in (folder / "recipe.json").read_text()
    assert (folder / "model.keras").read_text() == "1"


def check_evaluate(folder):
    assert (folder / "report.html").read_text() == "page 1"
    assert '"scored": "1"' in (folder / "summary.json").read_text()
    assert (folder / "scores.csv").read_text().splitlines()[1].startswith("1,")
    assert not [path.name for path in folder.parent.iterdir() if path.name.startswith(".")]


def check_export(folder):
    assert [path.name for path in folder.iterdir()] == ["1"]
    assert (folder / "1" / "saved_model.pb").read_text() == "1"


def check_demo(folder):
    assert '"seed": 1' in (folder / ".unfinished.json").read_text()


CHECKS = {
    "prepare": check_prepare, "train": check_train, "evaluate": check_evaluate,
    "export": check_export, "demo": check_demo,
}  # fmt: skip


def test_who_takes_over_wins_and_the_other_publishes_nothing(meet, tmp_path):
    taken, printed, _ = meet("prepare", "without locks", second=["take over"])
    assert taken == ""
    assert printed.startswith("BusyError") and "It has taken over" in printed
    assert read_manifest(tmp_path / "out").settings.seed == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["current.json", "sets"]
