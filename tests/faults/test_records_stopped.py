"""Preparing data while the process is killed or the disk fills up: the published set is the old one or the new one."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from scripts import run_script

from mcc_keras.datasets import find_cases
from mcc_keras.errors import VolumeError
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.verify import verify_records
from mcc_keras.records.write import write_tfrecords

BOX = Preprocessing(size=48)


# ---- killed after every change of names -----------------------------------------------------------------------------

KILLED = """
    import os, shutil, sys
    from pathlib import Path
    from mcc_keras.datasets import find_cases
    from mcc_keras.errors import RecordError
    from mcc_keras.preprocessing import Preprocessing
    from mcc_keras.records.manifest import read_manifest
    from mcc_keras.records.write import write_tfrecords
    from stopping import killed_after, moments

    os.fsync = lambda handle: None  # a kill loses nothing that has been written
    source, folder, kind = sys.argv[1:]
    work, cases = Path(folder) / "work", find_cases(source)

    def prepare(work=work, seed=5):
        box = Preprocessing(size=8)
        return write_tfrecords(cases, work, preprocessing=box, seed=seed, workers=1, overwrite=True)

    def content():
        try:
            found = read_manifest(work)
        except RecordError:
            return None
        return {path.name: path.read_bytes() for path in found.folder.iterdir() if path.name[0] != "."}

    def reset():
        shutil.rmtree(work, ignore_errors=True)
        if kind == "again":
            shutil.copytree(Path(folder) / "old", work)

    prepare(Path(folder) / "old", seed=0)
    reset()
    old = content()
    prepare()
    new = content()
    assert old != new
    kills = reused = 0
    for number in moments(prepare, reset=reset):
        assert content() in (old, new), number
        killed_after(number // 2, prepare)
        assert content() in (old, new), number
        reused += prepare().prepared < len(cases)
        assert content() == new, number
        names = sorted(path.name for path in work.iterdir())
        assert names == ["current.json", "sets"] and len(list((work / "sets").iterdir())) == 1, (number, names)
        kills += 1
    print(kills, reused)
"""


@pytest.mark.parametrize("kind", ["first", "again"])
def test_killed_after_each_change_the_set_is_the_old_or_the_new_one_and_the_next_call_works(
    write_pairs, tmp_path, kind
):
    kills, reused = map(int, run_script(KILLED, write_pairs(count=3), tmp_path, kind).split())
    assert kills > 20
    assert reused > 5  # the next call goes on where the killed one was


def test_workers_that_outlive_their_killed_call_do_not_meddle_with_the_next(write_pairs, tmp_path):
    cases, work = find_cases(write_pairs(count=20)), tmp_path / "work"
    keywords = {"preprocessing": BOX, "overwrite": True}
    expected = content(write_tfrecords(cases, tmp_path / "whole", seed=5, workers=1, **keywords))
    for _ in range(2):
        process = multiprocessing.get_context("spawn").Process(
            target=write_tfrecords, args=(cases, work), kwargs=keywords | {"workers": 2}
        )
        process.start()
        while process.is_alive() and not list(work.glob("sets/.unfinished/.scratch*/*")):
            time.sleep(0.001)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        # Other records under the same names, while the workers still write theirs.
        manifest = write_tfrecords(cases, work, seed=5, workers=1, **keywords)
        assert content(manifest) == expected
        time.sleep(0.5)
        assert content(manifest) == expected
        assert sorted(path.name for path in work.iterdir()) == ["current.json", "sets"]
        del manifest
        shutil.rmtree(work)


def content(manifest):
    return {path.name: path.read_bytes() for path in manifest.folder.iterdir() if path.name[0] != "."}


class Meddling(Preprocessing):
    """Does something to a file in the middle of preparing."""

    def apply(self, image, grid):
        self.meddle()
        return super().apply(image, grid)


def rewrite(path):
    """Write other bytes of the same size, and put the time of change back."""
    before = path.stat()
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path):
    """Put another file with the same time of change in its place."""
    before = path.stat()
    shutil.copy2(path, path.with_name("copy"))
    os.utime(path.with_name("copy"), ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(path.with_name("copy"), path)


@pytest.mark.parametrize("meddle", [Path.touch, rewrite, replace])
def test_a_scan_that_changes_while_it_is_prepared_publishes_nothing(write_pairs, tmp_path, meddle):
    cases = find_cases(write_pairs(count=3))
    Meddling.meddle = staticmethod(lambda: meddle(cases[0].images[0]))
    with pytest.raises(VolumeError, match="case0.nii.gz: expected a file that does not change"):
        write_tfrecords(cases, tmp_path / "work", preprocessing=Meddling(size=8), workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs"]


# ---- a disk that fills up -------------------------------------------------------------------------------------------

FULL_DISK = """
    import resource, subprocess, sys
    from pathlib import Path
    from mcc_keras.cli import main

    source, disk, kind = sys.argv[1:]
    if kind == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)

    def listing():
        return {str(path): path.is_file() and path.read_bytes() for path in sorted(Path(disk).rglob("*"))}

    def prepare(work, *options):
        return main(["prepare", source, f"{disk}/{work}", "--workers", "1", *options])

    assert prepare("work", "--size", "8") == 0
    if kind == "quota":
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    before = listing()
    for work, options in (("work", ["--size", "64", "--overwrite"]), ("other", ["--size", "64"])):
        assert prepare(work, *options) == 5
        assert listing() == before
    assert main(["verify", f"{disk}/work"]) == 0
"""


@pytest.mark.parametrize("kind", ["tmpfs", "quota"])
def test_a_full_disk_leaves_what_was_published_and_exits_as_environment(write_pairs, tmp_path, kind):
    enter = ["unshare", "--user", "--map-root-user", "--mount"] if kind == "tmpfs" else []
    (tmp_path / "disk").mkdir()
    if enter:
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path / "disk")]
        try:
            subprocess.run([*enter, *mount], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no mount of one's own is permitted here: {error}")
    script, source = textwrap.dedent(FULL_DISK), write_pairs(count=3)
    command = [*enter, sys.executable, "-c", script, str(source), str(tmp_path / "disk"), kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    complaints = [line for line in done.stderr.splitlines() if "Make room" in line]
    assert len(complaints) == 2, done.stderr


def test_verify_reports_what_it_checked_of_a_whole_set(write_pairs, tmp_path):
    box = Preprocessing(size=8)
    manifest = write_tfrecords(find_cases(write_pairs(count=10)), tmp_path / "work", preprocessing=box, workers=1)
    found = verify_records(tmp_path / "work", sources=True)
    assert found.problems == ()
    assert "10 cases" in str(found)
    assert "20 source files" in str(found)
    manifest.cases("train")[0].mask.write_bytes(b"other")
    (problem,) = verify_records(tmp_path / "work", sources=True).problems
    assert str(manifest.cases("train")[0].mask) in str(problem)
