import csv
import io

import pytest

from mcc_keras.reporting.plain import cell, columns, printable


@pytest.mark.parametrize(
    "text", ["\x1b[2J", "a\nforged: line", "\x1b]0;title\x07", "\u202eevil", "\udcff", "\x9b31m", "\u2028", "\x7f"]
)
def test_no_control_character_is_left(text):
    assert printable(text).isprintable()
    assert printable(text).isascii()


def test_letters_of_any_language_stay():
    assert printable("Fräulein 大脳 ±") == "Fräulein 大脳 ±"


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1+1", "@SUM(A1)", "\t=1"])
def test_text_that_a_spreadsheet_would_compute_is_quoted(text):
    assert cell(text).startswith("'")
    assert next(csv.reader(io.StringIO(cell(text))))[0][0] == "'"


def test_numbers_stay_numbers():
    assert [float(cell(value)) for value in (-0.5, 3, -7)] == [-0.5, 3, -7]


def test_columns_are_as_wide_as_their_longest_cell_without_control_characters():
    lines = columns([("case", "Dice"), ("a\nb", "0.5")], right=(1,))
    assert lines == ["case  Dice", "a\\nb   0.5"]
