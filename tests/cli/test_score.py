"""`score` on the command line: a table on the terminal, files where they are asked for."""

import io
import sys

import pytest

from mcc_keras.cli import main


@pytest.fixture
def masks(write_pairs, tmp_path):
    """Two folders of masks; the predictions are the true masks of other cases."""
    pairs = write_pairs(count=3)
    for name in ("truth", "prediction"):
        (tmp_path / name).mkdir()
    for index in range(3):
        mask = (pairs / f"case{index}_mask.nii.gz").read_bytes()
        (tmp_path / "truth" / f"case{index}.nii.gz").write_bytes(mask)
        (tmp_path / "prediction" / f"case{(index + 1) % 3}.nii.gz").write_bytes(mask)
    return tmp_path / "truth", tmp_path / "prediction"


def test_scores_are_printed_and_written(masks, run, tmp_path, capsys):
    options = ("--labels", "cube=1", "--regions", "all=1", "--tolerance-mm", 1, "--smallest-lesion-mm3", 5)
    run("score", *masks, "-o", tmp_path / "scores", *options, "--workers", 1)
    text = capsys.readouterr().out
    assert "mean Dice" in text and "cube" in text and "Surface Dice at 1 mm; lesions of at least 5 cubic mm" in text
    assert (tmp_path / "scores" / "report.html").is_file()


def test_an_output_among_the_masks_is_refused_in_the_words_of_the_command(masks, complaints):
    code, (line,) = complaints("score", *masks, "-o", masks[0])
    assert (code, "must not be an input" in line) == (2, True)
    code, (line,) = complaints("score", *masks, "--missing", "error", "--labels", "liver")
    assert (code, "liver" in line) == (2, True)


def test_a_terminal_of_another_encoding_gets_the_table(masks, monkeypatch, tmp_path):
    table = tmp_path / "pairs.csv"
    table.write_text("case,truth,prediction,site\nx,truth/case0.nii.gz,prediction/case0.nii.gz,Zürich\n")
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["score", str(table), "--by", "site", "--workers", "1"]) == 0
    terminal.flush()
    assert b"Z" in terminal.buffer.getvalue()
