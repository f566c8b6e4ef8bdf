"""`mcc-keras compare`: what it refuses, and that its options arrive."""

import fake_cells
import pytest

from mcc_keras.cli.main import main
from mcc_keras.comparison import cells


@pytest.fixture
def work(run, prepare, tmp_path):
    run(*prepare())
    return tmp_path / "work"


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        (["--losses", "mcc,dize"], 2, "dize"),
        (["--vary", "bach_size=1,2"], 2, "bach_size"),
        (["--vary", "batch_size"], 2, "FIELD=VALUE,VALUE"),
        (["--folds", "6"], 3, "6 folds"),
        (["--sweep", "learning_rate=x1"], 2, "--sweep"),
        (["--steps", "10", "--minutes-per-cell", "2"], 2, "--minutes-per-cell"),
        (["--shard", "3/2"], 2, "--shard"),
        (["--set", "epochs=3"], 2, "--steps"),
        (["--finish"], 3, "expected a comparison, found none"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_trained(work, tmp_path, complaints, options, code, named):
    found, lines = complaints("compare", work, tmp_path / "out", *options)
    assert (found, len(lines)) == (code, 1), lines
    assert named in lines[0]
    assert not (tmp_path / "out").exists()


def test_sources_that_moved_are_one_line_for_each(work, tmp_path, complaints):
    (tmp_path / "pairs" / "case3.nii.gz").unlink()
    code, lines = complaints("compare", work, tmp_path / "out")
    assert (code, len(lines)) == (3, 1)
    assert "case3.nii.gz: expected the file of case case3" in lines[0]


def test_the_options_reach_the_cells_and_the_conclusions_are_printed(work, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cells, "KINDS", fake_cells.KINDS)
    words = ["--losses", "mcc,dice", "--folds", "2", "--seeds", "0,1", "--steps", "8", "--workers", "1"]
    words += ["--set", "batch_size=1", "--set", "augment=light", "--no-flip", "--reference", "dice"]
    assert main(["compare", str(work), str(tmp_path / "out"), *words]) == 0
    printed = capsys.readouterr().out
    assert "2 arms × 2 folds × 2 seeds: 8 trainings, 8 steps each" in printed
    assert "mcc scored" in printed and "against dice" in printed
    assert (tmp_path / "out" / "report.html").is_file()
