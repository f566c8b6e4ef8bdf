"""Preparing data while the process is killed or the disk fills up: the published set is the old one or the new one."""

import functools
import multiprocessing
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from mcc_keras.datasets import find_cases
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.manifest import read_manifest, verify_records
from mcc_keras.records.write import write_tfrecords

BOX = Preprocessing(size=48)
KILLS = 10


@pytest.fixture(scope="module")
def fork_server():
    """Processes that have imported everything already, so that a kill falls into the work and not into imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mcc_keras.records.write"])
    return context


@pytest.fixture
def prepare(write_pairs, fork_server, tmp_path):
    """Return a function that prepares twenty cases into a folder: in this process, or in one to be killed."""
    cases = find_cases(write_pairs(count=20))

    def write(name, *, elsewhere=False, workers=1, seed=0, **keywords):
        keywords |= {"preprocessing": BOX, "workers": workers, "seed": seed}
        if not elsewhere:
            return write_tfrecords(cases, tmp_path / name, **keywords)
        process = fork_server.Process(target=write_tfrecords, args=(cases, tmp_path / name), kwargs=keywords)
        process.start()
        return process

    return write


def all_bytes(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def begun(folder, process):
    """Wait until a process has begun to write, and return when that was."""
    aside = folder.with_name(f".{folder.name}.unfinished")
    while process.is_alive() and not aside.exists():
        time.sleep(0.001)
    return time.monotonic()


def seconds_of_work(prepare, folder, **keywords):
    process = prepare(folder.name, elsewhere=True, **keywords)
    start = begun(folder, process)
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - start


def killed_at(moment, prepare, folder, **keywords):
    """Kill -9 a writing process so many seconds after its first byte; return whether that was before its end."""
    process = prepare(folder.name, elsewhere=True, **keywords)
    start = begun(folder, process)
    time.sleep(max(0, start + moment - time.monotonic()))
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def kills(prepare, work, seconds, *, reset, **keywords):
    """Yield after each of ten kills at random moments of the work; what ends before its kill is undone, not counted."""
    rng, hits = np.random.default_rng(21), 0
    for _ in range(4 * KILLS):
        if killed_at(rng.uniform(0, seconds), prepare, work, **keywords):
            hits += 1
            yield hits
        else:
            reset()
        if hits == KILLS:
            return
    pytest.fail(f"only {hits} of {4 * KILLS} kills fell into the work")


def test_killed_at_ten_moments_and_run_again_gives_the_undisturbed_bytes(prepare, tmp_path):
    prepare("whole")
    expected, work = all_bytes(tmp_path / "whole"), tmp_path / "work"
    seconds = seconds_of_work(prepare, tmp_path / "timed")
    resumed = 0
    for number in kills(prepare, work, seconds, reset=lambda: shutil.rmtree(work)):
        assert not work.exists() or all_bytes(work) == expected
        if number % 2:  # every other time, the kill falls into what an earlier kill has left
            resumed += prepare("work", workers=1 + number // 9).prepared < 20
            assert all_bytes(work) == expected
            shutil.rmtree(work)
    assert resumed > 0
    prepare("work")
    assert all_bytes(work) == expected
    assert not list(tmp_path.glob(".*"))


def test_killed_while_replacing_a_set_leaves_the_old_one_or_the_new_one(prepare, tmp_path):
    prepare("old")
    prepare("new", seed=5)
    old, new, work = all_bytes(tmp_path / "old"), all_bytes(tmp_path / "new"), tmp_path / "work"
    prepare("work")
    prepare("timed")
    seconds = seconds_of_work(prepare, tmp_path / "timed", seed=5, overwrite=True)
    back = functools.partial(prepare, "work", overwrite=True)
    for _ in kills(prepare, work, seconds, reset=back, seed=5, overwrite=True):
        assert read_manifest(work).settings["seed"] in (0, 5)
        assert all_bytes(work) in (old, new)
        prepare("work", seed=5, overwrite=True)
        assert all_bytes(work) == new
        back()
    assert all_bytes(work) == old
    assert not list(tmp_path.glob(".*"))


def test_workers_that_outlive_their_killed_call_do_not_meddle_with_the_next(prepare, tmp_path):
    prepare("whole", seed=5)
    expected, work = all_bytes(tmp_path / "whole"), tmp_path / "work"
    begun_shards = ".work.unfinished/.scratch*/*"
    for _ in range(3):
        process = prepare("work", elsewhere=True, workers=2)
        while process.is_alive() and not list(tmp_path.glob(begun_shards)):
            time.sleep(0.001)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        prepare("work", seed=5)  # other records under the same names, while the workers still write theirs
        assert all_bytes(work) == expected
        time.sleep(0.5)
        assert all_bytes(work) == expected
        assert [path.name for path in tmp_path.glob(".*")] == []
        shutil.rmtree(work)


def test_a_scan_that_is_written_to_while_it_is_prepared_publishes_nothing(prepare, tmp_path):
    process = prepare("work", elsewhere=True)
    begun(tmp_path / "work", process)
    (tmp_path / "pairs" / "case9.nii.gz").touch()
    process.join()
    assert process.exitcode == 1
    assert [path.name for path in tmp_path.iterdir()] == ["pairs"]


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
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(FULL_DISK),
        str(write_pairs(count=3)),
        str(tmp_path / "disk"),
        kind,
    ]
    done = subprocess.run([*enter, *command], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    complaints = [line for line in done.stderr.splitlines() if "Make room" in line]
    assert len(complaints) == 2, done.stderr


def test_verify_says_what_it_checked_of_a_whole_set(prepare, tmp_path):
    manifest = prepare("work")
    found = verify_records(tmp_path / "work", sources=True)
    assert found.problems == ()
    assert "20 cases" in found.to_text()
    assert "40 source files" in found.to_text()
    manifest.cases("train")[0].mask.write_bytes(b"other")
    (problem,) = verify_records(tmp_path / "work", sources=True).problems
    assert str(manifest.cases("train")[0].mask) in str(problem)
