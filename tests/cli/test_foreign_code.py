"""A folder of scans may hold files with the names of modules; none of them is ever run."""

import subprocess
import sys

import pytest

RUN = "import sys; from mcc_keras.cli import main; sys.exit(main())"
SPY = "from pathlib import Path; Path({marker!r}).touch()\n"


@pytest.mark.parametrize("words", [["check", ".", "--workers", "2"], ["prepare", ".", "../work", "--size", "16"]])
def test_nothing_is_imported_from_the_folder_of_the_scans(words, write_pairs, tmp_path):
    scans, marker = write_pairs(count=6), tmp_path / "was_run"
    for name in ("argparse", "numpy", "joblib", "json"):
        (scans / f"{name}.py").write_text(SPY.format(marker=str(marker)))
    script = tmp_path / "mcc-keras"  # as pip installs it: Python's path begins with its folder
    script.write_text(RUN)
    words = [*words, "--workers", "2"] if words[0] == "prepare" else words
    done = subprocess.run([sys.executable, script, *words], cwd=scans, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not marker.exists()
