import pytest

from mcc_keras.reporting import html as report
from mcc_keras.reporting import plots

HOSTILE = "<img src=x onerror=alert(1)>\"'&"


def test_text_is_escaped_and_markup_is_not_escaped_twice():
    assert report.escape(HOSTILE) == "&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;&amp;"
    assert report.paragraph(HOSTILE).count("<") == 2
    assert report.escape(report.paragraph("a & b")) == '<p class="note">a &amp; b</p>'


@pytest.mark.parametrize("piece", [report.facts({HOSTILE: HOSTILE}), report.table([HOSTILE], [[HOSTILE]])])
def test_pieces_escape_names_and_values(piece):
    assert "<img" not in piece
    assert piece.count("&lt;img src=x") == 2


def test_the_same_figure_gives_the_same_bytes():
    first, second = (report.picture(plots.new_figure((1, 1)), alt="nothing") for _ in range(2))
    assert first == second


def test_a_page_is_written_aside_and_renamed(tmp_path):
    path = report.write_page(report.page("Ü & ö"), tmp_path / "report.html")
    assert "Ü &amp; ö" in path.read_text(encoding="utf-8")
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
