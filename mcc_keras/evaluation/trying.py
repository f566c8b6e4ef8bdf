"""`try_mask_options`: better ways from probabilities to masks, measured on the validation part and stored in the run.

Each option is tried in its turn on what was taken before it. Of its settings the best one is taken if its mean Dice is
higher by more than two standard errors of the paired difference; the test part is never looked at.
"""

import dataclasses
import itertools

import numpy as np
from isal import igzip
from tqdm import tqdm

from mcc_keras.datasets.cases import read_image, read_mask
from mcc_keras.errors import UsageError
from mcc_keras.evaluation.evaluate import find_part
from mcc_keras.runs.mask_options import MaskOptions, StoredOptions, Trial, name_flips, write_mask_options
from mcc_keras.runs.run import read_run
from mcc_keras.segmentation.cleaning import clean
from mcc_keras.segmentation.segment import arrays_of, parse_window

OPTIONS = ("flips", "threshold", "largest-component", "smallest")
THRESHOLDS = (0.2, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8)
SMALLEST_MM3 = (10.0, 30.0, 100.0, 300.0, 1000.0)
STANDARD_ERRORS = 2
LEAST_CASES = 3


@dataclasses.dataclass(frozen=True)
class TriedOptions:
    """What `try_mask_options` found; `str(found)` is a table.

    Args:
        stored: `StoredOptions`, as `segmenter.json` holds them.
        path: The file.
    """

    stored: StoredOptions
    path: object

    def __str__(self):
        """Return one line for each setting that was measured."""
        trials, lines = self.stored.trials, []
        for trial in trials:
            names = ", ".join(f"{name}={_shown(name, value)}" for name, value in trial.options.items())
            gain = f"{trial.gain:+.4f} ± {trial.standard_error:.4f}"
            lines.append(f"{names:<32} Dice {trial.dice:.4f}  {gain}{'  taken' if trial.taken else ''}")
        taken = sum(trial.taken for trial in trials)
        cases = f"{self.stored.cases} validation cases, Dice {self.stored.dice_before:.4f} as trained"
        return "\n".join([*lines, f"{len(trials)} settings tried on {cases}; {taken} taken: {self.path}"])


def try_mask_options(run, options=OPTIONS, *, window_size=None):
    """Measure ways from probabilities to masks on the validation part and keep those that gain in the run.

    `segment`, `evaluate` and `export_saved_model` then use them. The Dice of a case is the mean over classes; a class
    that neither mask has counts 1, so that false alarms count.

    Args:
        run: Run folder, or a `Run`.
        options: Some of `"flips"`, `"threshold"` (of a single class), `"largest-component"` and `"smallest"`, in the
            order in which they are tried.
        window_size: Size of the windows to measure in, as for `segment`, for less memory; it is not kept in the run.

    Returns:
        A `TriedOptions`; `print` it.

    Raises:
        RunError: The folder holds no finished run.
        UsageError: An unknown option, a validation part of fewer than 3 cases, or windows as for `segment`.
        MemoryFailure: The memory does not hold a case.

    Example:

    >>> try_mask_options("run", ["speed"])
    Traceback (most recent call last):
    mcc_keras.errors.UsageError: `options` must be some of flips, threshold, largest-component, smallest. Received: ...
    """
    options = tuple(options)
    if not options or not set(options) <= set(OPTIONS):
        raise UsageError(f"`options` must be some of {', '.join(OPTIONS)}. Received: {', '.join(options) or 'none'}.")
    run = read_run(run)
    cases = find_part(run, "validation")
    if len(cases) < LEAST_CASES:
        raise UsageError(
            f"The validation part must have {LEAST_CASES} cases or more to choose by. Received: {len(cases)}."
        )
    predictions = _Predictions(run, cases, parse_window([run], window_size))
    current = MaskOptions(flip_axes=run.recipe.flip_axes)
    trials, before = [], None
    for option in options:
        candidates = _candidates(option, current, run)
        if not candidates:
            continue
        first, *others = _score(predictions, [current, *candidates])
        before = first if before is None else before
        gains = [scores - first for scores in others]
        errors = [gain.std(ddof=1) / np.sqrt(gain.size) for gain in gains]
        best = int(np.argmax([gain.mean() for gain in gains]))
        taken = gains[best].mean() > STANDARD_ERRORS * errors[best]
        for number, (candidate, scores) in enumerate(zip(candidates, others, strict=True)):
            trial = Trial(
                options=_differences(candidate, current),
                dice=float(scores.mean()),
                gain=float(gains[number].mean()),
                standard_error=float(errors[number]),
                taken=bool(taken and number == best),
            )
            trials.append(trial)
        current = candidates[best] if taken else current
    if before is None:
        raise UsageError(f"`options` must fit a run of several classes. Received: {', '.join(options)}.")
    if current.flip_axes == run.recipe.flip_axes:
        current = dataclasses.replace(current, flip_axes=None)
    stored = StoredOptions(options=current, cases=len(cases), dice_before=float(before.mean()), trials=tuple(trials))
    return TriedOptions(stored, write_mask_options(stored, run.folder))


def _candidates(option, current, run):
    """Return the `MaskOptions` to compare with the current ones."""
    if option == "flips":
        choices = [(), *((axis,) for axis in range(3)), *itertools.combinations(range(3), 2), (0, 1, 2)]
        return [dataclasses.replace(current, flip_axes=axes) for axes in choices if axes != current.flip_axes]
    if option == "threshold":
        choices = [value for value in THRESHOLDS if value != current.threshold] if run.task.num_classes == 1 else []
        return [dataclasses.replace(current, threshold=value) for value in choices]
    if option == "largest-component":
        return [dataclasses.replace(current, largest_component=True)]
    return [dataclasses.replace(current, smallest_mm3=value) for value in SMALLEST_MM3]


class _Predictions:
    """What a run predicts for its validation cases, each of them segmented once with the same flips.

    A voxel is kept as one byte, compressed: its class, or how many of the thresholds a probability reaches.
    """

    def __init__(self, run, cases, window_size):
        self.run, self.cases, self.window_size, self.codes = run, cases, window_size, {}
        self.levels = np.float32(THRESHOLDS)

    def codes_of(self, flip_axes, place, image):
        """Return the codes (x, y, z) of a case by its place in the list."""
        key = (flip_axes, place)
        if key not in self.codes:
            self.codes[key] = igzip.compress(self._predict(flip_axes, image).tobytes(), 1)
        return np.frombuffer(igzip.decompress(self.codes[key]), np.uint8).reshape(image.shape)

    def mask_of(self, codes, threshold):
        """Return the classes, uint8 (x, y, z)."""
        if self.run.task.num_classes > 1:
            return codes
        return (codes > THRESHOLDS.index(threshold)).astype(np.uint8)

    def _predict(self, flip_axes, image):
        from mcc_keras.segmentation.memory import enough_memory  # here, so that no refusal waits for TensorFlow
        from mcc_keras.segmentation.segmenter import load_segmenter

        segmenter = load_segmenter(self.run, flip_axes=flip_axes, window_size=self.window_size)
        with enough_memory(segmenter, image, probability=True):
            probability = segmenter.answer(*arrays_of(image))["probability"].numpy()
            if self.run.task.num_classes > 1:
                return probability.argmax(-1).astype(np.uint8)
            return np.searchsorted(self.levels, probability[..., 0], side="right").astype(np.uint8)


def _score(predictions, candidates):
    """Return the Dice of each case, (candidates, cases), for some `MaskOptions`."""
    run, cases = predictions.run, predictions.cases
    scores, groups = np.zeros((len(candidates), len(cases))), {}
    for number, candidate in enumerate(candidates):
        groups.setdefault(candidate.flip_axes, []).append(number)
    bar = tqdm(total=len(groups) * len(cases), desc="trying", unit="scan", leave=False, disable=None)
    for flip_axes, numbers in groups.items():
        for place, case in enumerate(cases):
            image = read_image(case)
            truth, codes = read_mask(case, image), predictions.codes_of(flip_axes, place, image)
            for number in numbers:
                found = predictions.mask_of(codes, candidates[number].threshold)
                found = clean(found, **candidates[number].graph_free, spacing_mm=image.spacing_mm)
                scores[number, place] = mean_dice(truth, found, len(run.task.labels))
            bar.update()
    bar.close()
    return scores


def mean_dice(truth, found, classes):
    """Return the mean Dice over the classes 1 … `classes` of two masks; 1 for a class that neither has.

    Example:

    >>> mean_dice(np.uint8([0, 1, 1]), np.uint8([0, 1, 0]), 2)
    0.8333333333333333
    """
    values = []
    for number in range(1, classes + 1):
        one, other = truth == number, found == number
        total = np.count_nonzero(one) + np.count_nonzero(other)
        values.append(2 * np.count_nonzero(one & other) / total if total else 1.0)
    return float(np.mean(values))


def _differences(candidate, current):
    return {
        field.name: getattr(candidate, field.name)
        for field in dataclasses.fields(MaskOptions)
        if getattr(candidate, field.name) != getattr(current, field.name)
    }


def _shown(name, value):
    return name_flips(value) if name == "flip_axes" else value
