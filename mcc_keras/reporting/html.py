"""Self-contained HTML pages: one file, no script, nothing fetched from anywhere, every text escaped.

The pieces (`page`, `table`, `picture`, `facts`) return `Markup`; anything else that is handed to them is text and is
escaped, so a case id or a path can hold whatever it likes.
"""

import base64
import html
import io

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
