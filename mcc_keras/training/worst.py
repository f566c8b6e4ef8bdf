"""The validation cases that the kept epoch of a training segments worst, with pictures."""

import contextlib
import itertools
import time
from typing import NamedTuple

import keras
import numpy as np

from mcc_keras.pipeline.arrays import read_arrays
from mcc_keras.reporting.plots import find_slices
from mcc_keras.reporting.thumbnails import draw
from mcc_keras.segmentation.segmenter import THRESHOLD
from mcc_keras.training.windows import WindowedNetwork

MOST_CASES = 4
PICTURE = (720, 330)


class WorstCase(NamedTuple):
    """A case of the validation part.

    Args:
        case_id: Its id.
        dice: Mean Dice over the classes that its mask holds; 0 for a false alarm.
        false_alarm: Whether its mask is empty and the network finds something.
        picture: JPEG of three slices of the box, the true outline solid, the predicted one dashed.
    """

    case_id: str
    dice: float
    false_alarm: bool
    picture: bytes


def find_worst(model, manifest, *, batch_size, seconds, window=None, most=MOST_CASES):
    """Return the validation cases with the lowest Dice, the worst first, and how many were segmented.

    Args:
        model: Keras model.
        manifest: `Manifest` with a validation part.
        batch_size: Volumes that are segmented at a time; in windows it is one.
        seconds: After this time no further ones are segmented, once there are `most`.
        window: `Window` in which each volume is segmented, or `None`.
        most: Number of cases.

    Returns:
        List of `WorstCase`s; number of cases they were chosen from.
    """
    classes, found, seen, begun = len(manifest.task.labels), [], 0, time.monotonic()
    cases = read_arrays(manifest, "validation")
    network = WindowedNetwork(model, window) if window else None
    while batch := list(itertools.islice(cases, 1 if window else batch_size)):
        images = [record.image for record in batch]
        predicted = to_classes(network(images[0])[None]) if window else predict_classes(model, np.stack(images))
        for record, mask in zip(batch, predicted, strict=True):
            dice = case_dice(record.mask, mask, classes=classes)
            if not np.isnan(dice):
                found.append((dice, record.case_id, record, mask))
        found, seen = sorted(found, key=lambda each: each[:2])[:most], seen + len(batch)
        if seen >= most and time.monotonic() - begun > seconds:
            break
    return [_drawn(record, mask, dice, num_classes=classes) for dice, _, record, mask in found], seen


def predict_classes(model, images):
    """Return the class of each voxel of images (batch, x, y, z, channels), an integer array (batch, x, y, z)."""
    return to_classes(keras.ops.convert_to_numpy(keras.ops.cast(model(images, training=False), "float32")))


def to_classes(probability):
    """Return the class of each voxel, integers (batch, x, y, z), from probabilities (batch, x, y, z, channels)."""
    if probability.shape[-1] == 1:
        return (probability[..., 0] >= THRESHOLD).astype(np.uint8)
    return probability.argmax(axis=-1).astype(np.uint8)


def case_dice(true, predicted, *, classes):
    """Return the mean Dice over the classes of the true mask; without any, 0 for a false alarm and NaN otherwise.

    Example:

    >>> round(float(case_dice(np.array([0, 1, 1, 2]), np.array([0, 1, 0, 2]), classes=3)), 3)
    0.833
    """
    sizes = np.bincount(true.ravel(), minlength=classes + 1)[1:]
    found = np.bincount(predicted.ravel(), minlength=classes + 1)[1:]
    both = np.bincount(true[true == predicted], minlength=classes + 1)[1:]
    held = sizes > 0
    if not held.any():
        return 0.0 if found.any() else np.nan
    return (2 * both[held] / (sizes + found)[held]).mean()


@contextlib.contextmanager
def weights_of(model, path):
    """Give a model the weights of a file that holds the same network, and its own back at the end.

    Args:
        model: Keras model.
        path: File in Keras' format, without an optimizer.
    """
    before = [np.asarray(variable) for variable in model.variables]
    optimizer, compiled = model.optimizer, model.compiled
    model.optimizer, model.compiled = None, False  # the file holds neither
    try:
        model.load_weights(path)
        yield
    finally:
        model.optimizer, model.compiled = optimizer, compiled
        for variable, value in zip(model.variables, before, strict=True):
            variable.assign(value)


def _drawn(record, predicted, dice, *, num_classes):
    affine = np.diag([*record.spacing_mm, 1.0])
    slices = find_slices(record.image[..., 0], affine, truth=record.mask, predicted=predicted)
    picture = draw(slices, size=PICTURE, num_classes=num_classes)
    return WorstCase(record.case_id, float(dice), not record.mask.any(), picture)
