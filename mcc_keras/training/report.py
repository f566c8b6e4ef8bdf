"""What the page of a run says: how far it is, its curves, its worst cases, its settings."""

import math
import time

from mcc_keras.reporting import html
from mcc_keras.reporting.curves import GREY, Level, Line, draw_chart
from mcc_keras.reporting.legend import outline_legend
from mcc_keras.reporting.thumbnails import COLORS
from mcc_keras.runs.fields import flat_fields
from mcc_keras.runs.recipe import Recipe
from mcc_keras.training.log import format_minutes

TRAINING, VALIDATION, MEAN_MASK = (51, 101, 138), COLORS[1], COLORS[3]


def build_run_page(page):
    """Build the page of a run.

    Args:
        page: `RunPage`, whose attributes are shown.

    Returns:
        The document as `Markup`.
    """
    rows, recipe = page.history.rows, page.recipe
    parts = [html.facts(_tiles(page)), html.section("Curves", html.gallery(_charts(page)), *_notes(page))]
    if page.cases:
        parts.append(html.section("Worst validation cases", *_cases(page)))
    parts.append(html.section("Settings", *_settings(recipe)))
    done = f"epoch {len(rows)}" + (f" of {recipe.epochs}" if recipe.epochs else "")
    lead = [done, f"{format_minutes(page.schedule.stopwatch.seconds())} trained", page.state]
    footer = f"Run: {page.run} · records: {page.manifest.work} · written: {time.strftime('%Y-%m-%d %H:%M:%S')}"
    return html.page(f"Training: {page.run.resolve().name}", *parts, lead=" · ".join(filter(None, lead)), footer=footer)


def _tiles(page):
    last, best, what = page.history.rows[-1] if page.history.rows else {}, page.best, _unit(page)
    tiles = {"best epoch": best.epoch, "steps": f"{page.schedule.step:,}"}
    if page.has_validation:
        kept = page.history.rows[best.epoch - 1] if best.epoch else {}
        tiles = {"best validation Dice": _number(best.value), **tiles}
        if math.isfinite(kept.get("val_false_alarms", math.nan)):
            tiles["false alarms of that epoch"] = f"{kept['val_false_alarms']:.0%}"
    if last:
        tiles[f"{what} a second"] = f"{last['volumes_per_second']:.1f}"
        tiles["waiting for data"] = f"{last['waiting_share']:.0%}"
    return tiles


def _charts(page):
    mark = (page.best.epoch, f"best epoch {page.best.epoch}") if page.best.epoch else None

    def chart(title, names, **settings):
        lines = [Line(name, color, _points(page, column)) for column, name, color in names]
        return draw_chart(title, [line for line in lines if line.points], **settings)

    def pair(name):
        return ((name, "training", TRAINING), (f"val_{name}", "validation", VALIDATION))

    yield chart("Loss", pair("loss"), mark=mark)
    yield chart("Dice", pair("dice"), mark=mark, limits=(0, 1), levels=_baselines(page))
    if any(math.isfinite(value) for _, value in _points(page, "val_false_alarms")):
        names = pair("false_alarms")
        yield chart("Volumes without the organ where some is found", names, mark=mark, limits=(0, 1), percent=True)
    yield chart("Learning rate", [("learning_rate", "learning rate", TRAINING)], limits=(0, 0))
    waiting = [("waiting_share", "waiting", TRAINING)]
    yield chart("Share of a step spent waiting for data", waiting, limits=(0, 1), percent=True)
    speed = [("volumes_per_second", "speed", TRAINING)]
    yield chart(f"{_unit(page).capitalize()} a second", speed, limits=(0, 0))


def _points(page, column):
    return [(row["epoch"], row[column]) for row in page.history.rows if row.get(column) is not None]


def _baselines(page):
    if not page.has_validation:
        return []
    levels = [Level("all background: 0", GREY, 0.0)]
    if page.baseline is not None and math.isfinite(page.baseline.dice):
        levels.append(Level(f"mean training mask: {page.baseline.dice:.3f}", MEAN_MASK, page.baseline.dice))
    return levels


def _notes(page):
    yield html.paragraph("The first epoch is slower, since TensorFlow compiles its first step.")
    if not page.has_validation:
        yield html.paragraph("There is no validation part: the last epoch is kept.")
        return
    training = "patches" if page.recipe.patches else "volumes"
    whole = ", segmented window by window" if page.recipe.window else ""
    yield html.paragraph(
        f"Dice is the mean over the volumes that hold the organ, on the boxes that the network sees{whole}; training "
        f"{training} are augmented."
    )
    if page.baseline is not None:
        yield html.paragraph(
            "The mean training mask is the same prediction for every volume: the voxels that at least "
            f"{page.baseline.share:.0%} of the training masks hold, the share that suits those best."
        )
    if not any(math.isfinite(value) for _, value in _points(page, "val_false_alarms")):
        yield html.paragraph("Every validation volume holds the organ, so that there are no false alarms to count.")


def _cases(page):
    of = page.manifest.counts["validation"]
    chosen = f"the {of} validation cases" if page.case_count == of else f"the first {page.case_count} of {of} cases"
    yield outline_legend(page.manifest.task.names)
    pictures = []
    for case in page.cases:
        score = "false alarm" if case.false_alarm else f"Dice {case.dice:.3f}"
        alt = f"Slices of {case.case_id} with outlines"
        pictures.append(html.image(case.picture, alt=alt, caption=f"{case.case_id}: {score}"))
    yield html.gallery(pictures)
    yield html.paragraph(f"Of {chosen}, segmented by the best epoch without flips, on the boxes.")


def _settings(recipe):
    given, usual = flat_fields(vars(recipe)), flat_fields(vars(Recipe()))
    groups = {"": [], "augment": [], "patches": []}
    for name, value in given.items():
        part, _, field = name.partition(".")
        group = part if field and part in groups else ""
        shown = _text(value) if usual.get(name) == value else html.element("<b>{}</b>", _text(value))
        groups[group].append((field if group else name, shown, _text(usual.get(name))))
    heads = ("setting", "value", "default")
    yield html.table(heads, groups[""], text_columns=(1, 2))
    for group, title in {"augment": "Augmentation", "patches": "Patches"}.items():
        if groups[group]:
            yield html.folded(title, html.table(heads, groups[group], text_columns=(1, 2)))


def _unit(page):
    return "patches" if page.recipe.patches else "volumes"


def _number(value):
    return None if value is None else f"{value:.3f}"


def _text(value):
    return f"{value:.6g}" if isinstance(value, float) else value
