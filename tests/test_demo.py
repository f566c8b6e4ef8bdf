import functools
import os
import shutil

import nibabel
import numpy as np
import pytest

from mcc_keras import demo
from mcc_keras.errors import BusyError, OutputExistsError
from mcc_keras.locks import owned
from mcc_keras.segmentation.segment import segment


@pytest.fixture(scope="module", autouse=True)
def small():
    """The demo's own code on fewer cases, a smaller box, a thin network and two epochs."""
    train = functools.partial(demo.train, model_arguments={"depths": (1, 1, 1)})
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"NUM_CASES": 6, "SIZE": (16, 16, 16), "EPOCHS": 2, "train": train}.items():
            patch.setattr(demo, name, value)
        yield


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def result(tmp_path_factory, told):
    return demo.run_demo(tmp_path_factory.mktemp("demo"), seed=3, progress=told.append)


def test_every_stage_leaves_what_it_promises(result):
    folder = result.scan.parent
    for name in ("data/cases.csv", "check.html", "work/current.json", "run/run.json", "run/test/report.html"):
        assert (folder / name).is_file()
    assert result.saved_model == folder / "served" / "organ" / "1"
    assert (result.saved_model / "saved_model.pb").is_file()


def test_the_mask_of_the_new_scan_is_the_one_that_segment_writes(result, tmp_path):
    mask = segment(result.scan.parent / "run", result.scan, tmp_path / "mask.nii.gz")
    assert np.array_equal(np.asarray(nibabel.load(mask).dataobj), np.asarray(nibabel.load(result.mask).dataobj))
    assert np.allclose(nibabel.load(result.mask).affine, nibabel.load(result.scan).affine)


def test_the_text_holds_the_scores_and_where_everything_lies(result):
    text = str(result)
    assert text.startswith("case ")
    for path in (result.scan, result.mask, result.saved_model, result.scores.report_path):
        assert str(path) in text


def test_each_stage_is_told_in_one_line_and_timed(result, told):
    assert len(told) == len(result.seconds) == 7
    assert all(line and "\n" not in line for line in told)
    assert list(result.seconds) == ["write", "check", "prepare", "train", "evaluate", "export", "segment"]


def test_a_second_demo_destroys_nothing_unless_told_to_and_then_gives_the_same_scores(result):
    folder = result.scan.parent
    before = result.scores.scores_path.read_bytes()
    with pytest.raises(OutputExistsError, match="an earlier demo"):
        demo.run_demo(folder, seed=3)
    assert result.scores.scores_path.read_bytes() == before
    (folder / "notes.txt").write_text("mine")
    again = demo.run_demo(folder, seed=3, overwrite=True)
    assert str(again.scores) == str(result.scores)
    assert again.scores.scores_path.read_bytes() == before
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_something_else_is_refused_whatever_is_allowed(tmp_path, overwrite):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="not empty"):
        demo.run_demo(tmp_path, overwrite=overwrite)
    assert (tmp_path / "data" / "thesis.txt").read_text() == "mine"


def test_files_that_the_demo_did_not_write_are_never_removed(result, tmp_path):
    folder = shutil.copytree(result.scan.parent, tmp_path / "demo")
    (folder / "data" / "mine.nii.gz").write_text("mine")
    with pytest.raises(OutputExistsError, match="data/mine.nii.gz"):
        demo.run_demo(folder, overwrite=True)
    assert (folder / "data" / "mine.nii.gz").read_text() == "mine"
    assert (folder / "data" / "cases.csv").is_file()  # refused before anything is removed


def test_a_marker_of_another_program_is_no_demo(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "demo.json").write_text('{"made_by": "mcc-keras demo"}')
    with pytest.raises(OutputExistsError, match="not empty"):
        demo.run_demo(tmp_path, overwrite=True)


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A demo of seed 3 whose training was stopped."""

    def stop(*args, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "train", stop)
    with pytest.raises(KeyboardInterrupt):
        demo.run_demo(tmp_path, seed=3)
    return tmp_path


def test_a_demo_that_was_stopped_goes_on_and_with_another_seed_it_is_refused(stopped):
    before = {path: path.stat().st_mtime_ns for path in (stopped / "data").rglob("*")}
    with pytest.raises(OutputExistsError, match="a demo of seed=3 that was stopped. Go on with it with seed=3, or"):
        demo.run_demo(stopped, seed=4, overwrite=True)
    with pytest.raises(KeyboardInterrupt):
        demo.run_demo(stopped, seed=3)
    assert {path: path.stat().st_mtime_ns for path in (stopped / "data").rglob("*")} == before
    assert sorted(path.name for path in stopped.iterdir()) == [".unfinished.json", "check.html", "data", "work"]


def test_a_file_that_is_put_among_the_scans_of_a_stopped_demo_is_not_listed_as_its_own(stopped):
    for name in ("data/mine.nii.gz", "notes.txt"):
        (stopped / name).write_text("mine")
    own = demo._find_own(stopped)
    assert "data/images/case_000.nii.gz" in own and "check.html" in own
    assert {"data/mine.nii.gz", "notes.txt", ".unfinished.json"}.isdisjoint(own)


def test_a_folder_that_is_put_where_the_scans_go_is_refused(stopped):
    shutil.rmtree(stopped / "data")
    (stopped / "data").mkdir()
    (stopped / "data" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="data: .* the demo did not write"):
        demo.run_demo(stopped, seed=3)
    assert (stopped / "data" / "thesis.txt").read_text() == "mine"


def test_two_demos_in_one_folder_one_wins(stopped):
    with owned(stopped / ".lock", stopped), pytest.raises(BusyError, match=f"process {os.getpid()}"):
        demo.run_demo(stopped, seed=3)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"schema": 1, "seed": 3, "earlier": {"command": "demo", "files": ["../thesis.txt"]}}']
)
def test_a_mark_that_no_demo_wrote_is_no_demo(tmp_path, text):
    (tmp_path / ".unfinished.json").write_text(text)
    with pytest.raises(OutputExistsError, match="not empty"):
        demo.run_demo(tmp_path, seed=3)
