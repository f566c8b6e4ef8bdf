"""Writing that cannot hurt: under a temporary name in the same folder, then one rename."""

import contextlib
import ctypes
import os
import shutil
from pathlib import Path

from mcc_keras.errors import OutputExistsError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_HERE = -100  # AT_FDCWD: paths as they are


@contextlib.contextmanager
def written_aside(path):
    """Yield a temporary path beside `path`, file or folder; rename it to `path` when the block ends without an error.

    What stood at `path` is replaced if it is a file or an empty folder. After an error nothing is left of either.

    Example:

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with written_aside(folder / "note.txt") as aside:
    ...     _ = aside.write_text("done")
    >>> [entry.name for entry in folder.iterdir()]
    ['note.txt']
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffixes stay last: readers and writers choose the format by them.
    aside = path.with_name(f".{os.getpid()}.aside.{path.name}")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        if aside.is_dir():
            shutil.rmtree(aside)
        else:
            aside.unlink(missing_ok=True)


def write_text(path, text):
    """Write a UTF-8 text file aside and rename it; return its path."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")
    return Path(path)


@contextlib.contextmanager
def staged_folder(path):
    """Yield a folder beside `path` for work that may be stopped at any moment; it becomes `path` when the block ends.

    A kill or an interruption leaves it, and the next call yields it again with what is in it; after an error it is
    removed. A folder that stood at `path` is exchanged in one step, so that there is always the old one or the new.

    Raises:
        OutputExistsError: Another process is at work on the same path.

    Example:

    >>> import tempfile
    >>> work = Path(tempfile.mkdtemp()) / "work"
    >>> with staged_folder(work) as aside:
    ...     _ = (aside / "note.txt").write_text("done")
    >>> [entry.name for entry in work.iterdir()]
    ['note.txt']
    """
    path = Path(os.path.abspath(path))
    aside, retired = path.with_name(f".{path.name}.unfinished"), path.with_name(f".{path.name}.retired")
    if retired.exists() and not path.exists():
        os.rename(retired, path)  # a kill between the two renames of _exchange
    aside.mkdir(parents=True, exist_ok=True)
    with _locked(aside, path):
        try:
            yield aside
            if path.exists() and any(path.iterdir()):
                _exchange(aside, path, retired)
                shutil.rmtree(aside, ignore_errors=True)
            else:
                os.replace(aside, path)
        except Exception:
            shutil.rmtree(aside, ignore_errors=True)
            raise


@contextlib.contextmanager
def _locked(folder, path):
    """Hold a lock on a folder that ends with the process, however it ends; none where the system has no such locks."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputExistsError(path, "another process at work on it", "Wait for it to end.") from None
        except OSError:
            pass  # a network file system without locks
        yield
    finally:
        os.close(handle)


def _exchange(aside, path, retired):
    """Let two folders change places, in one step where the system can do it."""
    try:
        if ctypes.CDLL(None, use_errno=True).renameat2(_HERE, os.fsencode(aside), _HERE, os.fsencode(path), 2) == 0:
            return
    except (AttributeError, OSError, TypeError):
        pass
    os.rename(path, retired)
    os.rename(aside, path)
    os.rename(retired, aside)
