"""One owner at a time, with locks of the system and without them."""

import gc
import os
import subprocess
import sys

import msgspec
import pytest

from mcc_keras import locks
from mcc_keras.errors import BusyError, EnvironmentFailure
from mcc_keras.locks import Owner, is_owned, lock_file, owned


@pytest.fixture
def lock(tmp_path):
    return tmp_path / ".lock"


@pytest.fixture
def without_locks(monkeypatch):
    """A file system that knows no locks."""

    def flock(handle, kind):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    monkeypatch.setattr(locks, "SETTLE", 0)


def left_by(lock, *, seconds, host="beta", pid=1):
    """Write the record of an owner in another container, whose last heartbeat was so many seconds ago."""
    lock.write_bytes(msgspec.json.encode(Owner(host, "boot", pid, "token")))
    now = lock.stat().st_mtime
    os.utime(lock, (now - seconds, now - seconds))


def test_the_second_owner_is_refused_and_learns_who_the_first_is(lock):
    with owned(lock, "work"):
        with pytest.raises(BusyError, match=f"work: .* found one: host .*, process {os.getpid()}"), owned(lock, "work"):
            pass
        assert lock.exists()
    assert not lock.exists()
    with owned(lock, "work"):
        pass


def test_a_lock_ends_with_its_process_and_its_record_does_not_matter(lock):
    code = f"import os; from mcc_keras.locks import owned; held = owned({str(lock)!r}, 'work')"
    code += "; held.__enter__(); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert lock.stat().st_size > 0
    with owned(lock, "work"):
        pass


def test_without_locks_a_fresh_heartbeat_refuses_and_an_old_one_does_not(lock, without_locks):
    left_by(lock, seconds=locks.FRESH - 5)
    for offered, advice in ((False, "pass take_over=True"), (None, "wait for 60 s")):
        refused = pytest.raises(BusyError, match=f"host beta, process 1. .* {advice}")
        with refused, owned(lock, "work", take_over=offered):
            pass
    left_by(lock, seconds=locks.FRESH + 5)
    with owned(lock, "work"):
        pass
    assert list(lock.parent.iterdir()) == []


def test_without_locks_the_owner_can_be_overridden_and_then_publishes_nothing(lock, without_locks):
    with owned(lock, "work") as confirm:
        confirm()
        with owned(lock, "work", take_over=True) as confirm_other:
            confirm_other()
            with pytest.raises(BusyError, match="taken over"):
                confirm()


def test_where_locks_work_a_live_owner_cannot_be_overridden(lock):
    with owned(lock, "work"), pytest.raises(BusyError), owned(lock, "work", take_over=True):
        pass


def test_without_locks_two_that_write_their_records_at_once_are_not_both_owners(lock, without_locks, monkeypatch):
    monkeypatch.setattr(locks.time, "sleep", lambda seconds: left_by(lock, seconds=0))
    with pytest.raises(BusyError, match="host beta"), owned(lock, "work"):
        pass


def test_two_processes_with_one_number_are_told_apart_by_a_random_one(lock, without_locks, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)
    monkeypatch.setattr(locks.socket, "gethostname", lambda: "container")
    with owned(lock, "work"), pytest.raises(BusyError, match="host container, process 1"), owned(lock, "work"):
        pass


def test_the_heartbeat_is_the_time_of_the_file(lock, monkeypatch):
    monkeypatch.setattr(locks, "BEAT", 0.001)
    with owned(lock, "work"):
        os.utime(lock, (0, 0))
        for _ in range(100_000):
            if lock.stat().st_mtime > 0:
                break
        assert lock.stat().st_mtime > 0


def test_a_lock_file_that_its_last_owner_has_just_removed_is_made_again(lock, monkeypatch):
    try_lock, once = locks._try_lock, iter([lock.unlink])
    monkeypatch.setattr(locks, "_try_lock", lambda *a, **k: (try_lock(*a, **k), next(once, lambda: None)())[0])
    with owned(lock, "work"):
        with pytest.raises(BusyError), owned(lock, "work"):
            pass
        assert lock.exists()


def test_the_lock_of_who_has_taken_over_stays_when_the_first_owner_ends(lock, without_locks):
    with owned(lock, "work"):
        left_by(lock, seconds=0)
    assert b"beta" in lock.read_bytes()


def test_readers_share_a_lock_that_a_remover_must_have_alone(lock):
    lock.touch()
    one, other = lock_file(lock), lock_file(lock)
    with pytest.raises(BlockingIOError):
        lock_file(lock, exclusive=True)
    one.close()
    del other
    gc.collect()
    alone = lock_file(lock, exclusive=True)
    with pytest.raises(BlockingIOError):
        lock_file(lock)
    alone.close()


def test_a_file_that_is_removed_before_its_lock_is_had_is_gone(lock, monkeypatch):
    lock.touch()
    try_lock = locks._try_lock
    monkeypatch.setattr(locks, "_try_lock", lambda *a, **k: (try_lock(*a, **k), lock.unlink())[0])
    with pytest.raises(FileNotFoundError):
        lock_file(lock)


def test_a_folder_that_cannot_be_written_is_a_failure_of_the_environment(tmp_path):
    with pytest.raises(EnvironmentFailure, match="cannot be written"), owned(tmp_path / "gone" / ".lock", "work"):
        pass


def test_whether_a_lock_is_owned_can_be_asked_without_becoming_its_owner(lock):
    assert not is_owned(lock)
    with owned(lock, "work"):
        assert is_owned(lock)
    left_by(lock, seconds=0)  # its process has ended
    assert not is_owned(lock)
    with owned(lock, "work"):
        pass


def test_without_locks_an_owner_is_alive_while_its_heartbeat_is_fresh(lock, without_locks):
    left_by(lock, seconds=locks.FRESH - 5)
    assert is_owned(lock)
    left_by(lock, seconds=locks.FRESH + 5)
    assert not is_owned(lock)
