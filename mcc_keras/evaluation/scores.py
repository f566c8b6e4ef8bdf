"""Scores of one class in one case, of a set of cases, and their table.

What is counted where a mask is empty (each class by itself):

    | truth   | prediction | Dice, MCC, sensitivity | precision | volume difference | counted as      |
    |---------|------------|------------------------|-----------|-------------------|-----------------|
    | organ   | organ      | by their formulas      | formula   | formula           | scored          |
    | organ   | nothing    | 0                      | blank     | −100 %            | missed          |
    | nothing | something  | blank                  | blank     | blank             | false alarm     |
    | nothing | nothing    | blank                  | blank     | blank             | correctly empty |

Blanks are left out of every mean, so means are over the cases whose truth holds the class (precision: over those where
something was predicted as well). The cases without it are counted, and their false-positive voxels reported apart. A
truth that fills the whole scan has a blank MCC.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcc_keras.errors import UsageError

SCORES, SUMMARY, REPORT = "scores.csv", "summary.json", "report.html"
MEASURES = ("dice", "mcc", "sensitivity", "precision", "volume_difference_percent")


@dataclass(frozen=True, eq=False)
class Scores:
    """What `evaluate` found; `str(scores)` is a table to read.

    Args:
        rows: One dict a case and foreground class, the columns of scores.csv; a blank is None.
        summary: The contents of summary.json.
        folder: Where scores.csv, summary.json and report.html lie.
    """

    rows: tuple
    summary: dict
    folder: Path

    @property
    def scores_path(self):
        return self.folder / SCORES

    @property
    def report_path(self):
        return self.folder / REPORT

    def mean(self, measure="dice"):
        """Mean over the cases whose truth holds the class, and over the classes; None where there are none."""
        means = [group[measure]["mean"] for group in self.summary["classes"] if group[measure]["mean"] is not None]
        return sum(means) / len(means) if means else None

    def to_text(self):
        """Return the scores as a table to read."""
        return _text(self)

    __str__ = to_text


def score_counts(tp, fp, fn, tn):
    """Compute the scores of one class in one case from its voxel counts, by the table of this module.

    Dice = 2·TP / (2·TP + FP + FN), MCC = (TP·TN − FP·FN) / √((TP+FP)(TP+FN)(TN+FP)(TN+FN)), sensitivity =
    TP / (TP + FN), precision = TP / (TP + FP), volume difference = 100 · (predicted − true) / true.

    Args:
        tp: Voxels of the class that were found.
        fp: Voxels that were taken for the class and are not.
        fn: Voxels of the class that were missed.
        tn: All other voxels.

    Returns:
        A dict of dice, mcc, sensitivity, precision, volume_difference_percent (None where undefined) and counted_as.

    Example:

    >>> scores = score_counts(3, 1, 2, 94)
    >>> round(scores["dice"], 4), round(scores["mcc"], 4), scores["volume_difference_percent"]
    (0.6667, 0.6556, -20.0)
    >>> score_counts(0, 5, 0, 95)["counted_as"]
    'false alarm'
    """
    tp, fp, fn, tn = int(tp), int(fp), int(fn), int(tn)
    true, predicted = tp + fn, tp + fp
    if true == 0:
        return dict.fromkeys(MEASURES) | {"counted_as": "false alarm" if predicted else "correctly empty"}
    # Products of exact integers: float32 would lose voxels above 2**24.
    spread = predicted * true * (tn + fp) * (tn + fn)
    mcc = (tp * tn - fp * fn) / math.sqrt(spread) if spread else 0.0
    return {
        "dice": 2 * tp / (2 * tp + fp + fn),
        "mcc": None if tn + fp == 0 else mcc,
        "sensitivity": tp / true,
        "precision": tp / predicted if predicted else None,
        "volume_difference_percent": 100 * (predicted - true) / true,
        "counted_as": "scored" if predicted else "missed",
    }


def compare_masks(truth, predicted, *, num_labels):
    """Count the voxels of each foreground class in two masks of class indices, exactly.

    Args:
        truth: Integer array of class indices, 0 background.
        predicted: Integer array of the same shape.
        num_labels: Number of foreground classes.

    Returns:
        A list of (tp, fp, fn, tn), Python integers, for classes 1 … num_labels.

    Example:

    >>> compare_masks(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2]), num_labels=2)
    [(1, 0, 1, 2), (1, 1, 0, 2)]
    """
    if truth.shape != predicted.shape:
        raise UsageError(
            "Both masks must have the same shape. "
            f"Received: truth.shape={truth.shape}, predicted.shape={predicted.shape}."
        )
    k = num_labels + 1
    pairs = np.bincount(truth.ravel().astype(np.int64) * k + predicted.ravel(), minlength=k * k).reshape(k, k)
    counts = []
    for label in range(1, k):
        tp, true, found = (int(n) for n in (pairs[label, label], pairs[label].sum(), pairs[:, label].sum()))
        counts.append((tp, found - tp, true - tp, int(truth.size) - true - found + tp))
    return counts


def summarise(rows, label):
    rows = [row for row in rows if row["label"] == label]
    empty = [row for row in rows if row["counted_as"] in ("false alarm", "correctly empty")]
    summary = {
        "label": label,
        "with_organ": len(rows) - len(empty),
        "missed": sum(row["counted_as"] == "missed" for row in rows),
        "without_organ": len(empty),
        "correctly_empty": sum(row["counted_as"] == "correctly empty" for row in rows),
        "false_alarms": sum(row["counted_as"] == "false alarm" for row in rows),
        "false_positive_voxels_without_organ": sum(row["fp"] for row in empty),
        "false_positive_ml_without_organ": sum(row["predicted_ml"] for row in empty),
    }
    return summary | {measure: _spread([row[measure] for row in rows]) for measure in MEASURES}


def _spread(values):
    values = np.array([value for value in values if value is not None], float)
    if not values.size:
        return {"n": 0, "mean": None, "std": None, "median": None, "min": None, "max": None}
    return {
        "n": int(values.size),
        "mean": float(values.mean()),
        "std": float(values.std(ddof=1)) if values.size > 1 else None,
        "median": float(np.median(values)),
        "min": float(values.min()),
        "max": float(values.max()),
    }


def describe_class(group):
    """Say in words what the summary of one foreground class holds.

    Args:
        group: One entry of `classes` in summary.json.
    """
    text = f"label {group['label']}: "
    if group["with_organ"]:
        dice, mcc = group["dice"], group["mcc"]
        spread = "" if dice["std"] is None else f" ± {dice['std']:.3f}"
        text += f"mean Dice {dice['mean']:.3f}{spread} (lowest {dice['min']:.3f})"
        text += "" if mcc["mean"] is None else f", mean MCC {mcc['mean']:.3f}"
        text += f" over {_cases(group['with_organ'])} that hold it, {group['missed']} missed altogether."
    else:
        text += "no case holds it."
    if group["without_organ"]:
        text += (
            f" Without it: {_cases(group['without_organ'])}, {group['correctly_empty']} stayed empty, "
            f"{group['false_positive_voxels_without_organ']} false-positive voxels "
            f"({group['false_positive_ml_without_organ']:.2f} ml)."
        )
    return text


def _cases(count):
    return f"{count} case" if count == 1 else f"{count} cases"


def describe_options(options):
    """Say in words how the masks were made."""
    axes = ", ".join("xyz"[axis] for axis in options["flip_axes"])
    flips = f"averaged over flips along {axes}" if axes else "without flips"
    component = "only the largest component kept" if options["largest_component"] else "all components kept"
    return f"Masks: {flips}, {component}; scored on each scan's own grid."


def _text(scores):
    columns = ("case", "label", *MEASURES, "true_ml", "predicted_ml", "counted_as")
    heads = ("case", "label", "Dice", "MCC", "sens.", "prec.", "vol. %", "true ml", "pred. ml", "counted as")
    formats = ("", "", ".3f", ".3f", ".3f", ".3f", "+.1f", ".1f", ".1f", "")
    lines = [heads]
    for row in scores.rows:
        values = zip((row[column] for column in columns), formats, strict=True)
        lines.append(tuple("–" if value is None else format(value, form) for value, form in values))
    widths = [max(len(line[index]) for line in lines) for index in range(len(heads))]
    text = ["  ".join(_aligned(*cell) for cell in zip(line, widths, formats, strict=True)).rstrip() for line in lines]
    options = scores.summary["options"]
    text.append("")
    text += [describe_class(group) for group in scores.summary["classes"]]
    text.append(describe_options(options))
    return "\n".join(text)


def _aligned(text, width, form):
    return text.rjust(width) if form else text.ljust(width)
