"""Rules over all cases: the same scan twice, outliers, and problems that one case alone cannot show."""

import dataclasses
from collections import defaultdict

import numpy as np

from mcc_keras.checks.case import Finding
from mcc_keras.errors import CaseError
from mcc_keras.preprocessing.cost import LOW_DICE, judge_costs, loss_error
from mcc_keras.preprocessing.sides import find_sided

FAR = 6
FEWEST = 8
_SPREAD = 10
_FEW = 0.1


def compare(rows, task, *, size=None, accept_loss=False):
    """Return (errors, findings) of all cases together; the errors are findings as well.

    Args:
        rows: Facts about each case.
        task: `Task` of all of them.
        size: Voxels of the box whose cost the rows hold.
        accept_loss: Report classes that the box loses as a warning only.
    """
    errors, findings = _duplicates(rows)
    lost, costs = _box_costs(rows, task, size, accept_loss=accept_loss)
    errors, findings = errors + lost, findings + costs
    findings += _outliers(rows)
    findings += _missing_labels(rows, task)
    findings += _set_notes(rows, task)
    return errors, findings


def _duplicates(rows):
    errors, findings = [], []
    for key, what in (("image_hash", "image"), ("mask_hash", "mask")):
        for same in _same(rows, key):
            names = ", ".join(row["case"] for row in same)
            if key == "image_hash" and len({row["group"] for row in same}) > 1:
                problem = f"expected different scans, found the same voxels in {names}"
                errors.append(CaseError(same[0]["case"], problem, "Keep one, or give them the same group."))
                findings.append(Finding("error", same[0]["case"], str(errors[-1])))
            else:
                findings.append(Finding("warning", same[0]["case"], f"the same {what}, voxel by voxel, as {names}"))
    return errors, findings


def with_sides(rows, task):
    """Return a task with the pairs of classes that are left and right of each other in the training cases."""
    known = [row for row in rows if "sides" in row and row["part"] in (None, "train")]
    present = [{number for number, count in enumerate(row["class_voxels"], start=1) if count} for row in known]
    return dataclasses.replace(task, sided=(*task.sided, *find_sided([row["sides"] for row in known], present)))


def _box_costs(rows, task, size, *, accept_loss):
    costs = {row["case"]: row["box"] for row in rows if "box" in row}
    low, lost = judge_costs(costs, task.names)
    findings = [
        Finding("warning", case_id, f"the best Dice of {name} after the round trip is below {LOW_DICE}")
        for case_id, name in low
    ]
    if not lost:
        return [], findings
    error = loss_error(lost, size)
    findings.append(Finding("warning" if accept_loss else "error", "", str(error)))
    return ([] if accept_loss else [error]), findings


def _same(rows, key):
    found = defaultdict(list)
    for row in rows:
        if key in row:
            found[row[key]].append(row)
    return [same for same in found.values() if len(same) > 1]


def _outliers(rows):
    measures = {
        "foreground of {:.3g} ml": lambda row: row["foreground_ml"] or None if "foreground_ml" in row else None,
        "voxel of {:.3g} mm³": lambda row: np.prod(row["spacing_mm"]) if "spacing_mm" in row else None,
        "field of view of {:.3g} mm³": lambda row: _extent(row) if "spacing_mm" in row else None,
    }
    findings = []
    for text, measure in measures.items():
        values = {row["case"]: measure(row) for row in rows}
        values = {case: float(value) for case, value in values.items() if value}
        findings += [
            Finding("warning", case, f"a {text.format(values[case])}, {low:.3g} to {high:.3g} in most cases")
            for case, low, high in _far(values)
        ]
    return findings


def _missing_labels(rows, task):
    """Return warnings of a class that nearly all masks hold and a few do not; empty masks are reported separately."""
    counted = {row["case"]: row["labels"] for row in rows if "labels" in row and row.get("foreground_fraction")}
    findings = []
    for values in task.labels:
        without = [case for case, labels in counted.items() if not set(values) & set(labels)]
        if 0 < len(without) <= _FEW * len(counted):
            text = f"no voxel of label {', '.join(map(str, values))}, which nearly all other masks hold"
            findings += [Finding("warning", case, text) for case in without]
    return findings


def _extent(row):
    return np.prod(row["spacing_mm"]) * np.prod(row["shape"], dtype=float)


def _far(values):
    """Return cases more than six robust standard deviations of the logarithm, and a factor of 3, from the median."""
    if len(values) < FEWEST:
        return []
    logs = np.log(np.array(list(values.values())))
    middle = np.median(logs)
    spread = 1.4826 * np.median(np.abs(logs - middle))
    limit = max(FAR * spread, np.log(3))
    low, high = np.exp(np.percentile(logs, (5, 95)))
    return [(case, low, high) for case, log in zip(values, logs, strict=True) if abs(log - middle) > limit]


def _set_notes(rows, task):
    texts = [
        ("warning", _absent_labels(rows, task)),
        *(("warning", _side_text(pair, task)) for pair in task.sided),
        ("note", _columns(rows)),
        ("warning", _nominal_spacing(rows)),
        ("note", _orientations(rows)),
    ]
    for index, name in enumerate(task.channel_names):
        channels = [row["channels"][index] for row in rows if len(row.get("channels", ())) > index]
        if channels:
            texts += [("note", _intensity_spread(name, channels)), ("note", _backgrounds(name, channels))]
    return [Finding(kind, "", text) for kind, text in texts if text]


def _side_text(pair, task):
    first, second = (task.names[number - 1] for number in pair)
    swap = ":".join(str(task.labels[number - 1][0]) for number in pair)
    return (
        f"{first} and {second} are left and right of each other, so that a flip must swap them: train with "
        f"--swap-labels {swap}, or with --no-flip"
    )


def _columns(rows):
    names = dict.fromkeys(name for row in rows for name in row.get("columns", ()))
    return f"columns kept with the cases: {', '.join(names)} (for mcc-keras prepare --stratify)" if names else None


def _absent_labels(rows, task):
    counted = [row["labels"] for row in rows if "labels" in row]
    if not counted:
        return None
    present = {label for labels in counted for label in labels}
    absent = sorted({label for values in task.labels for label in values} - present)
    return f"no mask holds the label {', '.join(map(str, absent))}" if absent else None


def _nominal_spacing(rows):
    """Return a warning if files of several matrix sizes share one spacing: it may be nominal."""
    known = [row for row in rows if "spacing_mm" in row]
    spacings = {row["spacing_mm"] for row in known}
    planes = {row["shape"][:2] for row in known}
    typical = all(width == height and width % 32 == 0 for width, height in planes)
    if len(known) < FEWEST or len(spacings) > 1 or len(planes) < 2 or not typical:
        return None
    spacing = " x ".join(f"{step:g}" for step in known[0]["spacing_mm"])
    return (
        f"one spacing, {spacing} mm, in all {len(known)} files although there are {len(planes)} sizes of matrix: "
        "it may be nominal, and distances in mm with it"
    )


def _orientations(rows):
    found = sorted({row["orientation"] for row in rows if "orientation" in row})
    return f"the orientations differ ({', '.join(found)}); they are turned to RAS inside" if len(found) > 1 else None


def _intensity_spread(name, channels):
    tops = np.array([channel["max"] for channel in channels])
    levels = np.array([channel["p99"] - channel["p1"] for channel in channels])
    levels = levels[levels > 0]
    if len(levels) < 2 or levels.max() / levels.min() < _SPREAD:
        return None
    return (
        f"intensities of {name} differ by a factor of {levels.max() / levels.min():,.0f} between cases "
        f"(maxima from {tops.min():,.6g} to {tops.max():,.10g}): normalize each volume by itself"
    )


def _backgrounds(name, channels):
    values = [channel["background"] for channel in channels if channel["background"] is not None]
    if not values or not any(values):
        return None
    low, high = min(values), max(values)
    shown = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
    return f"the background of {name} is one constant that is not 0 ({shown}) in {len(values)} cases"
