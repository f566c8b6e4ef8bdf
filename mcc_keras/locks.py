"""One owner at a time: a locked file with the owner's record in it, and a heartbeat for systems without locks.

The lock ends with its process, however that ends. The file holds a random number beside host and process, since two
containers may both call their process 1; its time of change is the heartbeat, in the clock of the disk's own host.
"""

import contextlib
import dataclasses
import os
import secrets
import socket
import threading
import time
from pathlib import Path

import msgspec

from mcc_keras.errors import BusyError, disk_failure

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

BEAT = 10.0  # seconds between two heartbeats
FRESH = 60.0  # seconds for which a heartbeat counts: several may be late
SETTLE = 1.0  # seconds after which, without locks, the last of two that wrote their records at once is the owner


@dataclasses.dataclass(frozen=True)
class Owner:
    """The process that holds a lock.

    Args:
        host: Name of its machine.
        boot: Id of the machine's start, `""` where the system has none.
        pid: Its process id there.
        token: A random number, which no other owner has.
    """

    host: str
    boot: str
    pid: int
    token: str

    def __str__(self):
        """Return host and process."""
        return f"host {self.host}, process {self.pid}"


class Handle:
    """An open file whose lock ends when it is closed or no longer referenced."""

    def __init__(self, number):
        self.number = number

    def close(self, close=os.close):
        """End the lock."""
        number, self.number = self.number, None
        if number is not None:
            close(number)

    __del__ = close


@contextlib.contextmanager
def owned(lock, subject, *, take_over=None):
    """Hold a lock file exclusively while the block runs; it is removed at the end.

    Args:
        lock: Path of the lock file, in a folder that exists.
        subject: What it guards, for the message.
        take_over: Where the system has no locks, end the ownership of another process that seems to be alive; `None`
            where the caller does not offer it.

    Yields:
        A function that raises `BusyError` once another process has taken over; call it before publishing.

    Raises:
        BusyError: Another process holds it; the text names host and process.
        EnvironmentFailure: The lock file cannot be written.

    Example:

    >>> import tempfile
    >>> lock = Path(tempfile.mkdtemp()) / ".lock"
    >>> with owned(lock, "work"), owned(lock, "work"):
    ...     pass
    Traceback (most recent call last):
    mcc_keras.errors.BusyError: work: expected no other writer, found one: host ..., process ...
    """
    lock, owner = Path(lock), _this_process()
    try:
        handle = _acquire(lock, subject, owner, take_over=take_over)
    except OSError as error:
        if isinstance(error, BusyError):
            raise
        raise disk_failure(lock, error) from error
    stop = threading.Event()

    def confirm():
        if _read(lock) != owner:
            raise _busy(lock, subject, "It has taken over: start again when it has ended.")

    beat = threading.Thread(target=_beat, args=(handle, stop), daemon=True)
    beat.start()
    try:
        yield confirm
    finally:
        stop.set()
        beat.join()
        if _read(lock) == owner:
            lock.unlink(missing_ok=True)
        handle.close()


def is_owned(lock):
    """Return whether a live process holds a lock file in `owned`.

    Where the system has no locks, an owner counts as alive while its heartbeat is fresh, by the clock of this machine.

    Example:

    >>> import tempfile
    >>> lock = Path(tempfile.mkdtemp()) / ".lock"
    >>> with owned(lock, "work"):
    ...     inside = is_owned(lock)
    >>> inside, is_owned(lock)
    (True, False)
    """
    lock = Path(lock)
    try:
        handle = lock_file(lock)
        return handle is None and _read(lock) is not None and time.time() - lock.stat().st_mtime < FRESH
    except BlockingIOError:
        return True
    except OSError:  # no such file, or no more
        return False


def lock_file(path, *, exclusive=False):
    """Lock a file that exists, without waiting.

    Args:
        path: The file.
        exclusive: Alone, instead of together with others that lock it so.

    Returns:
        `Handle`, or `None` where the system has no locks, or the file must not be opened for it.

    Raises:
        BlockingIOError: Another process holds it.
        FileNotFoundError: There is no such file, or no more.
    """
    try:  # network file systems grant an exclusive lock on writable files only
        handle = Handle(os.open(path, os.O_RDWR if exclusive else os.O_RDONLY))
    except FileNotFoundError:
        raise
    except OSError:
        return None
    if not _try_lock(handle, exclusive=exclusive):
        return None
    if not _is_at(handle, path):
        raise FileNotFoundError(path)
    return handle


def _acquire(lock, subject, owner, *, take_over):
    while True:
        handle = Handle(os.open(lock, os.O_RDWR | os.O_CREAT, 0o666))
        try:
            works = _try_lock(handle, exclusive=True)
        except BlockingIOError:
            raise _busy(lock, subject, "Wait for it to end.") from None
        if _is_at(handle, lock):  # otherwise its last owner has just removed it
            break
    if not works and not take_over and _read(lock) and _age(lock) < FRESH:
        advice = (
            f"; if it has ended, wait for {FRESH:.0f} s"
            if take_over is None
            else "; if it has ended, pass take_over=True"
        )
        raise _busy(lock, subject, f"Wait for it to end{advice}.")
    os.ftruncate(handle.number, 0)
    os.pwrite(handle.number, msgspec.json.encode(owner), 0)
    if not works:
        time.sleep(SETTLE)
        if _read(lock) != owner:
            raise _busy(lock, subject, "Wait for it to end.")
    return handle


def _try_lock(handle, *, exclusive):
    """Return whether the lock is held now: `False` where the system has no locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle.number, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _is_at(handle, path):
    try:
        return os.path.samestat(os.fstat(handle.number), os.stat(path))
    except FileNotFoundError:
        return False


def _age(lock):
    """Return the seconds since the last heartbeat, by the clock that stamps the files of this folder."""
    probe = lock.with_name(f".{secrets.token_hex(4)}.aside.probe")
    try:
        probe.touch()
        return probe.stat().st_mtime - lock.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _beat(handle, stop):
    while not stop.wait(BEAT):
        with contextlib.suppress(OSError):
            os.utime(handle.number)


def _busy(lock, subject, way_out):
    return BusyError(subject, _read(lock) or "not known by name", way_out)


def _read(lock):
    try:
        return msgspec.json.decode(lock.read_bytes(), type=Owner)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _this_process():
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        boot = ""
    return Owner(socket.gethostname(), boot, os.getpid(), secrets.token_hex(8))
