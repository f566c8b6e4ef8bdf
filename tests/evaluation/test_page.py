import dataclasses
import html.parser
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mcc_keras.evaluation.case import Settings, score_case
from mcc_keras.evaluation.page import MAX_PICTURES, build_score_page, worst_first
from mcc_keras.evaluation.scores import Scores, Summary, describe_class, describe_masks, summarize_rows
from mcc_keras.reporting import html as report
from mcc_keras.reporting.thumbnails import class_color
from mcc_keras.runs.recipe import Recipe
from mcc_keras.runs.run import Run, RunResult

HOSTILE = "<img src=x onerror=alert(1)>\"'&\x1b"
SHOWN = HOSTILE.replace("\x1b", "\\x1b")


class Page(html.parser.HTMLParser):
    """What a browser would make of a page: its elements with their attributes, and its text."""

    def __init__(self, document):
        super().__init__()
        self.elements, self.text = [], []
        self.feed(document)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def scored(case, *, shift=0, truth=True, predicted=True, classes=None, note="", site="A"):
    """A case with a cube of 4³ voxels of 1 mm that is predicted `shift` voxels away."""
    masks = np.zeros((2, 12, 12, 12), np.uint8)
    masks[0, 3:7, 3:7, 3:7] = truth
    masks[1, 3 + shift : 7 + shift, 3:7, 3:7] = predicted
    identity = {"case": case, "group": case, "site": site, "note": note}
    classes = classes or {"liver": (1,)}
    return score_case(identity, *masks, affine=np.eye(4), classes=classes, settings=Settings())


def a_run():
    result = RunResult(best_epoch=1, best_value=0.2, steps=1, seconds=1.0, parameters=1, speed={}, versions={})
    run = Run(Path("runs/7"), Recipe(epochs=1, seed=7), None, None, result)
    run.__dict__["history"] = [{"epoch": 1, "loss": 0.9, "dice": 0.1, "val_loss": 0.8, "val_dice": 0.2}]
    return run


def scores_of(results, **summary):
    rows = [row for result in results for row in result.rows]
    summary = Summary(scored="test", **{"run": "runs/7", "flip_axes": (0,), **summary})
    return Scores(rows, summarize_rows(rows, summary=summary))


def score_page(results=None, *, run=True, **summary):
    if results is None:
        results = [scored("Case07", shift=2), scored("Case08"), scored("Case09", truth=False)]
    scores = scores_of(results, **summary)
    pictures = {result.rows[0]["case"]: result.picture for result in results}
    return build_score_page(scores, pictures=pictures, run=a_run() if run else None)


@pytest.fixture(scope="module")
def document():
    return score_page()


def test_a_hostile_name_stays_text_wherever_it_stands():
    hostile = scored(HOSTILE, shift=1, classes={HOSTILE: (1,)}, note=HOSTILE, site=HOSTILE)
    document = score_page([hostile, scored("b")], by="site", source=HOSTILE)
    page = Page(document)
    assert all("onerror" not in attributes for _, attributes in page.elements)
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    assert sum(SHOWN in text for text in page.text) > 8
    assert "\x1b" not in document and len(page.all("script")) == 1


def test_nothing_is_fetched_from_anywhere(document):
    without_pictures = re.sub(r"base64,[^\"]*", "", document)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<link|src=\"(?!data)", without_pictures)
    policy = next(meta["content"] for meta in Page(document).all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")


def test_a_page_is_a_whole_document_that_fits_a_phone(document):
    page = Page(document)
    assert document.startswith("<!DOCTYPE html>")
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert "max-width: 100%" in report.CSS
    assert page.all("html")[0]["lang"] == "en"


def test_every_case_has_a_picture_that_its_row_leads_to(document):
    page = Page(document)
    anchors = {figure["id"] for figure in page.all("figure") if "id" in figure}
    assert len(anchors) == 3 == len(page.all("details")) - 1
    assert {link["href"][1:] for link in page.all("a")} == anchors
    assert all(image["alt"] for image in page.all("img"))


def test_worst_median_and_best_case_are_shown_first(document):
    captions = re.findall(r"<figcaption>(\w+): (\w+):", document)
    assert captions == [("worst", "Case09"), ("median", "Case07"), ("best", "Case08")]


def test_the_page_shows_every_measure_of_a_case(document):
    part = document.split("<summary>Case07")[1].split("</details>")[0]
    cells = re.findall(r"<tr><td>([^<]*)</td><td[^>]*>[^<]*</td><td>([^<]*)</td></tr>", part)
    found = dict(cells)
    # Two of four layers overlap; the surfaces are two voxels apart.
    assert (found["Dice"], found["Jaccard"], found["HD"], found["TP"]) == ("0.500", "0.333", "2.00", "32")


def test_blank_scores_are_dashes(document):
    row = document.split(">Case09</a>")[1].split("</tr>")[0]
    assert row.count("–") == 8
    assert "None" not in document


def test_each_class_has_a_color_of_its_own():
    classes = {f"class {index}": (index,) for index in range(1, 9)}
    page = score_page([scored("a", classes=classes), scored("b", classes=classes)])
    for index in range(8):
        assert f"#{bytes(class_color(index)).hex()}" in page
    assert len({class_color(index) for index in range(255)}) == 255


def test_a_page_of_very_many_cases_shows_the_worst():
    one = scored("case", shift=1)
    results = []
    for index in range(MAX_PICTURES + 50):
        row = {**one.rows[0], "case": f"c{index:04}", "group": "g", "dice": index / 1000}
        results.append(dataclasses.replace(one, rows=(row,)))
    page = Page(score_page(results, run=False))
    assert len([figure for figure in page.all("figure") if "id" in figure]) == MAX_PICTURES
    assert len(page.all("a")) == MAX_PICTURES
    assert any("c0349" in text for text in page.text)


def test_cases_come_in_the_order_of_their_lowest_dice():
    results = [scored("good"), scored("empty", truth=False, predicted=False), scored("bad", shift=3)]
    assert worst_first(scores_of([*results, scored("alarm", truth=False)])) == ["alarm", "bad", "good", "empty"]


def test_a_class_is_described_with_its_interval_and_its_empty_cases():
    text = describe_class(scores_of([scored("a"), scored("b", shift=2), scored("c", truth=False)]).summary.classes[0])
    assert text == (
        "liver: mean Dice 0.750 (95 % CI 0.500 to 1.000) over 2 cases with it, 0 missed altogether. "
        "Without it: 1 case, 0 stayed empty, 64 false-positive voxels (0.06 ml). "
        "Volume: bias +0.00 ml, limits of agreement +0.00 to +0.00 ml."
    )
    nothing = scores_of([scored("c", truth=False)]).summary.classes[0]
    assert describe_class(nothing).startswith("liver: no case holds it.")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"flip_axes": (0, 2), "largest_component": True},
            "averaged over flips along x, z, only the largest component",
        ),
        ({"flip_axes": ()}, "without flips, all components kept"),
        ({"settings": Settings(tolerance_mm=1.5, smallest_lesion_mm3=8)}, "at 1.5 mm; lesions of at least 8 cubic mm"),
    ],
)
def test_the_options_behind_the_masks_are_in_the_text(options, text):
    assert text in describe_masks(Summary(scored="test", run="run", **options))


def test_every_mean_has_its_number_of_cases():
    text = str(scores_of([scored("a"), scored("b", predicted=False)]))
    lines = [line.split() for line in text.splitlines() if line.startswith("liver")]
    assert [(line[1], line[-1]) for line in lines if line[1] in ("Dice", "prec.")] == [("Dice", "2"), ("prec.", "1")]


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the page with")
def test_a_browser_sorts_the_table_without_an_error(document, tmp_path):
    probe = """
    <script>onerror = text => document.title = text; addEventListener("load", () => {
      const heads = [...document.querySelectorAll("table.sortable th")];
      heads.find(head => head.textContent === "Dice").click();
      document.title = [...document.querySelectorAll("table.sortable td:first-child")].map(x => x.textContent).join();
    });</script>"""
    # The policy allows no other script, so the page is opened without it here; its hash is tested apart.
    open_page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', probe, document)
    (tmp_path / "page.html").write_text(open_page, encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--dump-dom"]
    done = subprocess.run([*command, str(tmp_path / "page.html")], capture_output=True, text=True, timeout=120)
    assert re.search("<title>(.*?)</title>", done.stdout)[1] == "Case08,Case07,Case09"
