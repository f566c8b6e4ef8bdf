"""Calibration: whether voxels that are predicted with 80 % hold the class in 80 % of the cases.

The voxels are those within 10 mm of truth or prediction of a class, since the rest of a scan is easy and would hide any
error. They are counted in bins of their probability, case by case; no list of voxels is kept.

A temperature T maps every probability p to 1 / (1 + exp(-logit(p) / T)). It is one number for all classes, and the map
is monotone and leaves 1/2 where it is, so that no mask would change.
"""

import dataclasses

import numpy as np

from mcc_keras.evaluation.nearby import box_around, find_nearby
from mcc_keras.metrics.surface import region

WITHIN_MM = 10.0
BINS = 15
_SMALLEST = 1e-7  # of a probability and of its complement, about what float32 can tell from 1
_FINEST = 0.01  # width of the bins of the logit
_LOGITS = 17.0  # more than the logit of any probability
_FINE = round(2 * _LOGITS / _FINEST)
_BLOCK = 1 << 15  # voxels that fit the cache
_TEMPERATURES = (0.05, 20.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bin:
    """The voxels of one range of probabilities.

    Args:
        low: Lower end, exclusive but for 0.
        high: Upper end, inclusive.
        voxels: Their number.
        mean_probability: Mean of their probabilities; `None` without voxels, as the next.
        true_share: Share of them that holds the class.
    """

    low: float
    high: float
    voxels: int
    mean_probability: float | None
    true_share: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassCalibration:
    """Calibration of one class, or region, over a set of cases.

    Args:
        name: Its name.
        voxels: Number of voxels.
        error: Expected calibration error: mean over voxels of the distance between mean probability and true share of
            their bin; `None` without voxels.
        error_with_temperature: The same with the temperature; `None` without one.
        bins: `Bin`s of the probabilities as predicted.
        bins_with_temperature: `Bin`s with the temperature; empty without one.
    """

    name: str
    voxels: int
    error: float | None
    error_with_temperature: float | None
    bins: tuple[Bin, ...]
    bins_with_temperature: tuple[Bin, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """Calibration of a run on a set of cases.

    Args:
        classes: `ClassCalibration`s.
        temperature: The temperature, fitted on the validation part; `None` where that was not evaluated.
        fitted_here: Whether it was fitted on these very cases.
        model_sha256: Hash of the network, by which a temperature of an earlier one is recognized.
        within_mm: Distance of the voxels from truth or prediction.
    """

    classes: tuple[ClassCalibration, ...]
    temperature: float | None
    fitted_here: bool
    model_sha256: str
    within_mm: float = WITHIN_MM


@dataclasses.dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of voxels, which add up over cases.

    Args:
        coarse: Array (3, 15), for each bin of the probability: voxels, sum of probabilities, voxels with the class.
        fine: Array (3, bins), for each bin of the logit: voxels, sum of logits, voxels with the class.

    Example:

    >>> counted = count_voxels(np.array([0.2, 0.9]), np.array([False, True]))
    >>> (counted + counted).coarse.sum(axis=1).tolist()
    [4.0, 2.2, 2.0]
    """

    coarse: np.ndarray
    fine: np.ndarray

    def __add__(self, other):
        return Histogram(self.coarse + other.coarse, self.fine + other.fine)


def count_voxels(probability, truth):
    """Return the `Histogram` of some voxels.

    Args:
        probability: Array (n,) in [0, 1].
        truth: Boolean array (n,).
    """
    found = Histogram(np.zeros((3, BINS)), np.zeros((3, _FINE)))
    for first in range(0, probability.size, _BLOCK):
        block = slice(first, first + _BLOCK)
        p = np.clip(probability[block].astype(np.float64), 0, 1)
        inside = np.clip(p, _SMALLEST, 1 - _SMALLEST)
        logit = np.log(inside / (1 - inside))
        found.coarse[:] += _sums(_bin_of(p), p, truth[block], BINS)
        found.fine[:] += _sums(((logit + _LOGITS) / _FINEST).astype(np.intp), logit, truth[block], _FINE)
    return found


def _bin_of(probability):
    return np.maximum(np.ceil(probability * BINS).astype(np.intp) - 1, 0)


def _sums(index, values, truth, size):
    sums = (np.bincount(index, minlength=size), np.bincount(index, values, minlength=size))
    return np.array([*sums, np.bincount(index[truth], minlength=size)], np.float64)


@dataclasses.dataclass(frozen=True, eq=False)
class Probabilities:
    """Probabilities of a case in the box around truth and prediction.

    Args:
        box: Slices of the box in the scan.
        array: (x, y, z, channels) float32 in the box; one channel, or background and one for each class.
    """

    box: tuple[slice, ...]
    array: np.ndarray

    def of_classes(self, numbers):
        """Return the probability of any of some classes, given by their numbers from 1."""
        first = 1 if self.array.shape[-1] == 1 else 0
        return sum(self.array[..., number - first] for number in numbers)


def crop_probabilities(truth, predicted, probability, affine):
    """Return the `Probabilities` that `count_case` needs, or `None` where truth and prediction are empty.

    Args:
        truth: Integer array (x, y, z), 0 is background.
        predicted: Integer array of the same shape.
        probability: Array (x, y, z, channels).
        affine: (4, 4), from voxels to millimeters.
    """
    box = box_around((truth > 0) | (predicted > 0), _spacing(affine), WITHIN_MM)
    return None if box is None else Probabilities(box, np.ascontiguousarray(probability[box]))


def count_case(truth, predicted, probabilities, *, affine, classes):
    """Return class name → `Histogram` of the voxels within 10 mm of truth or prediction of the class in one case.

    Args:
        truth: Integer array (x, y, z) of class numbers.
        predicted: Integer array of the same shape.
        probabilities: `Probabilities`, or `None`.
        affine: (4, 4), from voxels to millimeters.
        classes: Name → class numbers.

    Example:

    >>> truth = np.zeros((40, 9, 9), int)
    >>> truth[20, 4, 4] = 1
    >>> p = crop_probabilities(truth, truth, np.full((40, 9, 9, 1), 0.25, np.float32), np.diag([3.0, 12, 12, 1]))
    >>> counted = count_case(truth, truth, p, affine=np.diag([3.0, 12, 12, 1]), classes={"nodule": (1,)})
    >>> counted["nodule"].coarse[:, 3].tolist()
    [7.0, 1.75, 1.0]
    """
    if probabilities is None:
        return {}
    spacing = _spacing(affine)
    truth, predicted = truth[probabilities.box], predicted[probabilities.box]
    found = {}
    for name, numbers in classes.items():
        true, either = region(truth, numbers), region(predicted, numbers)
        either |= true
        box = box_around(either, spacing, WITHIN_MM)
        if box is not None:
            near = find_nearby(either[box], spacing, WITHIN_MM)
            found[name] = count_voxels(probabilities.of_classes(numbers)[box][near], true[box][near])
    return found


def _spacing(affine):
    return np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)


def add_histograms(cases):
    """Return class name → sum of the `Histogram`s of many cases, each a dict as `count_case` returns it."""
    total = {}
    for counted in cases:
        for name, histogram in counted.items():
            total[name] = total[name] + histogram if name in total else histogram
    return total


def fit_temperature(histograms):
    """Return the temperature with the least cross-entropy over the voxels of some `Histogram`s; `None` without any.

    Example:

    >>> p = np.full(10, 0.9)
    >>> half = count_voxels(p, np.arange(10) < 6)  # six of ten: logit(0.9) / logit(0.6) = 5.419
    >>> f"{fit_temperature([half]):.3f}"
    '5.419'
    """
    from scipy.optimize import minimize_scalar  # here, since its import takes long

    total = sum(histogram.fine for histogram in histograms)
    if not np.sum(total):
        return None
    voxels, logits, true = total[:, total[0] > 0]
    logits = logits / voxels

    def cross_entropy(log_temperature):
        scaled = logits / np.exp(log_temperature)
        return np.sum(true * np.logaddexp(0, -scaled) + (voxels - true) * np.logaddexp(0, scaled))

    found = minimize_scalar(cross_entropy, bounds=np.log(_TEMPERATURES), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def calibrate(histograms, *, names, temperature=None):
    """Return the `ClassCalibration` of each class.

    Args:
        histograms: Class name → `Histogram`.
        names: Names of the classes, in order.
        temperature: The temperature for the second error, or `None`.

    Example:

    >>> histogram = count_voxels(np.array([0.9] * 10), np.arange(10) < 6)
    >>> (found,) = calibrate({"a": histogram}, names=["a"], temperature=5.419)
    >>> f"{found.error:.3f} {found.error_with_temperature:.3f}"
    '0.300 0.000'
    """
    nothing = Histogram(np.zeros((3, BINS)), np.zeros((3, _FINE)))
    return tuple(_calibrate(name, histograms.get(name, nothing), temperature) for name in names)


def _calibrate(name, histogram, temperature):
    scaled = None if temperature is None else _with_temperature(histogram.fine, temperature)
    return ClassCalibration(
        name=name,
        voxels=int(histogram.coarse[0].sum()),
        error=expected_error(histogram.coarse),
        error_with_temperature=None if scaled is None else expected_error(scaled),
        bins=_bins(histogram.coarse),
        bins_with_temperature=() if scaled is None else _bins(scaled),
    )


def expected_error(coarse):
    """Return the expected calibration error of the coarse counts of a `Histogram`, or `None` without voxels."""
    voxels, probabilities, true = coarse
    return float(np.abs(probabilities - true).sum() / voxels.sum()) if voxels.sum() else None


def _with_temperature(fine, temperature):
    """Return the coarse counts that the temperature leads to."""
    voxels, logits, true = fine[:, fine[0] > 0]
    p = 1 / (1 + np.exp(-logits / voxels / temperature))
    weights = (voxels, voxels * p, true)
    return np.array([np.bincount(_bin_of(p), weight, minlength=BINS) for weight in weights], np.float64)


def _bins(coarse):
    edges = [index / BINS for index in range(BINS + 1)]
    return tuple(
        Bin(
            low=low,
            high=high,
            voxels=int(voxels),
            mean_probability=float(probabilities / voxels) if voxels else None,
            true_share=float(true / voxels) if voxels else None,
        )
        for low, high, (voxels, probabilities, true) in zip(edges[:-1], edges[1:], coarse.T, strict=True)
    )
