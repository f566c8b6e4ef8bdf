"""Folders at a fixed path that are replaced whole: written aside, flushed, exchanged in one step.

RUN/test               the folder that others read
RUN/.test.lock         held while one process writes
RUN/.test.unfinished   the new folder while it is written; after the exchange, the old one until its files are removed
RUN/.test.retired      only between two renames, where the system cannot exchange two folders in one step

A call first completes the work of a killed one.
"""

import contextlib
import ctypes
import os
from pathlib import Path

from mcc_keras.errors import MCCKerasError, OutputExistsError, UsageError, disk_failure
from mcc_keras.files import CHOOSE_ANOTHER, flush, flush_names, refuse_impossible_output, remove, rename
from mcc_keras.listing import read_listing, remove_listed, write_listing
from mcc_keras.locks import owned

_HERE = -100  # AT_FDCWD: paths as they are
_EXCHANGE = 2  # RENAME_EXCHANGE


@contextlib.contextmanager
def replaced_folder(path, *, command, overwrite=False, take_over=None):
    """Yield an empty folder beside `path`; when the block ends it is `path`, in one step.

    A list of its files is left in it. Overwriting removes the files on the list of the old folder; any other file in it
    moves to the new one. After an error the old folder is as it was.

    Args:
        path: The folder; a link is followed.
        command: The command that writes it, such as `"evaluate"`: only its own folders are replaced.
        overwrite: Replace a folder that is there already.
        take_over: See `owned`.

    Raises:
        OutputExistsError: Something is there, and `overwrite` is not given or the command did not write it.
        BusyError: Another process writes to the same folder.
        UsageError: A mount point, which cannot be exchanged.
        EnvironmentFailure: The disk is full, or cannot be written.

    Example:

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "test"
    >>> for number in "12":
    ...     with replaced_folder(folder, command="evaluate", overwrite=True) as aside:
    ...         _ = (aside / "scores.csv").write_text(number)
    >>> (folder / "scores.csv").read_text()
    '2'
    """
    path = Path(os.path.realpath(path))
    aside = _beside(path, "unfinished")
    refuse_impossible_output(aside)
    if os.path.ismount(path):
        raise UsageError(f"{path} is a mount point, which cannot be replaced. Choose a folder in it.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with owned(_beside(path, "lock"), path, take_over=take_over) as confirm:
            complete_exchange(path, command=command)
            _refuse_occupied(path, command=command, overwrite=overwrite)
            try:
                aside.mkdir()
                yield aside
                write_listing(aside, command=command)
                flush(aside)
                confirm()
                exchange(aside, path)
            finally:
                _clear(aside, path, command=command)
    except MCCKerasError:
        raise
    except OSError as error:
        raise disk_failure(path, error) from error


def exchange(aside, path):
    """Exchange two folders in one step, or by three renames where the system has no such step; `path` may be missing.

    Between the renames, `.<name>.retired` marks the exchange as begun, and `complete_exchange` ends it.
    """
    if not path.exists() or not any(path.iterdir()):
        return rename(aside, path)
    if _exchange_at_once(aside, path):
        return flush_names(path.parent)
    retired = _beside(path, "retired")
    rename(path, retired)
    rename(aside, path)
    return rename(retired, aside)


def complete_exchange(path, *, command):
    """End an exchange that a kill has interrupted, and remove the leftovers of the killed call beside `path`."""
    aside, retired = _beside(path, "unfinished"), _beside(path, "retired")
    if retired.exists():
        if not path.exists():
            rename(aside if aside.exists() else retired, path)
        if retired.exists():
            rename(retired, aside)
    _clear(aside, path, command=command)


def _clear(aside, path, *, command):
    """Remove a folder that was begun, or the old one after an exchange; files that are not on its list move on."""
    listing = read_listing(aside, command=command)
    if listing is None:
        return remove(aside)
    for name in remove_listed(aside, listing):
        target = path / name
        if not os.path.lexists(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(aside / name, target)
    if aside.exists():
        remove_listed(aside, listing)


def _refuse_occupied(path, *, command, overwrite):
    if not os.path.lexists(path) or (path.is_dir() and not any(path.iterdir())):
        return
    if not path.is_dir() or read_listing(path, command=command) is None:
        found = f"something that `{command}` did not write" if path.is_dir() else "a file"
        raise OutputExistsError(path, found, "Choose another name.")
    if not overwrite:
        raise OutputExistsError(path, f"the output of an earlier `{command}`", CHOOSE_ANOTHER)


def _exchange_at_once(aside, path):
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
        return call(_HERE, os.fsencode(aside), _HERE, os.fsencode(path), _EXCHANGE) == 0
    except (AttributeError, OSError, TypeError):
        return False


def _beside(path, kind):
    return path.with_name(f".{path.name}.{kind}")
