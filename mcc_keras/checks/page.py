"""The check as one HTML page."""

from mcc_keras.checks.columns import CASE_COLUMNS, case_cells
from mcc_keras.reporting.html import (
    Markup,
    element,
    facts,
    gallery,
    image,
    join,
    page,
    paragraph,
    section,
    swatch,
    table,
)
from mcc_keras.reporting.thumbnails import class_color

MAX_PICTURES = 300  # about 20 kB each
MAX_NAMES = 200
_KINDS = ("error", "warning", "note", None)


def build_page(report):
    """Return the whole document of a `CheckReport`: all cases in the table, and pictures of the worst hundreds."""
    summary = report.summary()
    found = [(kind, _names(cases), text) for kind, cases, text in report.table()]
    problems = table(("kind", "cases", "what"), map(_problem, found), text_columns=(1, 2))
    cases = table(CASE_COLUMNS, map(_case, report.rows), text_columns=(1, 2, 3, 4, 5))
    return page(
        f"Check of {len(report.rows)} cases",
        facts({name: summary.pop(name) for name in ("cases", "patients", "errors", "warnings")}),
        paragraph(", ".join(f"{name} {value}" for name, value in summary.items())),
        section("What was found", problems if found else paragraph("No problems found.")),
        section("Advice", *map(paragraph, report.advice)) if report.advice else Markup(""),
        section("Pictures", paragraph(_LEGEND), _classes(report), gallery(_pictures(report)), _left_out(report)),
        section("Cases", cases),
        lead="Errors are what training would refuse; warnings are worth a look; nothing was changed.",
    )


_LEGEND = (
    "Axial, coronal and sagittal slice through the middle of the foreground, the first channel, the outline of each "
    "class in its color; the patient's right is on the left."
)


def _classes(report):
    """Which outline is which, where there are several."""
    if len(report.task.labels) == 1:
        return Markup("")
    return paragraph(join(swatch(class_color(index), name) for index, name in enumerate(report.task.names)))


def _problem(row):
    kind, cases, text = row
    colored = element('<span class="warn">{}</span>', kind) if kind == "error" else kind
    return (colored, cases, text)


def _names(cases):
    more = f" and {len(cases) - MAX_NAMES} more" if len(cases) > MAX_NAMES else ""
    return ", ".join(cases[:MAX_NAMES]) + more


def _case(row):
    *cells, labels, share = case_cells(row)
    return (*cells, labels.replace(": ", ":\u00a0"), share)


def _pictures(report):
    worst = {finding.case_id: finding.kind for finding in reversed(report.findings)}
    rows = sorted(report.rows, key=lambda row: _KINDS.index(worst.get(row["case"])))
    for row in [row for row in rows if row["case"] in report.thumbnails][:MAX_PICTURES]:
        case_id = row["case"]
        caption = " · ".join(filter(None, (case_id, case_cells(row)[1], worst.get(case_id))))
        yield image(report.thumbnails[case_id], alt=f"Three slices of {case_id}", caption=caption)


def _left_out(report):
    count = len(report.thumbnails)
    if count <= MAX_PICTURES:
        return Markup("")
    return paragraph(f"Pictures of {MAX_PICTURES} of {count} cases: those with errors first, then those with warnings.")
