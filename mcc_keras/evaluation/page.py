"""The report of an evaluation as one HTML page."""

from mcc_keras.evaluation.scores import describe_class, describe_options
from mcc_keras.reporting import plots
from mcc_keras.reporting.html import Markup, escape, facts, gallery, page, paragraph, picture, section, table


def build_score_page(*, rows, summary, run, slices):
    """Build the page of an evaluation.

    Args:
        rows: One dict a case and class, the columns of scores.csv.
        summary: The contents of summary.json.
        run: The `Run`.
        slices: Mapping of case id to the three `plots.Slice`s of its picture, in the order to show them.

    Returns:
        The document as `Markup`.
    """
    several = len(summary["classes"]) > 1
    tiles = {}
    for group in summary["classes"]:
        of = f" of {group['label']}" if several else ""
        tiles[f"mean Dice{of}"] = _number(group["dice"]["mean"])
        tiles[f"mean MCC{of}"] = _number(group["mcc"]["mean"])
        tiles[f"lowest Dice{of}"] = _number(group["dice"]["min"])
        tiles[f"cases with the organ{of}"] = group["with_organ"]
        tiles[f"cases without it{of}"] = group["without_organ"]
        tiles[f"false-positive voxels in them{of}"] = group["false_positive_voxels_without_organ"]
    made = ", ".join(f"{name} {getattr(run.recipe, name)}" for name in _SHOWN if getattr(run.recipe, name) is not None)
    pictures = [
        picture(_case_figure(three), alt=f"Slices of {case_id} with outlines", caption=_caption(case_id, rows))
        for case_id, three in slices.items()
    ]
    legend = Markup(
        f'<p class="note">Outlines:<span class="swatch" style="border-color:{plots.TRUE_COLOUR}"></span>true'
        f'<span class="swatch" style="border-color:{plots.PREDICTED_COLOUR};border-top-style:dashed"></span>predicted. '
        "The patient’s right is on the left of axial and coronal slices; the lowest scores come first.</p>"
    )
    return page(
        f"Scores: {summary['scored']}",
        facts(tiles),
        *(paragraph(describe_class(group)) for group in summary["classes"]),
        paragraph(describe_options(summary["options"])),
        section("Learning", *_curves(run)),
        section("Case by case", _score_table(rows, several), paragraph(EMPTY_RULE)),
        section("Slices", legend, gallery(pictures)),
        lead=f"{summary['cases']} cases, scored on their own grids" + f" · {made}",
        footer=f"Run: {summary['run']}" + (f" · source: {summary['source']}" if summary["source"] else ""),
    )


_SHOWN = ("loss", "epochs", "minutes", "batch_size", "precision", "seed")
EMPTY_RULE = (
    "Where the truth holds no organ, Dice, MCC, sensitivity, precision and volume difference are blank and left out of "
    "every mean; such a case is “correctly empty” or a “false alarm” whose voxels are reported apart. An organ that is "
    "not found at all is “missed”: Dice, MCC and sensitivity are 0, precision is blank."
)


def _score_table(rows, several):
    formats = {
        "dice": ".3f",
        "mcc": ".3f",
        "sensitivity": ".3f",
        "precision": ".3f",
        "volume_difference_percent": "+.1f",
    }
    formats |= {"true_ml": ".2f", "predicted_ml": ".2f"}
    heads = ["case", *(["label"] if several else []), "counted as", "Dice", "MCC", "sensitivity", "precision"]
    heads += ["volume diff. %", "true ml", "predicted ml", "false-positive voxels"]
    body = []
    for row in rows:
        kind = escape(row["counted_as"])
        if row["counted_as"] in ("missed", "false alarm"):
            kind = Markup(f'<span class="warn">{kind}</span>')
        values = [row["case"], *([row["label"]] if several else []), kind]
        values += [_number(row[name], form) for name, form in formats.items()]
        body.append([*values, row["fp"]])
    return table(heads, body, text_columns=(1, 2) if several else (1,))


def _number(value, form=".3f"):
    return None if value is None else format(value, form)


def _curves(run):
    pictures = []
    for name, ylabel in (("loss", "loss"), ("dice", "Dice")):
        figure = plots.new_figure((5.2, 3))
        ax = plots.plot_history(
            run.history,
            names=(name, f"val_{name}"),
            ylabel=ylabel,
            best_epoch=run.result.best_epoch,
            ax=figure.subplots(),
        )
        if name == "dice":
            ax.set_ylim(0, 1)
        pictures.append(picture(figure, alt=f"Learning curve: {ylabel} by epoch"))
    yield gallery(pictures)
    yield paragraph("On the boxes that the network sees; the scores below are on the scans’ own grids.")


def _case_figure(three):
    figure = plots.new_figure((7.2, 2.5))
    plots.plot_slices(three, axes=figure.subplots(1, 3))
    return figure


def _caption(case_id, rows):
    said = []
    for row in rows:
        if row["case"] == case_id:
            score = row["counted_as"] if row["dice"] is None else f"Dice {row['dice']:.3f}"
            said.append(f"{score}, {row['fp']} false-positive voxels" if row["counted_as"] == "false alarm" else score)
    return f"{case_id}: {'; '.join(said)}"
