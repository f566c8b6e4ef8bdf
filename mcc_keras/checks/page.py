"""The check as one HTML page."""

import base64

from mcc_keras.checks.columns import CASE_COLUMNS, case_cells
from mcc_keras.reporting.html import Markup, escape, facts, gallery, page, paragraph, section, table
from mcc_keras.reporting.thumbnails import COLOURS


def build_page(report):
    """Return the whole document of a `CheckReport`."""
    summary = report.summary()
    found = [(kind, ", ".join(cases), text) for kind, cases, text in report.table()]
    problems = table(("kind", "cases", "what"), map(_problem, found), text_columns=(1, 2))
    cases = table(CASE_COLUMNS, map(_case, report.rows), text_columns=(1, 2, 3, 4, 5))
    return page(
        f"Check of {len(report.rows)} cases",
        facts({name: summary.pop(name) for name in ("cases", "patients", "errors", "warnings")}),
        paragraph(", ".join(f"{name} {value}" for name, value in summary.items())),
        section("What was found", problems if found else paragraph("No problems found.")),
        section("Advice", *map(paragraph, report.advice)) if report.advice else Markup(""),
        section("Pictures", paragraph(_LEGEND), _classes(report), gallery(_pictures(report))),
        section("Cases", cases),
        lead="Errors are what training would refuse; warnings are worth a look; nothing was changed.",
    )


_LEGEND = (
    "Axial, coronal and sagittal slice through the middle of the foreground, the first channel, the outline of each "
    "class in its colour; the patient's right is on the left."
)
_WRAP = '<span style="white-space: normal; display: inline-block; max-width: {width}">{text}</span>'


def _classes(report):
    """Which outline is which, where there are several."""
    if len(report.task.labels) == 1:
        return Markup("")
    shown = (
        f'<span class="swatch" style="border-color: rgb{COLOURS[index % len(COLOURS)]}"></span>{escape(name)}'
        for index, name in enumerate(report.task.names)
    )
    return paragraph(Markup(" ".join(shown)))


def _problem(row):
    kind, cases, text = row
    colour = Markup(f'<span class="warn">{escape(kind)}</span>') if kind == "error" else kind
    return (colour, _wrapped(cases, "16rem"), _wrapped(text, "34rem"))


def _case(row):
    *cells, labels, share = case_cells(row)
    return (*cells, _wrapped(labels.replace(": ", ":\u00a0"), "13rem"), share)


def _wrapped(text, width):
    return Markup(_WRAP.format(width=width, text=escape(text)))


def _pictures(report):
    worst = {finding.case_id: finding.kind for finding in reversed(report.findings)}
    for row in report.rows:
        thumbnail = report.thumbnails.get(row["case"])
        if thumbnail:
            data = base64.b64encode(thumbnail).decode("ascii")
            caption = " · ".join(filter(None, (row["case"], case_cells(row)[1], worst.get(row["case"]))))
            alt = escape(f"Three slices of {row['case']}")
            yield Markup(
                f'<figure><img src="data:image/jpeg;base64,{data}" alt="{alt}" loading="lazy">'
                f"<figcaption>{escape(caption)}</figcaption></figure>"
            )
