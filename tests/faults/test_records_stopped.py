"""Preparing data while the process is killed or the disk fills up: the published set is the old one or the new one."""

import itertools
import multiprocessing
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from mcc_keras.datasets import find_cases
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.manifest import read_manifest, verify_records
from mcc_keras.records.write import write_tfrecords

BOX = Preprocessing(size=8)
CHANGE = r"os\.(rename|remove|rmdir|mkdir|link)|open .*'wb?'"
# Prepare, and act right before the n-th change of a file or folder whose description fits the pattern.
PREPARE = """
import itertools, os, re, signal, sys
from mcc_keras.records.write import write_tfrecords

numbers = itertools.count(1)

def watch(event, arguments):
    if event.startswith(("os.", "open")) and re.match(pattern, f"{event} {arguments}") and next(numbers) == moment:
        exec(action)

sys.addaudithook(watch)
write_tfrecords(cases, work, **keywords)
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture(scope="module")
def fork_server():
    """Processes that have imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mcc_keras.records.write"])
    return context


@pytest.fixture
def prepare(write_pairs, fork_server, tmp_path):
    """Return a function that prepares twenty cases into a folder: in this process, or in one that acts at a moment.

    The latter returns the exit code.
    """
    cases = find_cases(write_pairs(count=20))

    def write(name, *, moment=None, pattern=CHANGE, action=KILL, **keywords):
        keywords = {"preprocessing": BOX, "workers": 1, "seed": 0, **keywords}
        if moment is None:
            return write_tfrecords(cases, tmp_path / name, **keywords)
        names = {"cases": cases, "work": tmp_path / name, "keywords": keywords}
        names |= {"moment": moment, "pattern": pattern, "action": action}
        process = fork_server.Process(target=exec, args=(PREPARE, names))
        process.start()
        process.join()
        return process.exitcode

    return write


def all_bytes(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def kills(prepare, *, step, **keywords):
    """Yield after kills -9 before each change of a file, or some of them, until a call ends before its kill."""
    for moment in itertools.count(1, step):
        exit_code = prepare("work", moment=moment, **keywords)
        assert exit_code in (0, -signal.SIGKILL)
        if exit_code == 0:
            return
        yield moment


def test_killed_before_a_change_and_run_again_gives_the_undisturbed_bytes(prepare, tmp_path):
    prepare("whole")
    expected, work, left = all_bytes(tmp_path / "whole"), tmp_path / "work", []
    for moment in kills(prepare, step=3):
        assert not work.exists() or all_bytes(work) == expected
        if moment % 2:  # a second kill falls into what the first has left
            prepare("work", moment=moment // 2)
        left.append(prepare("work", workers=1 + (moment == 10)).prepared)
        assert all_bytes(work) == expected
        shutil.rmtree(work)
    assert {20, 0} < set(left)  # whole shards are kept
    assert all_bytes(work) == expected
    assert not list(tmp_path.glob(".*"))


def test_a_shard_that_was_damaged_after_a_kill_is_made_again(prepare, tmp_path):
    prepare("whole")
    assert prepare("work", moment=1, pattern=r"os\.rename .*manifest") == -signal.SIGKILL
    shard = next(tmp_path.glob(".work.unfinished/train-00000*.tfrecord"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert prepare("work").prepared == 8
    assert all_bytes(tmp_path / "work") == all_bytes(tmp_path / "whole")


def test_killed_while_replacing_a_set_leaves_the_old_one_or_the_new_one(prepare, tmp_path):
    prepare("old")
    prepare("new", seed=5)
    old, new, work = all_bytes(tmp_path / "old"), all_bytes(tmp_path / "new"), tmp_path / "work"
    prepare("work")
    found = []
    for _ in kills(prepare, step=1, seed=5, overwrite=True):
        assert read_manifest(work).settings["seed"] in (0, 5)
        found.append(all_bytes(work))
        assert found[-1] in (old, new)
        if found[-1] == new:
            prepare("work", seed=5, overwrite=True)
            assert all_bytes(work) == new
            prepare("work", overwrite=True)
    assert old in found
    assert all_bytes(work) == new
    assert not list(tmp_path.glob(".*"))


def test_workers_that_outlive_their_killed_call_do_not_meddle_with_the_next(prepare, tmp_path):
    prepare("whole", seed=5)
    expected, work, kept = all_bytes(tmp_path / "whole"), tmp_path / "work", r"os\.rename .*\.scratch"
    for moment in (1, 3):  # before the first shard is kept, and the second: of a shard and its note
        assert prepare("work", moment=moment, pattern=kept, workers=2) == -signal.SIGKILL
        prepare("work", seed=5)  # other records under the same names, while the workers still write theirs
        assert all_bytes(work) == expected
        time.sleep(0.5)
        assert all_bytes(work) == expected
        assert [path.name for path in tmp_path.glob(".*")] == []
        shutil.rmtree(work)


def test_a_scan_that_is_written_to_while_it_is_prepared_publishes_nothing(prepare, tmp_path):
    touch = f"os.utime({str(tmp_path / 'pairs' / 'case9.nii.gz')!r})"
    assert prepare("work", moment=4, action=touch) == 1
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
