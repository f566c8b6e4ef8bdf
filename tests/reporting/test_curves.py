import math
import re
from xml.etree import ElementTree

import pytest

from mcc_keras.reporting.curves import MOST_POINTS, Level, Line, draw_chart, find_ticks

BLUE = (51, 101, 138)


def chart(points, **settings):
    return draw_chart("Dice <1>", [Line("training & more", BLUE, points)], **settings)


def texts(markup):
    """Return the text of every label of the axes."""
    svg = ElementTree.fromstring(re.search("<svg.*</svg>", markup, flags=re.DOTALL)[0])
    return [each.text for each in svg.iter("text")]


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 7, 40, 1000, 12345])
def test_the_ticks_of_epochs_are_a_few_whole_numbers(epochs):
    labels = texts(chart([(n, 0.5) for n in range(1, epochs + 1)]))[:-1]
    ticks = [label for label in labels if "." not in label]
    assert 1 <= len(ticks) <= 6 and all(1 <= int(tick) <= epochs for tick in ticks)
    assert labels.count("0.5") == 1


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.31, 0.62, [0.35, 0.4, 0.45, 0.5, 0.55, 0.6]),
        (0, 2e-5, [0, 5e-6, 1e-5, 1.5e-5, 2e-5]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (0, 1234, [0, 500, 1000]),
    ],
)
def test_ticks_are_round_numbers(low, high, expected):
    assert find_ticks(low, high) == pytest.approx(expected)


def test_a_line_is_interrupted_where_a_number_is_missing():
    drawn = chart([(1, 0.2), (2, 0.3), (3, math.nan), (4, 0.5)])
    assert (drawn.count("<polyline"), drawn.count("<circle")) == (1, 1)
    assert "nan" not in drawn


def test_nothing_to_draw_is_an_empty_chart():
    assert chart([]).count("<polyline") == chart([(1, math.nan)]).count("<polyline") == 0


def test_baselines_and_the_best_epoch_are_in_the_legend():
    drawn = chart([(1, 0.2), (2, 0.3)], levels=[Level("all background 0.000", BLUE, 0.0)], mark=(2, "best epoch 2"))
    assert "all background 0.000" in drawn and "best epoch 2" in drawn
    assert drawn.count('stroke-dasharray="7 4"') == drawn.count('stroke-dasharray="2 4"') == 1


def test_a_level_outside_the_line_is_inside_the_chart():
    drawn = chart([(1, 0.8), (2, 0.9)], levels=[Level("low", BLUE, 0.1)])
    heights = [float(y) for y in re.findall(r'y1="([0-9.]+)"', drawn)]
    assert min(heights) > 0 and max(heights) < 240


def test_shares_are_percent_and_text_is_escaped():
    drawn = chart([(1, 0.0), (2, 1.0)], percent=True)
    assert texts(drawn)[:6] == ["0%", "20%", "40%", "60%", "80%", "100%"]
    assert "Dice &lt;1&gt;" in drawn and "training &amp; more" not in drawn  # a single line needs no legend


def test_many_epochs_stay_small_and_keep_their_peaks():
    points = [(n, 0.5) for n in range(1, 50_001)]
    points[33_333] = (33_334, 0.9)
    drawn = chart(points, limits=(0, 1))
    (places,) = re.findall('points="([^"]*)"', drawn)
    heights = [float(place.split(",")[1]) for place in places.split()]
    assert len(heights) <= MOST_POINTS + 2
    assert min(heights) < 0.5 * max(heights)


@pytest.mark.parametrize("most", [1e-9, 2e-5, 3e-4, 0.002, 0.7, 25, 98765, 3e7])
def test_the_ticks_fit_beside_the_chart_and_differ(most):
    ticks = texts(chart([(1, 0.0), (2, most)]))[:-3]
    assert max(map(len, ticks)) <= 6
    assert len(set(ticks)) == len(ticks) >= 3
