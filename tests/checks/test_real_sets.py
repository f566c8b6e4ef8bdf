"""The doctor on real sets of scans: no false alarm, and what is odd about each is reported.

MCC_KERAS_DATA names a folder with the sets as released: promise12, brats15, Task04_Hippocampus, sarcoma, spinal_cord,
spleen_ct, nrrd.
"""

import os
from pathlib import Path

import pytest

from mcc_keras.checks import check_cases
from mcc_keras.datasets import find_cases

# What must be reported of a set: (kind, cases, words). Strong anisotropy is reported where there is any.
EXPECTED = {
    "promise12": [("warning", "all", "one spacing, 1.22 x 1.22 x 3.6 mm"), ("note", "all", "intensities of T2 differ")],
    "brats15": [
        ("note", "all", "columns kept with the cases: grade"),
        ("note", "all", "the background of Flair is one constant that is not 0 (-"),
        ("note", "all", "the background of T1c is one constant that is not 0 (-"),
    ],
    "Task04_Hippocampus": [("note", "all", "(maxima from 112 to 1,704,295")],
    "sarcoma": [],
    "spinal_cord": [("note", "all", "the orientations differ")],
    "spleen_ct": [],
    "nrrd": [("note", "all", "the orientations differ"), ("note", "all", "intensities of image differ")],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_real_set_raises_no_false_alarm_and_its_oddities_are_reported(name):
    folder = Path(os.environ.get("MCC_KERAS_DATA", ""), name)
    if "MCC_KERAS_DATA" not in os.environ or not folder.is_dir():
        pytest.skip(f"no {name} here: set MCC_KERAS_DATA to the folder that holds it")
    report = check_cases(find_cases(folder), pictures=False).raise_for_errors()
    found = [row for row in report.table() if "strong anisotropy" not in row[2]]
    assert len(found) == len(EXPECTED[name])
    for kind, cases, words in EXPECTED[name]:
        assert any(row[0] == kind and row[1] == [cases] and words in row[2] for row in found), str(report)
