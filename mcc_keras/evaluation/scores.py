"""Scores of a set of cases: rows, summaries and the table to read. The columns are those of `MEASURES`."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from mcc_keras.evaluation.calibration import Calibration
from mcc_keras.evaluation.case import Settings
from mcc_keras.evaluation.measures import BRIEF, CORRECTLY_EMPTY, FALSE_ALARM, MEASURES, MISSED, SCORES
from mcc_keras.evaluation.statistics import Agreement, Spread, agree, summarize
from mcc_keras.reporting.plain import columns, printable

CSV, SUMMARY, REPORT, CALIBRATION = "scores.csv", "summary.json", "report.html", "calibration.csv"
SCHEMA = 1
_NAMED = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassSummary:
    """One class, or region, over a set of cases.

    Args:
        name: Its name.
        cases: Number of cases.
        with_organ: Cases whose truth holds it.
        missed: Cases with it in which nothing was predicted.
        without_organ: Cases whose truth does not hold it.
        correctly_empty: Cases without it in which nothing was predicted.
        false_alarms: Cases without it in which something was predicted.
        false_positive_voxels_without_organ: Voxels that were predicted in those.
        false_positive_ml_without_organ: Their volume.
        measures: Measure → `Spread`.
        agreement: `Agreement` of the volumes over the cases with the organ.
    """

    name: str
    cases: int
    with_organ: int
    missed: int
    without_organ: int
    correctly_empty: int
    false_alarms: int
    false_positive_voxels_without_organ: int
    false_positive_ml_without_organ: float
    measures: dict[str, Spread]
    agreement: Agreement | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """What `summary.json` holds.

    Args:
        scored: What was scored: a part of the run's own data, or the name of a data set.
        run: Folder of the run; `None` where two folders of masks were compared.
        source: Data set, or folder of true masks; `None` for a part of the run's own data.
        prediction: Folder of predicted masks.
        flip_axes: Axes over whose flips the run averages.
        window_size: Size (x, y, z) of the windows in place of the run's; `None`: as the run has it.
        threshold: Probability from which on a single class is foreground.
        largest_component: Whether only the largest component of each class was kept.
        smallest_mm3: Smaller components were removed, in cubic millimetres.
        settings: `Settings`.
        cases: Number of cases.
        seen: What the network saw of the cases that are in the means: empty for nothing.
        left_out: Reason → cases that are in the table and in no mean.
        without_prediction: Cases that count as an empty mask.
        without_truth: Predictions that were not scored.
        classes: `ClassSummary`s.
        by: Column of `groups`.
        groups: Value of the column → `ClassSummary`s.
        calibration: `Calibration` over the cases that are in the means; `None` without probabilities.
    """

    scored: str
    run: str | None = None
    source: str | None = None
    prediction: str | None = None
    flip_axes: tuple[int, ...] = ()
    window_size: tuple[int, int, int] | None = None
    threshold: float = 0.5
    largest_component: bool = False
    smallest_mm3: float = 0.0
    settings: Settings = dataclasses.field(default_factory=Settings)
    cases: int = 0
    seen: str = ""
    left_out: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    without_prediction: tuple[str, ...] = ()
    without_truth: tuple[str, ...] = ()
    classes: tuple[ClassSummary, ...] = ()
    by: str | None = None
    groups: Mapping[str, tuple[ClassSummary, ...]] = dataclasses.field(default_factory=dict)
    calibration: Calibration | None = None


class Scores(list):
    """The rows of `scores.csv`: a list of dicts, one for each case and class; a blank is `None`.

    `pandas.DataFrame(scores)` takes it, and `print(scores)` shows a table.

    Args:
        rows: The rows.
        summary: `Summary`.
        folder: Folder of scores.csv, summary.json and report.html, or `None` where nothing was written.
    """

    def __init__(self, rows, summary, folder=None):
        super().__init__(rows)
        self.summary, self.folder = summary, None if folder is None else Path(folder)

    @property
    def rows(self):
        """The rows as a tuple."""
        return tuple(self)

    @property
    def scores_path(self):
        """Path of scores.csv."""
        return self.folder / CSV

    @property
    def report_path(self):
        """Path of report.html."""
        return self.folder / REPORT

    def mean(self, measure="dice"):
        """Return the mean over the cases whose truth holds the class, and over the classes; `None` without cases."""
        means = [group.measures[measure].mean for group in self.summary.classes]
        means = [mean for mean in means if mean is not None]
        return sum(means) / len(means) if means else None

    def __str__(self):
        """Return the scores as a table to read."""
        tables = [_case_table(self), _class_table(self.summary.classes)]
        for value, classes in self.summary.groups.items():
            tables.append([printable(f"{self.summary.by}: {value}"), *_class_table(classes)])
        tables.append(describe(self.summary))
        return "\n\n".join("\n".join(table) for table in tables)


def summarize_rows(rows, *, summary, seed=0):
    """Return a `Summary` with its classes, and its groups where it names a column.

    Args:
        rows: The rows of all cases.
        summary: `Summary` with everything else.
        seed: Integer seed of the confidence intervals.
    """
    left_out = {case for cases in summary.left_out.values() for case in cases}
    counted = [row for row in rows if row["case"] not in left_out]
    names = tuple(dict.fromkeys(row["class"] for row in rows))

    def classes(some):
        return tuple(_summarize_class([r for r in some if r["class"] == name], name, seed) for name in names)

    values = sorted({row[summary.by] for row in counted}) if summary.by else ()
    groups = {value: classes([row for row in counted if row[summary.by] == value]) for value in values}
    cases = len({row["case"] for row in rows})
    return dataclasses.replace(summary, cases=cases, classes=classes(counted), groups=groups)


def _summarize_class(rows, name, seed):
    empty = [row for row in rows if row["counted_as"] in (FALSE_ALARM, CORRECTLY_EMPTY)]
    held = [row for row in rows if row["counted_as"] not in (FALSE_ALARM, CORRECTLY_EMPTY)]
    patients = [row["group"] for row in rows]
    return ClassSummary(
        name=name,
        cases=len(rows),
        with_organ=len(held),
        missed=sum(row["counted_as"] == MISSED for row in rows),
        without_organ=len(empty),
        correctly_empty=sum(row["counted_as"] == CORRECTLY_EMPTY for row in rows),
        false_alarms=sum(row["counted_as"] == FALSE_ALARM for row in rows),
        false_positive_voxels_without_organ=sum(row["fp"] for row in empty),
        false_positive_ml_without_organ=float(sum(row["predicted_ml"] for row in empty)),
        measures={measure: summarize([row[measure] for row in rows], patients, seed=seed) for measure in SCORES},
        agreement=agree([row["true_ml"] for row in held], [row["predicted_ml"] for row in held]),
    )


CLASS_HEADS = ("class", "measure", "mean", "95 % CI", "median", "lowest", "highest", "cases")


def class_lines(classes):
    """Return the lines of the table of means: one for each class and brief score, with the number of cases."""
    lines = []
    for group in classes:
        for name, measure in SCORES.items():
            spread = group.measures[name]
            if not measure.brief:
                continue
            interval = None
            if spread.low is not None:
                interval = f"{measure.text(spread.low)} to {measure.text(spread.high)}"
            values = (spread.mean, spread.median, spread.min, spread.max)
            mean, *others = (None if value is None else measure.text(value) for value in values)
            lines.append((group.name, head_of(measure), mean, interval, *others, str(spread.n)))
    return lines


def head_of(measure):
    """Return the head of a measure's column, with its unit."""
    has_unit = not measure.unit or measure.head.endswith(measure.unit)
    return measure.head if has_unit else f"{measure.head} {measure.unit}"


def brief_measures(scores):
    """Return the measures that tables show: the brief ones, without those that are blank in every row."""
    return {name: measure for name, measure in BRIEF.items() if any(row[name] is not None for row in scores)}


def _case_table(scores):
    brief = brief_measures(scores)
    extra = [name for name in ("note", scores.summary.by) if name and any(row[name] for row in scores)]
    heads = ("case", "class", *map(head_of, brief.values()), "counted as", *extra)
    lines = [heads]
    for row in scores:
        numbers = (measure.text(row[name]) for name, measure in brief.items())
        lines.append((row["case"], row["class"], *numbers, row["counted_as"], *(row[name] for name in extra)))
    return columns(lines, right=range(2, 2 + len(brief)))


def _class_table(classes):
    lines = [[value or "-" for value in line] for line in class_lines(classes)]
    return columns([CLASS_HEADS, *lines], right=range(2, len(CLASS_HEADS)))


def describe(summary):
    """Return sentences: the cases of each mean, the cases left out, and how the masks were made."""
    sentences = [describe_class(group) for group in summary.classes]
    sentences += describe_calibration(summary.calibration)
    for reason, cases in summary.left_out.items():
        sentences.append(f"In no mean, since the run saw them ({reason}): {_listed(cases)}.")
    if summary.seen:
        sentences.insert(0, summary.seen)
    if summary.without_prediction:
        sentences.append(f"No prediction, counted as an empty mask: {_listed(summary.without_prediction)}.")
    if summary.without_truth:
        sentences.append(f"No truth, not scored: {_listed(summary.without_truth)}.")
    return [printable(sentence) for sentence in (*sentences, describe_masks(summary))]


def describe_class(group):
    """Return the summary of a class as a sentence.

    Args:
        group: `ClassSummary`.
    """
    if not group.cases:
        return f"{group.name}: no case is left for a mean."
    text = f"{group.name}: "
    if group.with_organ:
        dice = group.measures["dice"]
        interval = "" if dice.low is None else f" (95 % CI {dice.low:.3f} to {dice.high:.3f})"
        text += f"mean Dice {dice.mean:.3f}{interval} over {_cases(group.with_organ)} with it, "
        text += f"{group.missed} missed altogether."
    else:
        text += "no case holds it."
    if group.without_organ:
        text += (
            f" Without it: {_cases(group.without_organ)}, {group.correctly_empty} stayed empty, "
            f"{group.false_positive_voxels_without_organ} false-positive voxels "
            f"({group.false_positive_ml_without_organ:.2f} ml)."
        )
    if group.agreement is not None:
        text += f" Volume: bias {group.agreement.bias_ml:+.2f} ml"
        if group.agreement.low_ml is not None:
            text += f", limits of agreement {group.agreement.low_ml:+.2f} to {group.agreement.high_ml:+.2f} ml"
        text += "."
    return text


def describe_calibration(calibration):
    """Return sentences on a `Calibration`, none where there is none.

    Args:
        calibration: `Calibration` or `None`.
    """
    if calibration is None:
        return []
    temperature, sentences = calibration.temperature, []
    for each in calibration.classes:
        if each.error is not None:
            text = f"{each.name}: expected calibration error {each.error:.3f} over {each.voxels} voxels"
            text += f" within {calibration.within_mm:g} mm of truth or prediction"
            if temperature is not None:
                text += f", {each.error_with_temperature:.3f} with temperature {temperature:.2f}"
            sentences.append(f"{text}.")
    if sentences and temperature is None:
        sentences.append("No temperature: it is fitted when the validation part is evaluated.")
    elif sentences:
        where = "these very cases" if calibration.fitted_here else "the validation part"
        sentences.append(f"The temperature was fitted on {where}; the masks are the same with any.")
    return sentences


def describe_masks(summary):
    """Return in a sentence how the masks were made and compared."""
    settings = summary.settings
    text = f"Surface Dice at {settings.tolerance_mm:g} mm"
    if settings.smallest_lesion_mm3:
        text += f"; lesions of at least {settings.smallest_lesion_mm3:g} cubic mm"
    if summary.run is None:
        return f"{text}; scored on the grid of the truth."
    axes = ", ".join("xyz"[axis] for axis in summary.flip_axes)
    flips = f"averaged over flips along {axes}" if axes else "without flips"
    flips += f", in windows of {'×'.join(map(str, summary.window_size))}" if summary.window_size else ""
    component = "only the largest component kept" if summary.largest_component else "all components kept"
    component += f", those below {summary.smallest_mm3:g} cubic mm removed" if summary.smallest_mm3 else ""
    component += f", foreground from a probability of {summary.threshold:g} on" if summary.threshold != 0.5 else ""
    return f"Masks: {flips}, {component}; scored on each scan's own grid. {text}."


def _listed(cases):
    more = f" and {len(cases) - _NAMED} more" if len(cases) > _NAMED else ""
    return ", ".join(cases[:_NAMED]) + more


def _cases(count):
    return f"{count} case" if count == 1 else f"{count} cases"


def column_names(rows):
    """Return the columns of scores.csv: the identity of a row, then every measure."""
    return [name for name in rows[0] if name not in MEASURES] + list(MEASURES)
