"""Scores of a run, case by case, on each scan's own grid.

    scores.csv      one row a case and foreground class
    summary.json    means, spreads and counts, with the options that made them
    report.html     the same to look at: learning curves, scores, slices with outlines

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

import csv
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mcc_keras import plots, report
from mcc_keras.datasets.cases import find_cases, read_image, read_mask
from mcc_keras.datasets.choices import match_channels
from mcc_keras.errors import CaseError, OutputExistsError, UsageError
from mcc_keras.files import write_text, written_aside
from mcc_keras.inference import segment_volume
from mcc_keras.runs import read_run
from mcc_keras.tfrecords import read_manifest

SCORES, SUMMARY, REPORT = "scores.csv", "summary.json", "report.html"
MEASURES = ("dice", "mcc", "sensitivity", "precision", "volume_difference_percent")
MAX_PICTURES = 16


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


def evaluate(run, *, part="test", source=None, largest_component=False, output=None, overwrite=False):
    """Score a run on a part of its own data or on another data set, every case on its original grid.

    The masks come from the very graph that `segment` calls and `export_saved_model` writes.

    Args:
        run: Run folder, or a `Run`.
        part: "train", "validation" or "test": the part of the run's own split to score; without meaning with `source`.
        source: Another data set, as for `find_cases`; all of its cases that have a mask are scored.
        largest_component: Keep only the largest connected component of each class; no part of the exported graph.
        output: Folder for the three files; by default RUN/<part>, or RUN/<name of the source>.
        overwrite: Replace scores that are there already.

    Returns:
        `Scores`.

    Raises:
        RunError: The folder holds no finished run.
        UsageError: A part without cases.
        OutputExistsError: Scores are there already.
        DataError: A case that cannot be read, or whose grid or labels do not fit.

    Example:

    >>> evaluate("run", part="test")
    Traceback (most recent call last):
    mcc_keras.errors.RunError: run: expected a finished run, found no run.json, ...
    """
    run = read_run(run)
    cases, name = _cases(run, part, source)
    folder = Path(output) if output is not None else run.folder / name
    if not overwrite and any((folder / file).exists() for file in (SCORES, SUMMARY, REPORT)):
        raise OutputExistsError(
            folder, "the scores of an earlier evaluation", "Allow overwriting, or choose an output."
        )
    _check_channels(cases, run)
    from mcc_keras.segmenter import load_segmenter  # here, so that no refusal above waits for TensorFlow

    segmenter = load_segmenter(run)
    rows, slices = [], {}
    # A bar on a terminal only (disable=None).
    for case in tqdm(cases, desc=f"scoring {name}", unit="case", leave=False, disable=None):
        case_rows, slices[case.case_id] = _score_case(segmenter, case, largest_component=largest_component)
        rows += case_rows
    summary = {
        "run": str(run.folder),
        "scored": name,
        "source": None if source is None else str(source),
        "options": {"flip_axes": list(segmenter.flip_axes), "largest_component": bool(largest_component)},
        "cases": len(cases),
        "classes": [_summarise(rows, label) for label in dict.fromkeys(row["label"] for row in rows)],
    }
    scores = Scores(tuple(rows), summary, folder)
    page = report.build_score_page(
        rows=rows,
        summary=summary,
        history=run.history,
        settings=run.settings,
        slices={case_id: slices[case_id] for case_id in _worth_a_picture(rows)},
    )
    _write(scores, page)
    return scores


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


def _cases(run, part, source):
    if source is not None:
        background = tuple(run.settings["background"])
        found = find_cases(source, labels=run.labels, background=background)
        cases = tuple(match_channels(case, run.settings["channel_names"]) for case in found if case.mask is not None)
        if not cases:
            raise CaseError(source, "expected cases with masks, found none", "Scores need the true masks.")
        return cases, Path(source).stem if Path(source).suffix else Path(source).name
    cases = read_manifest(run.settings["work"]).cases(part)
    if not cases:
        raise UsageError(
            f"The {part} part of {run.settings['work']} has no cases. Choose another part. Received: {part=}."
        )
    return cases, part


def _check_channels(cases, run):
    expected = len(run.settings["channel_names"])
    for case in cases:
        if len(case.channel_names) != expected:
            names = ", ".join(run.settings["channel_names"])
            problem = f"expected {expected} channels ({names}), found {len(case.channel_names)}"
            raise CaseError(case.case_id, problem, "Score it with a run that was trained on these channels.")


def _score_case(segmenter, case, *, largest_component):
    image = read_image(case)
    truth = read_mask(case, image)
    mask, _ = segment_volume(segmenter, image, largest_component=largest_component)
    class_of = np.zeros(256, np.uint8)
    class_of[list(segmenter.label_values)] = range(len(segmenter.label_values))
    predicted = class_of[mask]
    voxel_ml = abs(float(np.linalg.det(image.affine[:3, :3]))) / 1000
    rows = []
    for labels, counts in zip(case.labels, compare_masks(truth, predicted, num_labels=len(case.labels)), strict=True):
        tp, fp, fn, tn = counts
        row = {"case": case.case_id, "group": case.group or case.case_id, "label": "+".join(map(str, labels))}
        row |= score_counts(*counts)
        row |= {"true_ml": (tp + fn) * voxel_ml, "predicted_ml": (tp + fp) * voxel_ml}
        row |= {"tp": tp, "fp": fp, "fn": fn, "tn": tn}
        rows.append(row)
    return rows, plots.find_slices(image.array[..., 0], image.affine, truth=truth, predicted=predicted)


def _summarise(rows, label):
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


def _worth_a_picture(rows):
    """Case ids, the worst first; the best and the median are among them where not all can be shown."""
    worst = {}
    for row in rows:
        dice = row["dice"] if row["dice"] is not None else (2.0 if row["fp"] == 0 else 1.5)
        worst[row["case"]] = min(dice, worst.get(row["case"], 2.0))
    ordered = sorted(worst, key=worst.get)
    if len(ordered) <= MAX_PICTURES:
        return ordered
    return ordered[: MAX_PICTURES // 2] + ordered[:: -(-2 * len(ordered) // MAX_PICTURES)][: MAX_PICTURES // 2]


def _write(scores, page):
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(scores.rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in scores.rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
    files = {
        SCORES: text.getvalue(),
        SUMMARY: json.dumps(scores.summary, indent=2, ensure_ascii=False) + "\n",
        REPORT: page,
    }
    if scores.folder.exists():
        for name, content in files.items():
            write_text(scores.folder / name, content)
    else:
        with written_aside(scores.folder) as aside:
            aside.mkdir()
            for name, content in files.items():
                (aside / name).write_text(content, encoding="utf-8")


def _cell(value):
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value


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
    text += [report.describe_class(group) for group in scores.summary["classes"]]
    text.append(report.describe_options(options))
    return "\n".join(text)


def _aligned(text, width, form):
    return text.rjust(width) if form else text.ljust(width)
