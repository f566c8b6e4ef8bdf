import re
from pathlib import Path

import pytest
from planted_results import design, plan, planted, result

from mcc_keras.comparison.analysis import analyze
from mcc_keras.comparison.output import Comparison, write_comparison
from mcc_keras.comparison.page import build_page


@pytest.fixture
def comparison(tmp_path):
    asked = design(("mcc", "dice", "gwd"))
    made = plan(asked)
    results = planted(asked, {"mcc": (0.0, 0.0), "dice": (0.1, 0.12)}, noise=0.01)
    results |= [result("dice", 1, 1, state="failed", problem="OSError: <script>alert(1)</script>")]
    return Comparison(tmp_path, made, results, analyze(made, results))


def test_the_page_holds_both_claims_the_noise_and_the_failures(comparison):
    text = str(build_page(comparison))
    for head in ("Claim 1: these networks, on such patients", "Claim 2: the loss", "Noise between seeds", "Failures"):
        assert f"<h2>{head}</h2>" in text
    assert "= dice" in text and "mcc: two seeds differ by 0.020" in text
    assert "dice: 1 of 4 cells failed for a reason outside of the training" in text


def test_the_page_fetches_nothing_and_escapes_what_it_shows(comparison):
    text = str(build_page(comparison))
    assert "<script>alert" not in text and "&lt;script&gt;" in text
    assert re.findall(r'(?:src|href)="(?!data:)', text) == []
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text


def test_tables_of_an_earlier_call_are_replaced_and_no_other_file(comparison):
    (comparison.folder / "notes.txt").write_text("mine")
    for _ in range(2):
        write_comparison(comparison)
    names = {path.name for path in Path(comparison.folder).iterdir()}
    expected = {"report.html", "cells.csv", "patients.csv", "claims.csv", "curves.csv", "notes.txt"}
    assert names == expected


def test_what_is_printed_holds_the_table_and_the_conclusions(comparison):
    text = str(comparison)
    assert re.search(r"^gwd +.*= dice", text, flags=re.M)
    assert "These networks, on such patients" in text and "Not to be concluded" in text
