"""The report of an evaluation as one HTML page."""

from mcc_keras.evaluation.calibration import BINS
from mcc_keras.evaluation.charts import calibration_chart, learning_curves, volume_charts
from mcc_keras.evaluation.measures import FALSE_ALARM, MEASURES, MISSED, OUTCOMES
from mcc_keras.evaluation.scores import CLASS_HEADS, brief_measures, class_lines, describe, head_of
from mcc_keras.reporting import html
from mcc_keras.reporting.legend import outline_legend
from mcc_keras.reporting.thumbnails import class_color

MAX_PICTURES = 300  # about 40 kB each
_SHOWN = ("loss", "epochs", "minutes", "batch_size", "precision", "seed")
EMPTY_RULE = (
    "Where the truth holds no organ, scores are blank and in no mean; such a case is “correctly empty” or a “false "
    "alarm” whose voxels are counted apart. An organ that is not found at all is “missed”: overlap scores are 0; "
    "precision and distances, which need a prediction, are blank. Click on a head to sort."
)


def build_score_page(scores, *, pictures, run=None):
    """Build the page of an evaluation.

    Args:
        scores: `Scores`.
        pictures: Case id → JPEG bytes.
        run: The `Run`, for its learning curves; `None` where two folders of masks were compared.

    Returns:
        The document as `Markup`.
    """
    summary = scores.summary
    ordered = [case_id for case_id in worst_first(scores) if case_id in pictures]
    shown = ordered if len(ordered) <= MAX_PICTURES else [*ordered[: MAX_PICTURES - 1], ordered[-1]]
    anchors = {case_id: f"case-{number}" for number, case_id in enumerate(shown)}
    parts = [html.facts(_tiles(summary)), *map(html.paragraph, describe(summary))]
    parts.append(html.section("Means", _class_table(summary.classes), *_groups(summary)))
    if run is not None:
        note = html.paragraph("On the boxes that the network sees; all other scores are on the scans’ own grids.")
        parts.append(html.section("Learning", html.gallery(learning_curves(run)), note))
    parts.append(html.section("Worst, median and best case", _legend(summary), *_extremes(scores, ordered, pictures)))
    parts.append(html.section("Volumes", html.gallery(volume_charts(scores)), _colors(summary)))
    if summary.calibration is not None:
        parts.append(html.section("Calibration", *_calibration(summary)))
    parts.append(html.section("Case by case", _case_table(scores, anchors), html.paragraph(EMPTY_RULE)))
    if len(shown) < len(ordered):
        parts.append(html.paragraph(f"Pictures of {len(shown)} of {len(ordered)} cases, the worst first."))
    details = [_case(case_id, scores, picture=pictures[case_id], anchor=anchors[case_id]) for case_id in shown]
    parts.append(html.section("Every case, the worst first", *details))
    parts.append(html.section("Measures", _measures()))
    return html.page(
        f"Scores: {summary.scored}",
        *parts,
        lead=f"{summary.cases} cases, scored on their own grids" + _made(run),
        footer=" · ".join(f"{name}: {value}" for name, value in _origin(summary).items() if value),
    )


def worst_first(scores):
    """Return case ids in the order of the lowest Dice of their classes; correctly empty cases are the last."""
    lowest = {}
    for row in scores:
        score = row["dice"]
        if score is None:
            score = 0.0 if row["counted_as"] == FALSE_ALARM else 2.0
        lowest[row["case"]] = min(score, lowest.get(row["case"], 2.0))
    return sorted(lowest, key=lowest.get)


def _tiles(summary):
    tiles = {}
    for group in summary.classes:
        of = f" of {group.name}" if len(summary.classes) > 1 else ""
        dice = group.measures["dice"]
        tiles[f"mean Dice{of} ({dice.n} cases)"] = None if dice.mean is None else f"{dice.mean:.3f}"
        tiles[f"lowest Dice{of}"] = None if dice.min is None else f"{dice.min:.3f}"
        tiles[f"missed{of}"] = group.missed
        if group.without_organ:
            tiles[f"false alarms{of} ({group.without_organ} cases without it)"] = group.false_alarms
    return tiles


def _class_table(classes):
    return html.table(CLASS_HEADS, class_lines(classes), text_columns=(1,))


def _groups(summary):
    for value, classes in summary.groups.items():
        yield html.element("<h3>{}: {}</h3>", summary.by, value)
        yield _class_table(classes)


def _legend(summary):
    return outline_legend([group.name for group in summary.classes if group.name not in summary.settings.regions])


def _colors(summary):
    """Which points of the charts are which class, where there are several."""
    names = [group.name for group in summary.classes]
    lines = [html.swatch(class_color(index), name) for index, name in enumerate(names)] if len(names) > 1 else []
    return html.element('<p class="note">{}</p>', html.join(lines))


def _calibration(summary):
    calibration, rows = summary.calibration, []
    for each in calibration.classes:
        errors = (each.error, each.error_with_temperature)
        rows.append((each.name, str(each.voxels), *(None if error is None else f"{error:.3f}" for error in errors)))
    temperature = calibration.temperature
    scaled = "error with temperature" + ("" if temperature is None else f" {temperature:.2f}")
    yield html.table(("class", "voxels", "expected calibration error", scaled), rows)
    yield html.gallery([calibration_chart(calibration)])
    yield _colors(summary)
    text = f"Voxels within {calibration.within_mm:g} mm of truth or prediction, in {BINS} bins of their probability. "
    text += "Solid: the network as it is. " + ("" if temperature is None else "Dashed: with the temperature. ")
    yield html.paragraph(f"{text}Dotted: where probability and share agree.")


def _extremes(scores, ordered, pictures):
    if not ordered:
        return
    places = {"worst": 0, "median": (len(ordered) - 1) // 2, "best": len(ordered) - 1}
    for name, place in places.items():
        case_id = ordered[place]
        caption = f"{name}: {_caption(case_id, scores)}"
        yield html.image(pictures[case_id], alt=f"Slices of {case_id} with outlines", caption=caption)


def _case_table(scores, anchors):
    extra = [name for name in ("note", scores.summary.by) if name and any(row[name] for row in scores)]
    several = len(scores.summary.classes) > 1
    brief = brief_measures(scores)
    heads = ["case", *(["class"] if several else []), *map(head_of, brief.values()), "counted as", *extra]
    body = []
    for row in scores:
        outcome = row["counted_as"]
        if outcome in (MISSED, FALSE_ALARM):
            outcome = html.element('<span class="warn">{}</span>', outcome)
        case_id = row["case"]
        name = html.element('<a href="#{}">{}</a>', anchors[case_id], case_id) if case_id in anchors else case_id
        values = [None if row[key] is None else measure.text(row[key]) for key, measure in brief.items()]
        body.append([name, *([row["class"]] if several else []), *values, outcome, *(row[key] for key in extra)])
    first = len(heads) - 1 - len(extra)
    text_columns = (*([1] if several else []), *range(first, len(heads)))
    return html.table(heads, body, text_columns=text_columns, sortable=True)


def _case(case_id, scores, *, picture, anchor):
    """Every measure of a case and its picture, collapsed to one line."""
    rows = [row for row in scores if row["case"] == case_id]
    lines = [
        (measure.head, measure.unit or None, *(None if row[name] is None else measure.text(row[name]) for row in rows))
        for name, measure in MEASURES.items()
    ]
    heads = ("measure", "unit", *(row["class"] for row in rows))
    caption = _caption(case_id, scores)
    shown = html.image(picture, alt=f"Slices of {case_id} with outlines", caption=caption, anchor=anchor)
    return html.folded(caption, shown, html.table(heads, lines, text_columns=(1,)))


def _caption(case_id, scores):
    parts, several = [], len(scores.summary.classes) > 1
    for row in scores:
        if row["case"] == case_id:
            score = row["counted_as"] if row["dice"] is None else f"Dice {row['dice']:.3f}"
            score += f", {row['fp']} false-positive voxels" if row["counted_as"] == FALSE_ALARM else ""
            parts.append(f"{row['class']} {score}" if several else score)
            note = row["note"]
    return f"{case_id}: {'; '.join(parts)}" + (f" · {note}" if note else "")


def _measures():
    """Definition of every column, and its value for empty masks."""

    def rule(measure, outcome):
        if outcome not in measure.empty:
            return "computed"
        return None if measure.empty[outcome] is None else measure.text(measure.empty[outcome])

    heads = ("column", "head", "meaning", "unit", "better", *OUTCOMES[1:])
    lines = [
        (name, each.head, each.meaning, each.unit or None, each.better or None, *(rule(each, o) for o in OUTCOMES[1:]))
        for name, each in MEASURES.items()
    ]
    return html.folded("Formulas, and values where a mask is empty", html.table(heads, lines, text_columns=range(8)))


def _made(run):
    if run is None:
        return ""
    made = (f"{name} {getattr(run.recipe, name)}" for name in _SHOWN if getattr(run.recipe, name) is not None)
    return f" · {', '.join(made)}"


def _origin(summary):
    return {"Run": summary.run, "source": summary.source, "prediction": summary.prediction}
