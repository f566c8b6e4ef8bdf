"""Dicts with the same keys as a table: on a terminal, and as a CSV file."""

import csv
import io
from pathlib import Path

from mcc_keras.errors import EnvironmentFailure, OutputExistsError
from mcc_keras.files import CHOOSE_ANOTHER, refuse_impossible_output, refuse_output_that_is_input, write_text
from mcc_keras.reporting.plain import cell, columns

DIGITS = 4


def format_rows(rows):
    """Return dicts as lines of text with aligned columns; numbers have four digits and are aligned to the right.

    Example:

    >>> format_rows([{"run": "a", "best_dice": 0.83333, "seed": None}, {"run": "b", "best_dice": 0.5, "seed": 7}])
    ['run  best dice  seed', 'a       0.8333     -', 'b          0.5     7']
    """
    names = list(rows[0])
    lines = [[name.replace("_", " ") for name in names], *([_text(row[name]) for name in names] for row in rows)]
    right = [index for index, name in enumerate(names) if not any(isinstance(row[name], str) for row in rows)]
    return columns(lines, right=right)


def write_rows(rows, path, *, inputs=(), overwrite=False):
    """Write dicts as a CSV file in UTF-8 and return its path.

    Args:
        rows: Dicts with the same keys, at least one.
        path: The file.
        inputs: Files that must not be replaced.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputExistsError: The file exists.
        UsageError: It is one of the inputs.
        EnvironmentFailure: It cannot be written.
    """
    path = Path(path)
    refuse_impossible_output(path)
    refuse_output_that_is_input(path, inputs)
    if path.is_dir():
        raise OutputExistsError(path, "a folder", "Choose another name.")
    if path.exists() and not overwrite:
        raise OutputExistsError(path, "a file", CHOOSE_ANOTHER)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(cell, rows[0]))
    writer.writerows(map(cell, row.values()) for row in rows)
    try:
        return write_text(path, text.getvalue())
    except OSError as error:
        raise EnvironmentFailure(f"{path}: cannot be written ({error.strerror}).") from error


def _text(value):
    if value is None:
        return "-"
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)
