"""Measures against scikit-learn, SimpleITK, MONAI and surface-distance, and their rules for empty masks."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from sklearn.metrics import f1_score, jaccard_score, matthews_corrcoef, precision_score, recall_score

from mcc_keras.errors import UsageError
from mcc_keras.evaluation.measures import MEASURES, OUTCOMES, SCORES, Comparison, Counts, measure_class

SPACING = (0.7, 1.0, 2.5)


def blobs(seed, shape=(20, 18, 12)):
    """Two masks of smooth blobs that overlap."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    other = noise + 0.3 * gaussian_filter(np.random.default_rng(seed + 100).normal(size=shape), 1)
    return noise > np.quantile(noise, 0.8), other > np.quantile(other, 0.8)


def compared(seed, **settings):
    truth, predicted = blobs(seed)
    return truth, predicted, measure_class(Comparison(truth, predicted, np.diag([*SPACING, 1.0]), **settings))


@pytest.mark.parametrize("seed", range(3))
def test_overlap_equals_scikit_learn(seed):
    truth, predicted, found = compared(seed)
    y, p = truth.ravel(), predicted.ravel()
    expected = {"dice": f1_score(y, p), "jaccard": jaccard_score(y, p), "mcc": matthews_corrcoef(y, p)}
    expected |= {"sensitivity": recall_score(y, p), "precision": precision_score(y, p)}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert sum(found[name] for name in ("tp", "fp", "fn", "tn")) == truth.size


@pytest.mark.parametrize("seed", range(3))
def test_overlap_and_volume_equal_simpleitk(seed):
    truth, predicted, found = compared(seed)
    images = [SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in (truth, predicted)]
    overlap = SimpleITK.LabelOverlapMeasuresImageFilter()
    overlap.Execute(images[1], images[0])
    assert found["dice"] == pytest.approx(overlap.GetDiceCoefficient(1), abs=1e-6)
    assert found["jaccard"] == pytest.approx(overlap.GetJaccardCoefficient(1), abs=1e-6)
    assert 1 - found["sensitivity"] == pytest.approx(overlap.GetFalseNegativeError(1), abs=1e-6)
    # ITK's similarity is 2 (P - T) / (P + T).
    difference = 2 * (found["predicted_ml"] - found["true_ml"]) / (found["predicted_ml"] + found["true_ml"])
    assert difference == pytest.approx(overlap.GetVolumeSimilarity(1), abs=1e-6)
    assert found["true_ml"] == pytest.approx(truth.sum() * np.prod(SPACING) / 1000)


@pytest.mark.filterwarnings("ignore:monai:FutureWarning")
def test_surfaces_equal_monai():
    monai = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    truth, predicted, found = compared(0, tolerance_mm=1.2)
    y, p = (torch.tensor(mask[None, None].astype(np.float32)) for mask in (truth, predicted))
    options = {"include_background": True, "spacing": SPACING}
    for name, percentile in (("hausdorff_distance_mm", None), ("hausdorff95_distance_mm", 95)):
        expected = monai.compute_hausdorff_distance(p, y, percentile=percentile, **options).item()
        assert found[name] == pytest.approx(expected, rel=1e-6)
    average = monai.compute_average_surface_distance(p, y, symmetric=True, **options).item()
    assert found["average_surface_distance_mm"] == pytest.approx(average, rel=1e-6)
    dice = monai.compute_surface_dice(p, y, [1.2], **options).item()
    assert found["surface_dice"] == pytest.approx(dice, abs=1e-6)


def test_counts_of_a_volume_of_2_to_the_27_voxels_are_exact():
    counts = Counts(2**24 + 1, 1, 0, 2**27 - 2**24 - 2)
    comparison = Comparison(np.zeros(1, bool), np.zeros(1, bool))
    comparison.__dict__["counts"] = counts
    dice, mcc = (MEASURES[name].value(comparison) for name in ("dice", "mcc"))
    assert dice == (2**25 + 2) / (2**25 + 3)
    assert 1 - mcc == pytest.approx((1 - dice) * 8 / 7, rel=1e-3)


def masks(outcome):
    truth, predicted = np.zeros((2, 4, 4, 4), bool)
    truth[1, 1, 1] = outcome in ("scored", "missed")
    predicted[1, 1, 1] = predicted[1, 1, 2] = outcome in ("scored", "false alarm")
    return truth, predicted


EXPECTED = {
    "scored": {"dice": 2 / 3, "jaccard": 0.5, "sensitivity": 1.0, "precision": 0.5, "surface_dice": 1.0},
    "missed": {"dice": 0.0, "jaccard": 0.0, "mcc": 0.0, "sensitivity": 0.0, "surface_dice": 0.0}
    | {"lesion_sensitivity": 0.0, "lesion_sensitivity_iou": 0.0, "volume_difference_percent": -100.0},
    "false alarm": {},
    "correctly empty": {},
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_empty_masks_follow_the_table(outcome):
    comparison = Comparison(*masks(outcome))
    found = {name: measure.value(comparison) for name, measure in MEASURES.items() if measure.better}
    assert comparison.outcome == outcome
    known = EXPECTED[outcome]
    assert {name: found[name] for name in known} == pytest.approx(known)
    if outcome != "scored":
        assert {name for name, value in found.items() if value is not None} == set(known)


def test_the_mcc_of_a_truth_that_fills_the_scan_is_blank():
    full = np.ones((3, 3, 3), bool)
    assert MEASURES["mcc"].value(Comparison(full, full)) is None
    assert MEASURES["dice"].value(Comparison(full, full)) == 1.0


def test_lesions_are_counted_by_hand():
    truth, predicted = np.zeros((2, 12, 12, 5), np.uint8)
    truth[1:3, 1:3, 1:3] = 1  # found exactly
    truth[6, 6, 2] = truth[7, 7, 3] = 1  # one lesion: its voxels touch at a corner; one voxel of it is found
    truth[10, 1, 1] = 1  # missed
    predicted[1:3, 1:3, 1:3] = predicted[6:12, 6, 2] = 1
    predicted[1, 10, 1] = 1  # false
    found = measure_class(Comparison(truth > 0, predicted > 0))
    assert {name: found[f"{name}_lesions"] for name in ("true", "predicted", "detected", "detected_iou", "false")} == {
        "true": 3, "predicted": 3, "detected": 2, "detected_iou": 2, "false": 1
    }  # fmt: skip
    assert (found["lesion_sensitivity"], found["lesion_precision"]) == pytest.approx((2 / 3, 2 / 3))
    larger = measure_class(Comparison(truth > 0, predicted > 0, smallest_lesion_mm3=2))
    assert (larger["true_lesions"], larger["predicted_lesions"], larger["false_lesions"]) == (2, 2, 0)


def test_a_lesion_that_a_large_prediction_only_touches_has_too_little_iou():
    truth, predicted = np.zeros((2, 1, 1, 30), bool)
    truth[..., :2] = predicted[..., 1:21] = True
    found = measure_class(Comparison(truth, predicted))
    assert (found["detected_lesions"], found["detected_iou_lesions"]) == (1, 0)


def test_masks_of_different_shapes_are_not_compared():
    with pytest.raises(UsageError, match=r"truth.shape=\(2, 2\), predicted.shape=\(2, 3\)"):
        Comparison(np.zeros((2, 2), bool), np.zeros((2, 3), bool))


def test_the_readme_lists_every_score_with_its_value_for_a_missed_organ():
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    missed = Comparison(*masks("missed"))
    for name, measure in SCORES.items():
        value = measure.value(missed)
        text = "blank" if value is None else f"{value:g}"
        assert f"| `{name}` | {measure.meaning} | {measure.better} | {text} |" in readme
