"""`view` as a command: it prints its address, serves the page, and ends with Ctrl-C."""

import os
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pytest

from mcc_keras.volumes import write_volume


@pytest.fixture
def serve(tmp_path):
    """Return a function that starts `mcc-keras view` and returns the process with its address."""
    started = []

    def start(*arguments, **environment):
        command = [sys.executable, "-m", "mcc_keras", "view", *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_page_is_served_until_ctrl_c(serve, write_pairs):
    folder = write_pairs(count=1)
    process, url = serve(folder / "case0.nii.gz", folder / "case0_mask.nii.gz", "--no-browser")
    with urllib.request.urlopen(url) as answer:
        page = answer.read().decode()
    assert "case0.nii.gz" in page and "case0_mask.nii.gz" in page
    assert process.stdout.readline() == "Ctrl-C ends it.\n"
    process.send_signal(signal.SIGINT)
    assert (process.wait(60), process.stdout.read()) == (0, "")


def test_the_browser_is_opened_unless_it_is_not_wanted(serve, write_pairs, tmp_path):
    folder, note = write_pairs(count=1), tmp_path / "opened.txt"
    browser = tmp_path / "browser.sh"
    browser.write_text(f'#!/bin/sh\necho "$1" >> {note}\n')
    browser.chmod(0o755)
    for options in (["--no-browser"], []):
        process, url = serve(folder / "case0.nii.gz", *options, BROWSER=f"{browser} %s")
        urllib.request.urlopen(url).close()
        if not options:
            for _ in range(100):
                if note.exists():
                    break
                signal.sigtimedwait([], 0.1)
            assert note.read_text().split() == [url]
        process.send_signal(signal.SIGINT)
        process.wait(60)


def test_a_page_is_written_and_its_path_printed(run, write_pairs, tmp_path, capsys):
    folder = write_pairs(count=1)
    run("view", folder / "case0.nii.gz", folder / "case0_mask.nii.gz", "--names", "cube=1", "-o", tmp_path / "a.html")
    assert capsys.readouterr().out == f"{tmp_path / 'a.html'}\n"
    assert "</i>cube</span>" in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_a_mask_of_another_scan_is_one_line(complaints, write_pairs, tmp_path):
    folder = write_pairs(count=1)
    mask = write_volume(np.zeros((16, 16, 15), np.uint8), tmp_path / "other.nii", affine=np.eye(4))
    code, lines = complaints("view", folder / "case0.nii.gz", mask, "-o", tmp_path / "a.html")
    assert (code, len(lines)) == (3, 1)
    assert "other.nii: expected the shape (16, 16, 16) of case0.nii.gz, found (16, 16, 15)" in lines[0]


def test_looking_loads_no_tensorflow(write_pairs, tmp_path):
    folder = write_pairs(count=1)
    code = "import sys, mcc_keras as mk; mk.view(sys.argv[1], [], sys.argv[2]); print('tensorflow' in sys.modules)"
    command = [sys.executable, "-c", code, folder / "case0.nii.gz", tmp_path / "a.html"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
