import os

import numpy as np
import pytest

import mcc_keras as mk
from mcc_keras.errors import OutputExistsError, UsageError, VolumeError
from mcc_keras.viewing import view as module


@pytest.fixture
def pair(write_pairs):
    folder = write_pairs(count=1)
    return folder / "case0.nii.gz", folder / "case0_mask.nii.gz"


def test_a_page_is_written_and_replaced_only_on_request(pair, tmp_path):
    scan, mask = pair
    path = mk.view(scan, [mask], tmp_path / "new" / "page.html")
    first = path.read_bytes()
    with pytest.raises(OutputExistsError, match="page.html"):
        mk.view(scan, [], path)
    assert path.read_bytes() == first
    assert mk.view(scan, [], path, overwrite=True).read_bytes() != first
    assert os.listdir(path.parent) == ["page.html"]


@pytest.mark.parametrize("name", ["page.png", "page", "http://host/page.html"])
def test_a_page_needs_a_name_of_one(name, pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        mk.view(pair[0], [], name)


def test_a_page_is_never_its_own_input_and_no_folder(pair, tmp_path):
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(OutputExistsError, match="found a folder"):
        mk.view(pair[0], [], tmp_path / "folder.html", overwrite=True)
    (tmp_path / "scan.html").symlink_to(pair[0])
    with pytest.raises(UsageError, match="must not be an input"):
        mk.view(pair[0], [], tmp_path / "scan.html", overwrite=True)


def test_one_mask_without_brackets_is_refused(pair):
    for mask in (str(pair[1]), np.zeros((2, 2, 2))):
        with pytest.raises(UsageError, match="brackets"):
            mk.view(pair[0], mask)


@pytest.mark.parametrize(("masks", "way_out"), [([], "Name a mask to crop around. Look at the whole"), (1, "Look at")])
def test_a_scan_that_is_too_large_leads_to_a_way_out(masks, way_out, pair, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "whole_page", lambda scene: (None, None))
    masks = [pair[1]] if masks else []
    with pytest.raises(VolumeError, match="expected a scan that fits 20 MB") as caught:
        mk.view(pair[0], masks, tmp_path / "page.html")
    assert caught.value.way_out.startswith(way_out)
    assert not (tmp_path / "page.html").exists()


def test_a_large_scan_with_a_small_mask_is_a_page_of_less_than_20_mb(tmp_path):
    scan = np.random.default_rng(0).normal(size=(200, 200, 200)).astype(np.float32)  # 32 MB
    mask = np.zeros(scan.shape, np.uint8)
    mask[40:60, 50:70, 30:40] = 1
    path = mk.view(scan, [mask], tmp_path / "page.html")
    assert 10e6 < path.stat().st_size <= 20e6
    assert "Part of the scan: x 0 to 134 of 200" in path.read_text(encoding="utf-8")
