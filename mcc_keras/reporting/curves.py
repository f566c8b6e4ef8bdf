"""Learning curves as SVG inside a page: a few kB and a millisecond each, where matplotlib takes a hundred.

A chart keeps its proportions on any screen; its text is large enough at the width of a phone.
"""

import math
from typing import NamedTuple

from mcc_keras.reporting.html import Markup, element, join, swatch

WIDTH, HEIGHT = 420, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 10, 42
MOST_CHARACTERS = 6  # of a tick on the left
MOST_POINTS = 400  # of a line; more than pixels show
GREY = (136, 136, 136)


class Line(NamedTuple):
    """A line of a chart.

    Args:
        name: Its meaning.
        color: (red, green, blue) from 0 to 255.
        points: Pairs (x, y); it is interrupted where y is not finite.
    """

    name: str
    color: tuple
    points: list


class Level(NamedTuple):
    """A horizontal line of a chart, as of a baseline.

    Args:
        name: Its meaning.
        color: (red, green, blue) from 0 to 255.
        value: Its height.
    """

    name: str
    color: tuple
    value: float


def draw_chart(title, lines, *, levels=(), mark=None, limits=None, percent=False):
    """Return a chart of numbers by epoch, its legend below the title.

    Args:
        title: Text above it.
        lines: `Line`s whose x are epochs.
        levels: `Level`s, drawn dashed.
        mark: (epoch, meaning) of a dotted vertical line, or `None`.
        limits: Lowest and highest y that are shown at least; by default those of the lines.
        percent: Whether y is a share that is written as percent.

    Example:

    >>> chart = draw_chart("Loss", [Line("training", (51, 101, 138), [(1, 0.9), (2, 0.5)])])
    >>> chart.count("<polyline"), "epoch" in chart
    (1, True)
    """
    drawn = [point for line in lines for point in line.points if math.isfinite(point[1])]
    heights = [y for _, y in drawn] + [level.value for level in levels] + list(limits or ())
    frame = _Frame(_spread([x for x, _ in drawn], least=1), _spread(heights))
    parts = [*_axes(frame, percent=percent), *(_level(level, frame) for level in levels)]
    if mark is not None:
        parts.append(_segment((frame.x(mark[0]), TOP), (frame.x(mark[0]), HEIGHT - BOTTOM), GREY, dash="2 4"))
    parts += [part for line in lines for part in _line(line, frame)]
    below = element("<figcaption>{}</figcaption>", join(_legend(lines, levels, mark), " "))
    template = (
        '<figure><h3 style="margin:0 0 .2rem">{}</h3>{}<svg viewBox="0 0 {} {}" role="img" aria-label="{}"'
        ' font-size="14" fill="#5b6876" style="display:block;width:100%;height:auto">{}</svg></figure>'
    )
    return element(template, title, below, WIDTH, HEIGHT, f"{title} by epoch", join(parts))


def find_ticks(low, high, *, whole=False, most=6):
    """Return the round numbers in an interval, at most so many: multiples of 1, 2 or 5 times a power of ten.

    Args:
        low: Its lower end.
        high: Its upper end, above it.
        whole: Only whole numbers.
        most: Largest number of ticks.

    Example:

    >>> find_ticks(0, 1), find_ticks(1, 3, whole=True), find_ticks(0.0, 0.002)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [1.0, 2.0, 3.0], [0.0, 0.0005, 0.001, 0.0015, 0.002])
    """
    exponent = math.floor(math.log10((high - low) / most))
    steps = (factor * 10.0**power for power in range(exponent, exponent + 3) for factor in (1, 2, 5))
    slack = 1e-9 * (high - low)
    for step in steps:
        first, last = math.ceil((low - slack) / step), math.floor((high + slack) / step)
        if last - first < most and (step >= 1 or not whole):
            return [float(f"{number * step:.9g}") for number in range(first, last + 1)]
    return [low]


def tick_texts(ticks):
    """Return ticks as text, in powers of ten where there is no room for all digits.

    Example:

    >>> tick_texts([0.0, 0.0005]), tick_texts([0.0, 0.00015])
    (['0', '0.0005'], ['0', '1.5e-4'])
    """
    texts = [f"{value:.6g}" for value in ticks]
    if max(map(len, texts)) <= MOST_CHARACTERS:
        return texts
    parts = (f"{value:.2e}".split("e") for value in ticks)
    return ["0" if float(digits) == 0 else f"{float(digits):g}e{int(power)}" for digits, power in parts]


class _Frame:
    """From numbers to pixels."""

    def __init__(self, horizontal, vertical):
        (self.left, self.right), (self.low, self.high) = horizontal, vertical

    def x(self, value):
        return round(LEFT + (value - self.left) / (self.right - self.left) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value):
        return round(HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM), 1)


def _legend(lines, levels, mark):
    """Return what each line means, where there are several; no meaning is broken across lines of text."""
    meanings = [swatch(line.color, line.name) for line in lines] if len(lines) + len(levels) > 1 else []
    meanings += [swatch(level.color, level.name, dashed=True) for level in levels]
    meanings += [] if mark is None else [element('<span style="margin-left:.8em">┊ {}</span>', mark[1])]
    return [element('<span style="white-space:nowrap">{}</span>', each) for each in meanings]


def _spread(values, least=0.0):
    """Return the lowest and the highest value, apart from each other."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if high - low > 1e-9 * max(abs(low), abs(high)):
        return low, high
    half = max(least, abs(low)) / 2 or 0.5
    return low - half, high + half


def _axes(frame, *, percent):
    ticks = find_ticks(frame.low, frame.high)
    for value, text in zip(ticks, [f"{value:.0%}" for value in ticks] if percent else tick_texts(ticks), strict=True):
        y = frame.y(value)
        yield _segment((LEFT, y), (WIDTH - RIGHT, y), (223, 228, 234))
        yield element('<text x="{}" y="{}" text-anchor="end">{}</text>', LEFT - 7, y + 4.5, text)
    bottom = HEIGHT - BOTTOM
    for value in find_ticks(frame.left, frame.right, whole=True):
        x = frame.x(value)
        yield _segment((x, bottom), (x, bottom + 5), GREY)
        yield element('<text x="{}" y="{}" text-anchor="middle">{}</text>', x, bottom + 19, f"{value:.0f}")
    yield element('<text x="{}" y="{}" text-anchor="middle">epoch</text>', (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6)


def _level(level, frame):
    y = frame.y(level.value)
    return _segment((LEFT, y), (WIDTH - RIGHT, y), level.color, dash="7 4", width=1.5)


def _line(line, frame):
    """Return a polyline for each uninterrupted stretch, a point where it is one epoch."""
    for stretch in _stretches(line.points):
        places = [f"{frame.x(x)},{frame.y(y)}" for x, y in _thinned(stretch)]
        color = _hex(line.color)
        if len(places) == 1:
            x, y = places[0].split(",")
            yield element('<circle cx="{}" cy="{}" r="3" fill="{}"/>', x, y, color)
        else:
            yield element(
                '<polyline points="{}" fill="none" stroke="{}" stroke-width="2" stroke-linejoin="round"/>',
                Markup(" ".join(places)),
                color,
            )


def _stretches(points):
    stretch = []
    for point in points:
        if math.isfinite(point[1]):
            stretch.append(point)
        elif stretch:
            yield stretch
            stretch = []
    if stretch:
        yield stretch


def _thinned(points):
    """Return the lowest and the highest of each group of neighbors, so that no peak is lost."""
    size = -(-2 * len(points) // MOST_POINTS)
    if size < 3:
        return points
    kept = [points[0]]
    for start in range(0, len(points), size):
        group = points[start : start + size]
        kept += sorted({min(group, key=lambda point: point[1]), max(group, key=lambda point: point[1])})
    return [*kept, points[-1]]


def _segment(begin, end, color, *, dash="none", width=1):
    template = '<line x1="{}" y1="{}" x2="{}" y2="{}" stroke="{}" stroke-width="{}" stroke-dasharray="{}"/>'
    return element(template, *begin, *end, _hex(color), width, dash)


def _hex(color):
    return f"#{bytes(color).hex()}"
