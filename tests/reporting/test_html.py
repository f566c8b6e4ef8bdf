import base64
import hashlib
import re

import pytest

from mcc_keras.reporting import html as report
from mcc_keras.reporting import plots

HOSTILE = "<img src=x onerror=alert(1)>\"'&"


def test_text_is_escaped_and_markup_is_not_escaped_twice():
    assert report.escape(HOSTILE) == "&lt;img src=x onerror=alert(1)&gt;&#34;&#39;&amp;"
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


def test_control_characters_are_spelled_out():
    assert report.paragraph("a\x1b[2J\u202e") == '<p class="note">a\\x1b[2J\\u202e</p>'


def test_only_the_script_that_sorts_is_allowed_by_its_hash():
    plain, sortable = (report.page("t", report.table(["a"], [["b"]], sortable=kind)) for kind in (False, True))
    (script,) = re.findall(r"<script>(.*?)</script>", sortable, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in sortable
    assert "<script" not in plain


def test_an_element_escapes_what_it_is_given():
    assert HOSTILE not in report.element('<a href="{}">{name}</a>', HOSTILE, name=HOSTILE)
    assert report.folded(HOSTILE, HOSTILE).count("&lt;img") == 2
