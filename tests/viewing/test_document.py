import base64
import gzip
import hashlib
import html.parser
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mcc_keras.viewing import document
from mcc_keras.viewing.document import served_files, whole_page
from mcc_keras.viewing.scene import read_scene
from mcc_keras.volumes import Volume

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&\x1b"
OBLIQUE = np.array([[1.9, 0.2, 0.3, -10], [-0.2, 1.9, 0.1, 20], [-0.3, -0.1, 4.0, 5], [0, 0, 0, 1.0]])
NIIVUE = Path(document.__file__).parent / "niivue"


class Page(html.parser.HTMLParser):
    """What a browser would make of a page: its elements with their attributes, and its text by element."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.open = [], [], ("", {})
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.open = (tag, dict(attributes))
        self.elements.append(self.open)

    def handle_data(self, data):
        self.texts.append((self.open, data))

    def text(self, name):
        return "".join(text for element, text in self.texts if element[1].get("id") == name)


def a_scene(dtype=np.int16, size=(20, 22, 24), names=None):
    random = np.random.default_rng(0)
    array = random.integers(0, 100, size).astype(dtype)
    mask = np.zeros(size, np.uint8)
    mask[8:11, 9:12, 10:13] = 1
    mask[9, 10, 11] = 7
    volume = Volume(array, OBLIQUE, Path(HOSTILE.replace("/", "∕")))
    return read_scene(volume, [Volume(mask, OBLIQUE, Path("mask.nii"))], names=names)


def opened(data):
    return nib.Nifti1Image.from_bytes(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)


def embedded(page, name):
    return opened(base64.b64decode(Page(page).text(name)))


def test_the_viewer_is_niivue_as_published():
    readme = (NIIVUE / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256((NIIVUE / "niivue.umd.js").read_bytes()).hexdigest() in readme
    assert f"{(NIIVUE / 'niivue.umd.js').stat().st_size:,} bytes" in readme
    assert "BSD 2-Clause" in (NIIVUE / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("dtype", ["uint8", "int8", "bool", "int16", "uint16", "int32", "float32", "float64", "int64"])
def test_a_scan_of_any_type_keeps_its_values_and_its_place(dtype):
    scene = a_scene(dtype)
    image = opened(served_files(scene)["scan.nii"][1])
    assert np.array_equal(image.get_fdata(), scene.scan.array.astype(float))
    assert np.allclose(image.affine, OBLIQUE, rtol=0, atol=1e-6)
    assert image.get_data_dtype() in (np.uint8, np.int16, np.uint16, np.float32)


def test_values_beyond_float32_are_drawn_as_the_largest():
    array = np.full((4, 4, 4), -1e300)
    image = opened(served_files(read_scene(array))["scan.nii"][1])
    assert np.isfinite(np.asarray(image.dataobj)).all()


def test_a_mask_is_served_as_the_numbers_of_its_classes():
    scene = a_scene()
    image = opened(served_files(scene)["mask-1.nii"][1])
    assert np.array_equal(np.asarray(image.dataobj), scene.masks[0].classes)
    assert image.get_data_dtype() == np.uint8


@pytest.mark.parametrize(
    "make", [lambda scene: served_files(scene)[""][1].decode(), lambda scene: whole_page(scene)[0]]
)
def test_a_hostile_name_stays_text_wherever_it_stands(make):
    page = Page(make(a_scene(names={HOSTILE: 1})))
    assert all("onerror" not in attributes for _, attributes in page.elements)
    assert not any(tag == "img" for tag, _ in page.elements)
    shown = [text for element, text in page.texts if element[0] in ("h1", "title", "i") and "onerror" in text]
    assert len(shown) == 3 and not any("\x1b" in text for _, text in page.texts)
    assert json.loads(page.text("scene"))["names"][0] == HOSTILE.replace("\x1b", "\\x1b")


def test_the_legend_names_the_classes_of_each_mask_with_their_colors():
    page = whole_page(a_scene(names={"liver": 1, "absent": 2}))[0]
    legend = re.search('<div id="masks">(.*?)</div>', page, flags=re.DOTALL)[1]
    assert re.findall(r'background:#(\w+)"></i>([^<]*)', legend) == [("19b8e0", "liver"), ("7ed321", "label 7")]
    assert json.loads(Page(page).text("scene"))["layers"][1]["colors"][2] == [126, 211, 33]


def test_an_empty_mask_is_named_as_such_and_without_masks_there_is_nothing_to_blend():
    page = whole_page(read_scene(np.zeros((4, 4, 4)), [np.zeros((4, 4, 4), int)]))[0]
    assert "mask 1</label><span>empty</span>" in page
    assert "<label hidden>opacity" in whole_page(read_scene(np.zeros((4, 4, 4))))[0]


def test_a_page_allows_its_own_scripts_and_nothing_else():
    page = whole_page(a_scene())[0]
    policy = next(found["content"] for tag, found in Page(page).elements if tag == "meta" and "content" in found
                  and "http-equiv" in found)  # fmt: skip
    codes = re.findall("<script>(.*?)</script>", page, flags=re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in codes]
    assert len(hashes) == 2
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{hashes[0]}' 'sha256-{hashes[1]}'; "
        "style-src 'unsafe-inline'; img-src data: blob:"
    )
    assert "Copyright (c) 2021, Niivue" in Page(page).text("licenses")


def test_the_whole_scan_is_embedded_where_it_fits():
    scene = a_scene()
    page, box = whole_page(scene)
    assert box is None and "Part of the scan" not in page
    assert np.array_equal(np.asarray(embedded(page, "scan").dataobj), scene.scan.array)
    assert np.array_equal(np.asarray(embedded(page, "mask-1").dataobj), scene.masks[0].classes)


def test_a_larger_scan_is_cropped_around_its_masks_and_stays_in_place():
    scene = a_scene(np.float32, size=(64, 64, 64))
    limit = 2_500_000
    page, box = whole_page(scene, limit=limit)
    assert len(page.encode()) <= limit
    image = embedded(page, "scan")
    part = tuple(slice(low, high) for low, high in zip(box.low, box.high, strict=True))
    assert np.array_equal(np.asarray(image.dataobj), scene.scan.array[part])
    assert image.shape != scene.scan.shape
    assert np.allclose(image.affine @ [0, 0, 0, 1], OBLIQUE @ [*box.low, 1], rtol=0, atol=1e-5)
    assert np.asarray(embedded(page, "mask-1").dataobj).astype(bool).sum() == 27
    assert f"Part of the scan: x {box.low[0]} to {box.high[0] - 1} of 64" in page


def test_what_does_not_fit_gives_no_page():
    assert whole_page(a_scene(), limit=1_000_000) == (None, None)
    assert whole_page(read_scene(np.random.default_rng(0).random((64, 64, 64))), limit=2_400_000) == (None, None)


def test_black_and_white_are_the_percentiles_of_reports():
    scene = read_scene(np.arange(1000.0).reshape(10, 10, 10))
    found = json.loads(Page(whole_page(scene)[0]).text("scene"))
    assert found["window"] == pytest.approx([9.99, 994.005])
    assert found["range"] == [0, 999]


def test_a_constant_scan_has_a_window():
    low, high = json.loads(Page(whole_page(read_scene(np.full((4, 4, 4), 7)))[0]).text("scene"))["window"]
    assert low < high
