"""Text that is safe where it is shown: no control characters on a terminal or a page, no live formula in a table."""

from mcc_keras.errors import printable

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


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
