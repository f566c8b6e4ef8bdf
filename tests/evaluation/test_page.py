import base64
import html.parser
import re
from pathlib import Path

import numpy as np
import pytest

from mcc_keras.evaluation.page import build_score_page
from mcc_keras.evaluation.scores import describe_class, describe_options
from mcc_keras.reporting import html as report
from mcc_keras.reporting import plots
from mcc_keras.runs.recipe import Recipe
from mcc_keras.runs.run import Run, RunResult

HOSTILE = "<img src=x onerror=alert(1)>\"'&"


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


def score_row(case, dice, *, label="1", counted_as="scored", fp=3):
    row = {"case": case, "group": case, "label": label, "counted_as": counted_as, "dice": dice, "mcc": dice}
    row |= {"sensitivity": dice, "precision": dice, "volume_difference_percent": None if dice is None else -12.5}
    return row | {"true_ml": 1.5, "predicted_ml": 1.25, "tp": 5, "fp": fp, "fn": 2, "tn": 90}


def spread(mean, *, std=0.1, lowest=0.5):
    return {"n": 2, "mean": mean, "std": std, "median": mean, "min": lowest, "max": 0.9}


def class_summary(**changes):
    summary = {"label": "1", "with_organ": 2, "missed": 0, "without_organ": 1, "correctly_empty": 0, "false_alarms": 1}
    summary |= {"false_positive_voxels_without_organ": 3, "false_positive_ml_without_organ": 0.012}
    return summary | {"dice": spread(0.7), "mcc": spread(0.68)} | changes


def a_run():
    result = RunResult(best_epoch=1, best_value=0.2, steps=1, seconds=1.0, parameters=1, speed={}, versions={})
    run = Run(Path("runs/7"), Recipe(epochs=1, seed=7), None, None, result)
    run.__dict__["history"] = [{"epoch": 1, "loss": 0.9, "dice": 0.1, "val_loss": 0.8, "val_dice": 0.2}]
    return run


def score_page(*, case="Case07", classes=None, rows=None):
    summary = {"run": "runs/7", "scored": "test", "source": None, "cases": 3, "classes": classes or [class_summary()]}
    summary |= {"options": {"flip_axes": [0], "largest_component": False}}
    rows = rows or [score_row(case, 0.5), score_row("Case08", 0.9), score_row("Case09", None, counted_as="false alarm")]
    return build_score_page(
        rows=rows,
        summary=summary,
        run=a_run(),
        slices={case: plots.find_slices(np.random.default_rng(0).random((4, 5, 6)), np.eye(4))},
    )


def test_a_hostile_case_id_stays_text_wherever_it_stands():
    page = Page(score_page(case=HOSTILE))
    assert all("onerror" not in attributes for _, attributes in page.elements)
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    assert sum(HOSTILE in text for text in page.text) == 2
    assert not page.all("script")


def test_nothing_is_fetched_from_anywhere():
    document = score_page()
    without_pictures = re.sub(r"base64,[^\"]*", "", document)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<link|<script", without_pictures)
    policy = next(meta["content"] for meta in Page(document).all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")


def test_a_page_is_a_whole_document_that_fits_a_phone():
    page = Page(score_page())
    assert score_page().startswith("<!DOCTYPE html>")
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert "max-width: 100%" in report.CSS
    assert page.all("html")[0]["lang"] == "en"


def test_every_picture_is_a_png_with_words_for_those_who_do_not_see_it():
    images = Page(score_page()).all("img")
    assert len(images) == 3
    for image in images:
        assert base64.b64decode(image["src"].partition(",")[2]).startswith(b"\x89PNG")
        assert image["alt"]


def test_the_score_page_shows_every_number_that_it_was_given():
    text = " ".join(Page(score_page()).text)
    for shown in ("Case07", "0.500", "-12.5", "1.50", "1.25", "false alarm", "0.700", "0.680", "averaged over flips"):
        assert shown in text


def test_blank_scores_are_dashes():
    row = score_page().split("Case09")[1].split("</tr>")[0]
    assert row.count("–") == 5
    assert "None" not in score_page()


def test_several_classes_are_told_apart():
    classes = [class_summary(), class_summary(label="2+3")]
    rows = [score_row("Case07", 0.5), score_row("Case07", 0.8, label="2+3")]
    text = " ".join(Page(score_page(classes=classes, rows=rows)).text)
    assert "mean Dice of 2+3" in text
    assert "label" in text


def test_a_class_is_described_with_its_spread_and_its_empty_cases():
    assert describe_class(class_summary()) == (
        "label 1: mean Dice 0.700 ± 0.100 (lowest 0.500), mean MCC 0.680 over 2 cases that hold it, "
        "0 missed altogether. Without it: 1 case, 0 stayed empty, 3 false-positive voxels (0.01 ml)."
    )
    nothing = class_summary(with_organ=0, dice=spread(None), mcc=spread(None))
    assert describe_class(nothing).startswith("label 1: no case holds it.")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"flip_axes": [0, 2], "largest_component": True},
            "averaged over flips along x, z, only the largest component",
        ),
        ({"flip_axes": [], "largest_component": False}, "without flips, all components kept"),
    ],
)
def test_the_options_behind_the_masks_are_said(options, said):
    assert said in describe_options(options)
