"""Beside the same computed voxel by voxel, and scikit-learn's `calibration_curve`."""

import numpy as np
import pytest
from scipy import ndimage, optimize
from sklearn.calibration import calibration_curve

from mcc_keras.evaluation.calibration import (
    BINS,
    add_histograms,
    calibrate,
    count_case,
    count_voxels,
    crop_probabilities,
    fit_temperature,
)

SHAPE, AFFINE = (40, 36, 14), np.diag([1.5, 2.0, 4.0, 1.0])
CLASSES = {"liver": (1,), "tumor": (2,), "both": (1, 2)}


def random_case(seed, *, channels):
    """Return truth, predicted class numbers and probabilities of an overconfident network."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(*SHAPE, 3)), (2.5, 2.5, 1.5, 0))
    noise = noise / noise.std() - (0, 1.5, 2)
    logits = 8 * noise + 2 * rng.normal(size=noise.shape)
    if channels == 1:
        probability = 1 / (1 + np.exp(-logits[..., 1:2]))
        predicted = (probability[..., 0] >= 0.5).astype(np.uint8)
        truth = (noise[..., 1] + 0.5 * rng.normal(size=SHAPE) > 0).astype(np.uint8)
    else:
        probability = np.exp(logits - logits.max(-1, keepdims=True))
        probability /= probability.sum(-1, keepdims=True)
        predicted = probability.argmax(-1).astype(np.uint8)
        truth = (noise + 0.5 * rng.normal(size=noise.shape)).argmax(-1).astype(np.uint8)
    return truth, predicted, probability.astype(np.float32)


def voxels_of(case, numbers):
    """Return probability and truth of every voxel within 10 mm of a class, by the distance transform."""
    truth, predicted, probability = case
    true, either = np.isin(truth, numbers), np.isin(truth, numbers) | np.isin(predicted, numbers)
    near = ndimage.distance_transform_edt(~either, sampling=(1.5, 2.0, 4.0)) <= 10
    first = 1 if probability.shape[-1] == 1 else 0
    p = sum(probability[..., number - first].astype(np.float64) for number in numbers)
    return p[near], true[near]


def count(case, classes):
    truth, predicted, probability = case
    crop = crop_probabilities(truth, predicted, probability, AFFINE)
    return count_case(truth, predicted, crop, affine=AFFINE, classes=classes)


def brute_force_error(p, truth):
    bins = np.minimum((p * BINS).astype(int), BINS - 1)
    parts = [(bins == index) for index in range(BINS)]
    return sum(part.mean() * abs(p[part].mean() - truth[part].mean()) for part in parts if part.any())


@pytest.fixture(scope="module", params=[1, 3])
def cases(request):
    return [random_case(seed, channels=request.param) for seed in range(3)]


@pytest.fixture
def classes(cases):
    return {"organ": (1,)} if cases[0][2].shape[-1] == 1 else CLASSES


def test_the_error_is_that_of_all_voxels_within_10_mm(cases, classes):
    found = calibrate(add_histograms(count(case, classes) for case in cases), names=classes)
    for each, numbers in zip(found, classes.values(), strict=True):
        p, truth = map(np.concatenate, zip(*(voxels_of(case, numbers) for case in cases), strict=True))
        assert (each.voxels, each.error_with_temperature) == (p.size, None)
        assert each.error == pytest.approx(brute_force_error(p, truth), abs=1e-6)
        assert each.error > 0.02


def test_the_bins_are_the_curve_of_scikit_learn(cases, classes):
    for each, numbers in zip(calibrate(count(cases[0], classes), names=classes), classes.values(), strict=True):
        p, truth = voxels_of(cases[0], numbers)
        share, mean = calibration_curve(truth, np.minimum(p, 1), n_bins=BINS)
        held = [one for one in each.bins if one.voxels]
        np.testing.assert_allclose([one.mean_probability for one in held], mean, atol=1e-6)
        np.testing.assert_allclose([one.true_share for one in held], share, atol=1e-6)


def test_the_temperature_and_the_error_with_it_are_those_of_all_voxels(cases, classes):
    histograms = add_histograms(count(case, classes) for case in cases)
    single = [name for name, numbers in classes.items() if len(numbers) == 1]
    temperature = fit_temperature([histograms[name] for name in single])
    voxels = [voxels_of(case, classes[name]) for case in cases for name in single]
    p, truth = map(np.concatenate, zip(*voxels, strict=True))
    logit = np.log(np.clip(p, 1e-7, 1 - 1e-7)) - np.log1p(-np.clip(p, 1e-7, 1 - 1e-7))

    def cross_entropy(log_temperature):
        return np.mean(np.logaddexp(0, np.where(truth, -1, 1) * logit / np.exp(log_temperature)))

    expected = np.exp(optimize.minimize_scalar(cross_entropy, bounds=(-3, 3), method="bounded").x)
    assert temperature == pytest.approx(expected, rel=1e-3)
    assert temperature > 1.5  # overconfident
    for each in calibrate(histograms, names=classes, temperature=temperature):
        p, truth = map(np.concatenate, zip(*(voxels_of(case, classes[each.name]) for case in cases), strict=True))
        p = np.clip(p, 1e-7, 1 - 1e-7)
        scaled = 1 / (1 + np.exp(-np.log(p / (1 - p)) / temperature))
        assert each.error_with_temperature == pytest.approx(brute_force_error(scaled, truth), abs=2e-3)
        assert sum(one.voxels for one in each.bins_with_temperature) == each.voxels
        assert len(single) > 1 or each.error_with_temperature < each.error


def test_no_temperature_changes_a_mask(cases):
    probability = cases[0][2].astype(np.float64)
    scaled = 1 / (1 + (1 / probability - 1) ** (1 / 1.7))
    if probability.shape[-1] == 1:
        np.testing.assert_array_equal(scaled >= 0.5, probability >= 0.5)
    else:
        np.testing.assert_array_equal(scaled.argmax(-1), probability.argmax(-1))


def test_histograms_add_up_and_stay_small(cases, classes):
    apart = add_histograms([count(cases[0], classes), {}, count(cases[1], classes)])
    for name, numbers in classes.items():
        p, truth = map(np.concatenate, zip(*(voxels_of(case, numbers) for case in cases[:2]), strict=True))
        np.testing.assert_allclose(apart[name].coarse, count_voxels(p, truth).coarse, rtol=1e-5, atol=1e-2)
        assert apart[name].coarse.nbytes + apart[name].fine.nbytes < 100_000


def test_only_the_box_around_the_masks_leaves_the_segmenter():
    probability = np.full((100, 90, 80, 2), 0.5, np.float32)
    truth = np.zeros(probability.shape[:3], np.uint8)
    assert crop_probabilities(truth, truth, probability, np.eye(4)) is None
    truth[50, 40, 30] = 1
    crop = crop_probabilities(truth, truth, probability, np.eye(4))
    assert crop.array.shape == (21, 21, 21, 2) and crop.array.base is None


def test_a_class_that_is_nowhere_has_no_error():
    truth = np.zeros((9, 9, 9), np.uint8)
    crop = crop_probabilities(truth, truth, np.zeros((9, 9, 9, 1), np.float32), np.eye(4))
    counted = count_case(truth, truth, crop, affine=np.eye(4), classes={"organ": (1,)})
    (found,) = calibrate(counted, names=["organ"], temperature=2.0)
    assert (counted, found.voxels, found.error, found.error_with_temperature) == ({}, 0, None, None)
    assert fit_temperature([]) is None


@pytest.mark.parametrize("p", [0.0, 1.0, 1 - 2**-24, 1e-45, 1 / 15, 0.2])
def test_probabilities_at_the_ends_are_counted_once(p):
    counted = count_voxels(np.full(3, p, np.float32), np.array([True, False, True]))
    assert counted.coarse[0].sum() == counted.fine[0].sum() == 3
    assert np.isfinite(counted.fine).all()
