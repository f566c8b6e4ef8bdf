"""Text that is safe where it is shown: no control characters on a terminal or a page, no live formula in a table."""

import unicodedata

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
# Control and format characters, lone surrogates, private ones, and the separators of lines and paragraphs.
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def printable(text):
    r"""Return text with every control character spelled out, so that it cannot move a cursor or forge a line.

    Example:

    >>> printable("case\x1b[2J\n7"), printable("Fräulein")
    ('case\\x1b[2J\\n7', 'Fräulein')
    """
    text = str(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(x.encode("unicode_escape").decode() if unicodedata.category(x) in _HIDDEN else x for x in text)


def cell(value):
    """Return a value as a cell of a CSV file; text that a spreadsheet would compute is quoted by an apostrophe.

    Example:

    >>> cell("=1+1"), cell(-0.5), cell(1 / 3), cell(None)
    ("'=1+1", '-0.5', '0.333333', '')
    """
    if value is None:
        return ""
    if isinstance(value, int | float):
        return f"{value:.6g}" if isinstance(value, float) else str(value)
    return printable(f"'{value}" if str(value).startswith(_FORMULA) else value)


def columns(rows, *, right=()):
    """Return lines of text, one for each row, with aligned columns.

    Args:
        rows: Sequences of text of one length.
        right: Indices of columns that are aligned to the right.

    Example:

    >>> columns([("case", "Dice"), ("a", "0.5")], right=(1,))
    ['case  Dice', 'a      0.5']
    """
    rows = [[printable(text) for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def aligned(index, text):
        return text.rjust(widths[index]) if index in right else text.ljust(widths[index])

    return ["  ".join(aligned(*pair) for pair in enumerate(row)).rstrip() for row in rows]
