"""A browser draws the page, served and as a file, without an error of a script."""

import re
import shutil
import subprocess
import threading

import numpy as np
import pytest
from PIL import Image

from mcc_keras.datasets.phantom import random_volume
from mcc_keras.reporting.thumbnails import COLORS
from mcc_keras.viewing.document import served_files, whole_page
from mcc_keras.viewing.scene import read_scene
from mcc_keras.viewing.server import FileServer
from mcc_keras.volumes import Volume

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
FLAGS += ["--enable-logging=stderr", "--virtual-time-budget=20000"]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the page with")


@pytest.fixture(scope="module")
def scene():
    scan = random_volume(3, size=(48, 48, 20), foreground_fraction=0.05, num_labels=2)
    mask = Volume(scan.mask, scan.affine)
    return read_scene(Volume(scan.image[..., 0], scan.affine), [mask], names={"organ": 1, "core": 2})


@pytest.fixture
def browse(tmp_path):
    """Return a function that opens an address and returns the document; no script may have complained."""

    def open_page(address, *options):
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *options, address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "GPU stall" not in line]
        assert [line for line in console if re.search("error|refused|uncaught|violates", line, re.IGNORECASE)] == []
        return done.stdout

    return open_page


def assert_drawn(document):
    assert re.search('<p id="problem"[^>]*></p>', document), document[-1000:]
    assert re.search('<body data-state="(.*?)"', document)[1] == "drawn"


def test_a_served_page_is_drawn(scene, browse):
    with FileServer(served_files(scene)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        document = browse(server.url, "--dump-dom")
        server.shutdown()
    assert_drawn(document)
    place = re.search('<p id="place"[^>]*>(.*?)</p>', document)[1]
    voxel = scene.focus
    x, y, z = (scene.scan.affine @ [*voxel, 1.0])[:3]
    label = scene.names[scene.masks[0].classes[voxel] - 1]
    assert place == f"x {x:.1f}, y {y:.1f}, z {z:.1f} mm · value {scene.scan.array[voxel]} · mask 1: {label}"


def test_a_page_in_a_file_is_drawn(scene, browse, tmp_path):
    (tmp_path / "page.html").write_text(whole_page(scene)[0], encoding="utf-8")
    assert_drawn(browse((tmp_path / "page.html").as_uri(), "--dump-dom"))


def test_masks_are_drawn_over_the_scan_in_the_colors_of_the_legend(scene, browse, tmp_path):
    without = read_scene(scene.scan)
    shares = []
    for number, each in enumerate((scene, without)):
        (tmp_path / "page.html").write_text(whole_page(each)[0], encoding="utf-8")
        picture = tmp_path / f"{number}.png"
        browse((tmp_path / "page.html").as_uri(), f"--screenshot={picture}", "--window-size=900,700")
        canvas = np.asarray(Image.open(picture).convert("RGB")).astype(int)[80:440]
        assert (np.ptp(canvas, axis=2) < 8).mean() > 0.8  # gray: the scan and the background
        assert canvas.max() > 150
        shares.append([_share(canvas, color) for color in COLORS[:2]])
    assert min(shares[0]) > 0.001 and shares[1] == [0, 0]


def _share(canvas, color):
    """Return the share of the pixels that are half of a color and half of some gray."""
    gray = 2 * canvas - np.array(color)
    return float((np.ptp(gray, axis=2) < 12).mean())


def test_a_page_whose_voxels_are_damaged_says_so(scene, browse, tmp_path):
    page = whole_page(scene)[0]
    damaged = re.sub('(id="scan">)[^<]*', r"\1AAAA", page)
    (tmp_path / "page.html").write_text(damaged, encoding="utf-8")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [*command, (tmp_path / "page.html").as_uri()], capture_output=True, text=True, timeout=300
    ).stdout
    assert re.search('<body data-state="(.*?)"', done)[1] == "failed"
    assert re.search('<p id="problem"[^>]*>(.+?)</p>', done)
