"""`mcc-keras runs`."""

from pathlib import Path

import mcc_keras as mk
from mcc_keras.cli.options import add_overwrite
from mcc_keras.errors import printable
from mcc_keras.reporting.rows import format_rows, write_rows

SUMMARY = "list the runs below a folder: state, settings that differ, best validation Dice"


def add_arguments(parser):
    parser.add_argument("folder", metavar="FOLDER", help="folder that holds runs, at any depth")
    parser.add_argument("--csv", metavar="FILE", help="also write the table as CSV")
    add_overwrite(parser)


def run(folder, csv, overwrite):
    rows = mk.list_runs(folder)
    if csv:
        files = [path for row in rows for path in (Path(folder) / row["run"]).glob("*")]
        write_rows(rows, csv, inputs=files, overwrite=overwrite)
    shown = [{name: value for name, value in row.items() if name != "problem"} for row in rows]
    problems = (printable(f"{row['run']}: {row['problem']}") for row in rows if row["problem"])
    print("\n".join([*format_rows(shown), *problems]))
