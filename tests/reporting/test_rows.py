import csv

import pytest

from mcc_keras.errors import OutputExistsError, UsageError
from mcc_keras.reporting.rows import format_rows, write_rows

ROWS = [{"run": "a\x1b[2J", "dice": 0.123456789, "note": None}, {"run": "=1+1", "dice": None, "note": "x,y"}]


def test_a_table_is_aligned_and_spells_out_control_characters():
    assert format_rows(ROWS) == [
        "run         dice  note",
        "a\\x1b[2J  0.1235  -",
        "=1+1           -  x,y",
    ]


def test_a_csv_file_holds_the_rows_without_live_formulas(tmp_path):
    with open(write_rows(ROWS, tmp_path / "runs.csv"), newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [
            {"run": "a\\x1b[2J", "dice": "0.123457", "note": ""}, {"run": "'=1+1", "dice": "", "note": "x,y"}
        ]  # fmt: skip


def test_nothing_is_replaced_without_being_asked_for(tmp_path):
    path = write_rows(ROWS, tmp_path / "runs.csv")
    with pytest.raises(OutputExistsError, match="a file"):
        write_rows(ROWS, path)
    with pytest.raises(OutputExistsError, match="a folder"):
        write_rows(ROWS, tmp_path, overwrite=True)
    with pytest.raises(UsageError, match="must not be an input"):
        write_rows(ROWS, path, inputs=[path], overwrite=True)
    assert write_rows(ROWS[:1], path, overwrite=True).read_text().count("\n") == 2
