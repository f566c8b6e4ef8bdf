"""Writing that cannot damage anything: under a temporary name in the same folder, then one rename; never an input."""

import contextlib
import ctypes
import os
import shutil
import zlib
from pathlib import Path

from mcc_keras.errors import OutputExistsError, UsageError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_HERE = -100  # AT_FDCWD: paths as they are
_LONGEST_NAME = 255  # bytes, on every common file system
_KEPT = 48  # characters of a name in its temporary name: four bytes each, so that both are short enough


def refuse_output_that_is_input(output, inputs):
    """Refuse an output that is one of the inputs, whatever its name: a link, another case, a relative path.

    An output folder must not hold an input either, since it may be replaced as a whole.

    Args:
        output: File or folder to be written.
        inputs: Files or folders that are read.

    Raises:
        UsageError: The output is an input or holds one.

    Example:

    >>> import tempfile
    >>> scan = Path(tempfile.mkdtemp()) / "scan.nii.gz"
    >>> scan.touch()
    >>> refuse_output_that_is_input(scan.with_name("mask.nii.gz"), [scan])
    >>> refuse_output_that_is_input(scan.parent / "." / "scan.nii.gz", [scan])
    Traceback (most recent call last):
    mcc_keras.errors.UsageError: The output must not be an input. Received: output=...scan.nii.gz. Choose another name.
    """
    try:
        target = os.stat(output)
    except OSError:  # a name that is free is no input
        return
    inputs = [Path(os.path.realpath(path)) for path in inputs]
    folders = dict.fromkeys(parent for path in inputs for parent in path.parents)
    for path in [*inputs, *folders]:
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(path), target):
                raise UsageError(f"The output must not be an input. Received: output={output}. Choose another name.")


def refuse_impossible_output(path):
    """Refuse an output whose name no file can have, or with a file where one of its folders should be.

    Example:

    >>> refuse_impossible_output("a" * 300)
    Traceback (most recent call last):
    mcc_keras.errors.UsageError: A name must have at most 255 bytes. Received: 'aaaaaaaaaaaaaaaaaaaa…', 300 bytes. ...
    """
    path = Path(path)
    for part in path.parts:
        size = len(os.fsencode(part))
        if size > _LONGEST_NAME:
            text = f"A name must have at most {_LONGEST_NAME} bytes. Received: '{part[:20]}…', {size} bytes."
            raise UsageError(f"{text} Choose a shorter one.")
    for parent in path.parents:
        if parent.is_dir():
            return
        if os.path.lexists(parent):
            raise OutputExistsError(parent, "a file where a folder is needed", "Choose another folder.")


@contextlib.contextmanager
def written_aside(path):
    """Yield a temporary path beside `path`, file or folder, which is renamed to `path` when the block succeeds.

    An existing file or empty folder at `path` is replaced. After an error the temporary one is removed.

    Example:

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with written_aside(folder / "note.txt") as aside:
    ...     _ = aside.write_text("done")
    >>> [entry.name for entry in folder.iterdir()]
    ['note.txt']
    """
    path = Path(path)
    refuse_impossible_output(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffixes stay last: readers and writers choose the format by them.
    mark = f"{zlib.crc32(os.fsencode(path.name)):08x}"
    aside = path.with_name(f".{os.getpid()}.{mark}.aside.{path.name[-_KEPT:]}")
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

    A kill or an interruption leaves it, and the next call yields it again with its content; after an error it is
    removed. An existing folder at `path` is exchanged in one step, so that there is always the old one or the new.

    Raises:
        OutputExistsError: Another process works on the same path.

    Example:

    >>> import tempfile
    >>> work = Path(tempfile.mkdtemp()) / "work"
    >>> with staged_folder(work) as aside:
    ...     _ = (aside / "note.txt").write_text("done")
    >>> [entry.name for entry in work.iterdir()]
    ['note.txt']
    """
    path = Path(os.path.abspath(path))
    refuse_impossible_output(path.with_name(f".{path.name}.unfinished"))
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
    """Hold a lock on a folder that ends with the process, however it ends; no lock where the system has none."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputExistsError(path, "another process that works on it", "Wait for it to end.") from None
        except OSError:
            pass  # a network file system without locks
        yield
    finally:
        os.close(handle)


def _exchange(aside, path, retired):
    """Exchange two folders, in one step where the system supports it."""
    try:
        if ctypes.CDLL(None, use_errno=True).renameat2(_HERE, os.fsencode(aside), _HERE, os.fsencode(path), 2) == 0:
            return
    except (AttributeError, OSError, TypeError):
        pass
    os.rename(path, retired)
    os.rename(aside, path)
    os.rename(retired, aside)
