"""The files of an evaluation: scores.csv, summary.json, report.html; calibration.csv where there are probabilities."""

import csv
import dataclasses
import io
import os
from pathlib import Path

from mcc_keras.documents import to_text
from mcc_keras.errors import OutputExistsError
from mcc_keras.evaluation.calibration import Bin
from mcc_keras.evaluation.scores import CALIBRATION, CSV, REPORT, SCHEMA, SUMMARY, column_names
from mcc_keras.files import refuse_impossible_output, refuse_output_that_is_input
from mcc_keras.publishing import replaced_folder
from mcc_keras.reporting.plain import cell

COMMAND = "scores"  # evaluate and score may replace the output of each other


def refuse_output(folder, *, inputs, overwrite):
    """Return the path of a folder that scores may be written to.

    Args:
        folder: The folder.
        inputs: Files and folders that are read; the folder must not be one of them or hold one.
        overwrite: Whether the scores of an earlier evaluation may be replaced.

    Raises:
        UsageError: The folder is an input, or holds one.
        OutputExistsError: Scores are there already, or a file.
    """
    folder = Path(folder)
    refuse_impossible_output(folder)
    if os.path.lexists(folder) and not folder.is_dir():
        raise OutputExistsError(folder, "a file", "Choose another output.")
    refuse_output_that_is_input(folder, inputs)
    if not overwrite and any(os.path.lexists(folder / name) for name in (CSV, SUMMARY, REPORT)):
        raise OutputExistsError(
            folder, "the scores of an earlier evaluation", "Allow overwriting, or choose an output."
        )
    return folder


def write_scores(scores, page, *, overwrite=False):
    """Write the files of `Scores` in one step; other files in a folder of earlier scores stay."""
    files = {CSV: _table(scores), SUMMARY: to_text(scores.summary, schema=SCHEMA), REPORT: page}
    if scores.summary.calibration is not None:
        files[CALIBRATION] = _calibration_table(scores.summary.calibration)
    with replaced_folder(scores.folder, command=COMMAND, overwrite=overwrite) as aside:
        for name, content in files.items():
            (aside / name).write_text(content, encoding="utf-8")


def _table(scores):
    text = io.StringIO()
    names = column_names(scores)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(cell, names))
    writer.writerows([cell(row[name]) for name in names] for row in scores)
    return text.getvalue()


def _calibration_table(calibration):
    """One line for each class, temperature and bin; temperature 1 is the network as it is."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("class", "temperature", *(field.name for field in dataclasses.fields(Bin))))
    for each in calibration.classes:
        for temperature, bins in ((1.0, each.bins), (calibration.temperature, each.bins_with_temperature)):
            writer.writerows(map(cell, (each.name, temperature, *dataclasses.astuple(one))) for one in bins)
    return text.getvalue()
