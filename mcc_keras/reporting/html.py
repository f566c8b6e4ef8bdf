"""Self-contained HTML pages: one file, nothing fetched from anywhere, every text escaped.

The pieces (`page`, `table`, `picture`, `facts`) return `Markup`. Any other argument is text and is escaped, so a case
id or a path can hold any character. The only script sorts tables and is allowed by its hash; the page is complete
without it.
"""

import base64
import hashlib
import io

import markupsafe
from markupsafe import Markup

from mcc_keras.files import write_text
from mcc_keras.reporting.plain import printable

CSS = """
:root { --ink: #1d2733; --soft: #5b6876; --line: #dfe4ea; --tint: #f5f7f9; --accent: #33658a; --warn: #b3541e; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 72rem; color: var(--ink); background: #fff;
       font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .7rem; padding-top: .8rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { margin: .5rem 0; max-width: 48rem; overflow-wrap: anywhere; }
a { color: var(--accent); }
.lead, .note, figcaption { color: var(--soft); }
.note, figcaption { font-size: .88rem; }
.warn { color: var(--warn); }
dl.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .6rem; margin: 1.2rem 0; }
dl.facts div { background: var(--tint); border-radius: .5rem; padding: .6rem .8rem; overflow-wrap: anywhere; }
dl.facts dt { color: var(--soft); font-size: .8rem; }
dl.facts dd { margin: 0; font-size: 1.25rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; min-width: 60%; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
th, td { padding: .3rem .5rem; text-align: right; border-bottom: 1px solid var(--line); }
td { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; overflow-wrap: anywhere;
                                 min-width: 6rem; }
td.text, th.text { text-align: left; }
td.text { white-space: normal; overflow-wrap: anywhere; min-width: 5rem; max-width: 34rem; }
table.sortable th { cursor: pointer; }
tbody tr:hover { background: var(--tint); }
details { border-bottom: 1px solid var(--line); padding: .35rem 0; }
summary { cursor: pointer; overflow-wrap: anywhere; }
figure { margin: 1rem 0; }
figure:target { outline: 2px solid var(--accent); outline-offset: .4rem; }
img { max-width: 100%; height: auto; display: block; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(28rem, 100%), 1fr)); gap: .4rem 1.5rem; }
.swatch { display: inline-block; width: 1.6em; border-top: 3px solid; vertical-align: middle; margin: 0 .3em 0 .8em; }
footer { margin-top: 3rem; color: var(--soft); font-size: .8rem; overflow-wrap: anywhere; }
"""
SORT = """
for (const head of document.querySelectorAll("table.sortable th")) {
  head.tabIndex = 0;
  const sort = () => {
    const column = head.cellIndex, body = head.closest("table").tBodies[0];
    const down = head.ariaSort !== "descending", sign = down ? -1 : 1;
    const key = row => row.cells[column].textContent.trim();
    for (const other of head.parentNode.cells) other.ariaSort = null;
    head.ariaSort = down ? "descending" : "ascending";
    body.append(...[...body.rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)], [m, n] = [parseFloat(x), parseFloat(y)];
      if (isNaN(m) !== isNaN(n)) return isNaN(m) ? 1 : -1;
      return sign * (isNaN(m) ? x.localeCompare(y) : m - n);
    }));
  };
  head.addEventListener("click", sort);
  head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
}
"""
_HASH = base64.b64encode(hashlib.sha256(SORT.encode()).digest()).decode("ascii")
# Nothing is loaded or run even if some text were not escaped.
POLICY = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{_HASH}'"
_PAGE = Markup(
    "<!DOCTYPE html>\n"
    '<html lang="en"><head><meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    '<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    "<title>{title}</title><style>{css}</style></head>\n"
    '<body><h1>{title}</h1>\n<p class="lead">{lead}</p>\n{body}\n'
    "<footer>{footer}</footer>{script}</body></html>\n"
)


def escape(value):
    """Return HTML: `Markup` as it is, None as a dash, anything else as escaped text without control characters.

    Example:

    >>> escape("<script>"), escape(None), escape(Markup("<b>"))
    (Markup('&lt;script&gt;'), Markup('–'), Markup('<b>'))
    """
    if isinstance(value, Markup):
        return value
    return markupsafe.escape("–" if value is None else printable(value))


def element(template, *values, **named):
    """Return a template of HTML with every value escaped.

    Example:

    >>> element('<a href="#{}">{}</a>', 7, "a < b")
    Markup('<a href="#7">a &lt; b</a>')
    """
    return Markup(template).format(*map(escape, values), **{name: escape(value) for name, value in named.items()})


def join(parts, between=""):
    """Return pieces one after another, each escaped."""
    return Markup(between).join(map(escape, parts))


def page(title, *parts, lead="", footer=""):
    """Return a whole document: title, leading sentence, parts, footer."""
    body = join(parts, "\n")
    script = element("<script>{}</script>", Markup(SORT)) if 'class="sortable"' in body else ""
    return element(
        _PAGE, policy=Markup(POLICY), title=title, css=Markup(CSS), lead=lead, body=body, footer=footer, script=script
    )


def section(title, *parts):
    """Return a heading with the parts below it."""
    return element("<section><h2>{}</h2>\n{}</section>", title, join(parts, "\n"))


def paragraph(text, *, kind="note"):
    """Return a paragraph; kind is "note", "warn" or "lead"."""
    return element('<p class="{}">{}</p>', kind, text)


def facts(items):
    """Return tiles of a name and a value.

    Args:
        items: Mapping of text to text.
    """
    tiles = (element("<div><dt>{}</dt><dd>{}</dd></div>", name, value) for name, value in items.items())
    return element('<dl class="facts">{}</dl>', join(tiles))


def table(columns, rows, *, text_columns=(), sortable=False):
    """Return a table that scrolls sideways on a narrow screen.

    Args:
        columns: Names of the columns.
        rows: One sequence of values per row, formatted already; None becomes a dash.
        text_columns: Indices of columns that are aligned to the left; the first one always is.
        sortable: Whether a click on the head of a column sorts by it.
    """

    kinds = [' class="text"' if index in text_columns else "" for index in range(len(columns))]

    def cells(tag, values):  # plain strings: the cells of 10,000 cases are ten times as fast as by templates
        pairs = zip(kinds, values, strict=True)
        return "".join(f"<{tag}{kind}>{escape(value)}</{tag}>" for kind, value in pairs)

    body = Markup("".join(f"<tr>{cells('td', row)}</tr>\n" for row in rows))
    head = Markup(cells("th", columns))
    kind = Markup(' class="sortable"') if sortable else Markup("")
    template = '<div class="wide"><table{}><thead><tr>{}</tr></thead>\n<tbody>{}</tbody></table></div>'
    return element(template, kind, head, body)


def picture(figure, *, alt, caption="", dpi=110):
    """Return a matplotlib figure as a PNG inside the page.

    Args:
        figure: Matplotlib figure.
        alt: Description for those who do not see it.
        caption: Text below it.
        dpi: Pixels per inch.
    """
    buffer = io.BytesIO()
    # Without the note about the software the same figure gives the same bytes.
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return image(buffer.getvalue(), kind="png", alt=alt, caption=caption)


def image(data, *, alt, kind="jpeg", caption="", anchor=None):
    """Return the bytes of a picture inside the page.

    Args:
        data: Bytes of the file.
        alt: Description for those who do not see it.
        kind: "jpeg" or "png".
        caption: Text below it.
        anchor: Name for links to it.
    """
    here = "" if anchor is None else element(' id="{}"', anchor)
    below = element("<figcaption>{}</figcaption>", caption) if caption else ""
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
    template = '<figure{}><img src="{}" alt="{}" loading="lazy">{}</figure>'
    return element(template, here, Markup(source), alt, below)


def folded(title, *parts):
    """Return parts that a click on their title shows."""
    return element("<details><summary>{}</summary>{}</details>", title, join(parts, "\n"))


def swatch(color, text, *, dashed=False):
    """Return a piece of line in a color (red, green, blue) with its meaning."""
    style = f"border-color:#{bytes(color).hex()}" + (";border-top-style:dashed" if dashed else "")
    return element('<span class="swatch" style="{}"></span>{}', style, text)


def gallery(pictures):
    """Return pictures side by side where there is room."""
    return element('<div class="pictures">{}</div>', join(pictures))


def write_page(document, path):
    """Write a page under a temporary name, rename it, and return the path."""
    return write_text(path, document)
