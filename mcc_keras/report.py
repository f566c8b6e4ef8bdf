"""Self-contained HTML pages: one file, no script, nothing fetched from anywhere, every text escaped.

The pieces (`page`, `table`, `picture`, `facts`) return `Markup`; anything else that is handed to them is text and is
escaped, so a case id or a path can hold whatever it likes.
"""

import base64
import html
import io

from mcc_keras import plots
from mcc_keras.files import write_text

CSS = """
:root { --ink: #1d2733; --soft: #5b6876; --line: #dfe4ea; --tint: #f5f7f9; --accent: #33658a; --warn: #b3541e; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 66rem; color: var(--ink); background: #fff;
       font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .7rem; padding-top: .8rem; border-top: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 48rem; }
.lead, .note, figcaption { color: var(--soft); }
.note, figcaption { font-size: .88rem; }
.warn { color: var(--warn); }
dl.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .6rem; margin: 1.2rem 0; }
dl.facts div { background: var(--tint); border-radius: .5rem; padding: .6rem .8rem; overflow-wrap: anywhere; }
dl.facts dt { color: var(--soft); font-size: .8rem; }
dl.facts dd { margin: 0; font-size: 1.25rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; min-width: 60%; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td.text, th.text { text-align: left; }
tbody tr:hover { background: var(--tint); }
figure { margin: 1rem 0; }
img { max-width: 100%; height: auto; display: block; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(28rem, 100%), 1fr)); gap: .4rem 1.5rem; }
.swatch { display: inline-block; width: 1.6em; border-top: 3px solid; vertical-align: middle; margin: 0 .3em 0 .8em; }
footer { margin-top: 3rem; color: var(--soft); font-size: .8rem; overflow-wrap: anywhere; }
"""


class Markup(str):
    """Text that is HTML already."""


def escape(value):
    """Return HTML: `Markup` as it is, None as a dash, anything else as escaped text.

    Example:

    >>> escape("<script>"), escape(None), escape(Markup("<b>"))
    ('&lt;script&gt;', '–', '<b>')
    """
    if isinstance(value, Markup):
        return value
    return Markup("–" if value is None else html.escape(str(value), quote=True))


def page(title, *parts, lead="", footer=""):
    """Return a whole document: the title, a leading sentence, the parts in their order, a footer."""
    body = "\n".join(escape(part) for part in parts)
    return Markup(
        "<!DOCTYPE html>\n"
        '<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # The policy keeps the promise even if some text were ever to slip through unescaped.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title><style>{CSS}</style></head>\n"
        f'<body><h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n{body}\n'
        f"<footer>{escape(footer)}</footer></body></html>\n"
    )


def section(title, *parts):
    """Return a heading with what stands below it."""
    return Markup(f"<section><h2>{escape(title)}</h2>\n" + "\n".join(escape(part) for part in parts) + "</section>")


def paragraph(text, *, kind="note"):
    """Return a paragraph; kind is "note", "warn" or "lead"."""
    return Markup(f'<p class="{escape(kind)}">{escape(text)}</p>')


def facts(items):
    """Return tiles of a name and a value.

    Args:
        items: Mapping of text to text.
    """
    tiles = (f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in items.items())
    return Markup(f'<dl class="facts">{"".join(tiles)}</dl>')


def table(columns, rows, *, text_columns=()):
    """Return a table that scrolls sideways on a narrow screen.

    Args:
        columns: Names of the columns.
        rows: One sequence of values a row, formatted already; None becomes a dash.
        text_columns: Indices of columns that are aligned to the left; the first one always is.
    """

    def cells(tag, values):
        left = (' class="text"' if index in text_columns else "" for index in range(len(values)))
        return "".join(f"<{tag}{kind}>{escape(value)}</{tag}>" for kind, value in zip(left, values, strict=True))

    body = "".join(f"<tr>{cells('td', tuple(row))}</tr>\n" for row in rows)
    head = cells("th", tuple(columns))
    return Markup(f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>')


def picture(figure, *, alt, caption="", dpi=110):
    """Return a matplotlib figure as a PNG inside the page.

    Args:
        figure: Matplotlib figure.
        alt: What it shows, for those who do not see it.
        caption: Text below it.
        dpi: Pixels an inch.
    """
    buffer = io.BytesIO()
    # Without the note about the software the same figure gives the same bytes.
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return Markup(f'<figure><img src="data:image/png;base64,{data}" alt="{escape(alt)}">{below}</figure>')


def gallery(pictures):
    """Return pictures side by side where there is room."""
    return Markup(f'<div class="pictures">{"".join(escape(item) for item in pictures)}</div>')


def write_page(document, path):
    """Write a page under a temporary name, rename it, and return the path."""
    return write_text(path, document)


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


def build_score_page(*, rows, summary, history, settings, slices):
    """Build the page of an evaluation.

    Args:
        rows: One dict a case and class, the columns of scores.csv.
        summary: The contents of summary.json.
        history: One dict an epoch.
        settings: The contents of run.json.
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
    made = ", ".join(
        f"{name} {settings[name]}" for name in ("loss", "epochs", "batch_size", "precision", "seed") if name in settings
    )
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
        section("Learning", *_curves(history, settings)),
        section("Case by case", _score_table(rows, several), paragraph(EMPTY_RULE)),
        section("Slices", legend, gallery(pictures)),
        lead=f"{summary['cases']} cases, scored on their own grids" + (f" · {made}" if made else ""),
        footer=f"Run: {summary['run']}" + (f" · source: {summary['source']}" if summary["source"] else ""),
    )


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


def _curves(history, settings):
    best = settings.get("best", {}).get("epoch")
    pictures = []
    for name, ylabel in (("loss", "loss"), ("dice", "Dice")):
        figure = plots.new_figure((5.2, 3))
        ax = plots.plot_history(
            history, names=(name, f"val_{name}"), ylabel=ylabel, best_epoch=best, ax=figure.subplots()
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
