"""Scores of a run, case by case, on each scan's own grid.

scores.csv      one row a case and foreground class
summary.json    means, spreads and counts, with the options that made them
report.html     the same to look at: learning curves, scores, slices with outlines
"""

import csv
import io
import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mcc_keras.datasets.cases import find_cases, read_image, read_mask
from mcc_keras.datasets.choices import match_channels
from mcc_keras.errors import CaseError, OutputExistsError, UsageError
from mcc_keras.evaluation.page import build_score_page
from mcc_keras.evaluation.scores import REPORT, SCORES, SUMMARY, Scores, compare_masks, score_counts, summarise
from mcc_keras.files import write_text, written_aside
from mcc_keras.records.manifest import read_manifest
from mcc_keras.reporting import plots
from mcc_keras.runs.run import read_run
from mcc_keras.segmentation.segment import segment_volume

MAX_PICTURES = 16


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
    from mcc_keras.segmentation.segmenter import load_segmenter  # here, so that no refusal above waits for TensorFlow

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
        "classes": [summarise(rows, label) for label in dict.fromkeys(row["label"] for row in rows)],
    }
    scores = Scores(tuple(rows), summary, folder)
    page = build_score_page(
        rows=rows,
        summary=summary,
        run=run,
        slices={case_id: slices[case_id] for case_id in _worth_a_picture(rows)},
    )
    _write(scores, page)
    return scores


def _cases(run, part, source):
    if source is not None:
        found = find_cases(source, labels=run.task.labels, background=run.task.background)
        cases = tuple(match_channels(case, run.task.channel_names) for case in found if case.mask is not None)
        if not cases:
            raise CaseError(source, "expected cases with masks, found none", "Scores need the true masks.")
        return cases, Path(source).stem if Path(source).suffix else Path(source).name
    cases = read_manifest(run.data.work, verify=False).cases(part)
    if not cases:
        raise UsageError(f"The {part} part of {run.data.work} has no cases. Choose another part. Received: {part=}.")
    return cases, part


def _check_channels(cases, run):
    expected = run.task.channel_names
    for case in cases:
        found = case.task.channel_names
        if len(found) != len(expected):
            problem = f"expected {len(expected)} channels ({', '.join(expected)}), found {len(found)}"
            raise CaseError(case.case_id, problem, "Score it with a run that was trained on these channels.")


def _score_case(segmenter, case, *, largest_component):
    task = segmenter.task
    image = read_image(case)
    truth = read_mask(case, image)
    mask, _ = segment_volume(segmenter, image, largest_component=largest_component)
    values = task.label_values
    class_of = np.zeros(max(values) + 1, np.uint8)
    class_of[list(values)] = range(len(values))
    predicted = class_of[mask]
    voxel_ml = abs(float(np.linalg.det(image.affine[:3, :3]))) / 1000
    rows = []
    for labels, counts in zip(task.labels, compare_masks(truth, predicted, num_labels=len(task.labels)), strict=True):
        tp, fp, fn, tn = counts
        row = {"case": case.case_id, "group": case.group or case.case_id, "label": "+".join(map(str, labels))}
        row |= score_counts(*counts)
        row |= {"true_ml": (tp + fn) * voxel_ml, "predicted_ml": (tp + fp) * voxel_ml}
        row |= {"tp": tp, "fp": fp, "fn": fn, "tn": tn}
        rows.append(row)
    return rows, plots.find_slices(image.array[..., 0], image.affine, truth=truth, predicted=predicted)


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
