"""Rules over all cases, on rows written by hand."""

import pytest

from mcc_keras.checks.whole_set import compare
from mcc_keras.task import Task

TASK = Task(labels=((1,), (2,)), channel_names=("T1",))
CHANNEL = {"p1": 0.0, "p99": 100.0, "max": 120.0, "background": 0.0}
ROW = {
    "group": None,
    "foreground_ml": 10.0,
    "foreground_fraction": 0.1,
    "spacing_mm": (1.0, 1.0, 2.0),
    "shape": (20, 20, 10),
    "labels": {0: 1, 1: 1, 2: 1},
    "orientation": "RAS",
    "channels": (CHANNEL,),
}


def rows(count, **changes):
    """So many good rows, of which the last differs."""
    made = [{**ROW, "case": f"c{n}", "group": f"p{n}", "image_hash": n, "mask_hash": n} for n in range(count)]
    made[-1] |= changes
    return made


def texts(found):
    return [(finding.kind, finding.case_id, finding.text) for finding in found[1]]


def test_cases_alike_are_not_mentioned():
    assert compare(rows(10), TASK) == ([], [])


def test_the_same_voxels_under_two_patients_are_an_error_and_under_one_a_warning():
    errors, findings = compare(rows(3, image_hash=0), TASK)
    assert "found the same voxels in c0, c2" in str(errors[0])
    assert findings[0].kind == "error"
    assert texts(compare(rows(3, image_hash=0, group="p0"), TASK)) == [
        ("warning", "c0", "the same image, voxel by voxel, as c0, c2")
    ]
    assert texts(compare(rows(3, mask_hash=1), TASK)) == [("warning", "c1", "the same mask, voxel by voxel, as c1, c2")]


@pytest.mark.parametrize(("times", "found"), [(2.9, 0), (3.1, 1), (1 / 3.1, 1)])
def test_a_volume_three_times_the_median_is_far_where_the_others_are_equal(times, found):
    assert len(compare(rows(8, foreground_ml=10.0 * times), TASK)[1]) == found
    assert compare(rows(7, foreground_ml=10.0 * times), TASK)[1] == []  # too few to compare


@pytest.mark.parametrize(("count", "found"), [(10, 1), (9, 0)])
def test_a_label_that_at_most_a_tenth_lack_is_named(count, found):
    missing = [
        text for text in texts(compare(rows(count, labels={0: 1, 1: 1}), TASK)) if "no voxel of label 2" in text[2]
    ]
    assert len(missing) == found


def test_a_label_that_no_mask_holds_is_named_once():
    made = [{**row, "labels": {0: 1, 1: 1}} for row in rows(3)]
    assert texts(compare(made, TASK)) == [("warning", "", "no mask holds the label 2")]


def test_orientations_that_differ_are_noted():
    assert texts(compare(rows(2, orientation="LPS"), TASK)) == [
        ("note", "", "the orientations differ (LPS, RAS); they are turned to RAS inside")
    ]


@pytest.mark.parametrize(("factor", "found"), [(9, 0), (11, 1)])
def test_intensities_ten_times_as_wide_are_noted(factor, found):
    wide = {**CHANNEL, "p99": 100.0 * factor, "max": 120.0 * factor}
    notes = texts(compare(rows(2, channels=(wide,)), TASK))
    assert len(notes) == found
    assert all(f"differ by a factor of {factor}" in text for _, _, text in notes)


def test_a_background_that_is_not_0_is_noted():
    made = [{**row, "channels": ({**CHANNEL, "background": -3.0},)} for row in rows(2)]
    assert texts(compare(made, TASK)) == [
        ("note", "", "the background of T1 is one constant that is not 0 (-3) in 2 cases")
    ]
