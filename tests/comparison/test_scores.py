import numpy as np
import pytest
from planted_results import SPLITS, design, result, row

from mcc_keras.comparison.scores import PRIMARY, build_table, cell_score, check_measure
from mcc_keras.errors import UsageError


def test_a_patient_counts_once_by_the_mean_of_scans_and_classes():
    rows = [row("a1", 0.4, "a"), row("a2", 0.8, "a"), row("b", 0.9), row("b", 0.7, name="cyst")]
    results = dict(result(arm, 0, 0, *rows) for arm in ("mcc", "dice"))
    table = build_table(design(seeds=(0,)), SPLITS, results)
    assert (table.patients[0], table.folds) == (("a", "b"), (0,))
    np.testing.assert_allclose(table.of_patients("mcc"), [0.6, 0.8])
    np.testing.assert_allclose(table.cells, [[0.7], [0.7]])


def test_a_case_without_the_organ_is_a_blank_in_no_mean():
    rows = [row("a", 0.4), row("b", None, counted_as="correctly empty")]
    results = dict(result(arm, 0, 0, *rows) for arm in ("mcc", "dice"))
    np.testing.assert_allclose(build_table(design(seeds=(0,)), SPLITS, results).cells, [[0.4], [0.4]])


def test_a_cell_that_diverged_counts_as_one_that_finds_nothing():
    rows = [row("a", 0.4), row("b", None, counted_as="false alarm")]
    results = dict([result("mcc", 0, 0, *rows), result("dice", 0, 0, state="diverged")])
    table = build_table(design(seeds=(0,)), SPLITS, results)
    np.testing.assert_allclose(table.of_patients("dice"), [0.0, np.nan])
    assert cell_score(results["dice", 0, 0], "dice") == 0.0


def test_a_seed_without_all_arms_is_in_no_comparison_and_a_fold_that_only_diverged_neither():
    results = dict(
        [
            *(result(arm, 0, 0, row("a", 0.5)) for arm in ("mcc", "dice")),
            result("mcc", 0, 1, row("a", 0.9)),
            result("dice", 0, 1, state="failed"),
            *(result(arm, 1, 0, state="diverged") for arm in ("mcc", "dice")),
        ]
    )
    table = build_table(design(), SPLITS, results)
    assert (table.seeds, table.folds) == (((0,), ()), (0,))
    np.testing.assert_allclose(table.cells, [[0.5], [0.5]])


def test_an_arm_that_is_another_has_its_scores():
    results = dict(result(arm, 0, 0, row("a", value)) for arm, value in (("mcc", 0.5), ("dice", 0.6)))
    table = build_table(design(("mcc", "dice", "gwd"), seeds=(0,)), SPLITS, results)
    np.testing.assert_allclose(table.cells, [[0.5], [0.6], [0.6]])


def test_only_measures_that_count_a_missed_organ_judge_arms():
    assert {"dice", "mcc", "surface_dice"} <= set(PRIMARY)
    for measure in ("precision", "hausdorff_distance_mm", "volume_difference_percent", "dize"):
        with pytest.raises(UsageError, match=measure):
            check_measure(measure)
