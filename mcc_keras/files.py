"""Writing that cannot damage anything: aside in the same folder, flushed to the disk, then one rename; never an input.

A folder's own leftovers of killed calls have names that nothing else has, so that its owner can remove them.
"""

import contextlib
import errno
import os
import re
import secrets
import shutil
from pathlib import Path

from mcc_keras.errors import OutputExistsError, UsageError

CHOOSE_ANOTHER = "Choose another name, or allow overwriting."
_LONGEST_NAME = 255  # bytes, on every common file system
_KEPT = 48  # characters of a name in its temporary name: four bytes each, so that both are short enough
_LEFTOVER = re.compile(r"\.[0-9a-f]{8}\.aside\.")


def refuse_output_that_is_input(output, inputs):
    """Refuse an output that is one of the inputs under any name: a link, another case, a relative path.

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
        if os.path.lexists(parent) and not parent.is_dir():  # another thread may have made it just now
            raise OutputExistsError(parent, "a file where a folder is needed", "Choose another folder.")


@contextlib.contextmanager
def written_aside(path):
    """Yield a temporary path beside `path`, file or folder, which is flushed and renamed when the block succeeds.

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
    # A random number, since two containers may share process ids. The suffixes stay last: they decide the format.
    aside = path.with_name(f".{secrets.token_hex(4)}.aside.{path.name[-_KEPT:]}")
    try:
        yield aside
        flush(aside)
        rename(aside, path)
    finally:
        remove(aside)


def write_text(path, text):
    """Write a UTF-8 text file aside and rename it; return its path."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")
    return Path(path)


def flush(path):
    """Wait until a file, or a folder with all that is in it, is on the disk."""
    if not path.is_dir():
        return _flush_one(path)
    for folder, _, files in os.walk(path):
        for name in files:
            _flush_one(os.path.join(folder, name))
        flush_names(folder)


def flush_names(folder):
    """Wait until the names in a folder are on the disk, where the system can do that."""
    try:
        _flush_one(folder)
    except OSError as error:  # EACCES: Windows opens no folders
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES):
            raise


def rename(source, target):
    """Rename a file or folder, and wait until the new name is on the disk; a file or empty folder is replaced."""
    os.replace(source, target)
    flush_names(Path(target).parent)


def remove(path):
    """Remove a file or a folder with all that is in it, if it exists; a link is removed itself."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def is_leftover(path):
    """Has a killed call of `written_aside` left this?"""
    return _LEFTOVER.match(path.name) is not None


def remove_leftovers(folder):
    """Remove the leftovers of killed calls of `written_aside` in a folder; for its only writer."""
    for path in filter(is_leftover, list(folder.iterdir())):
        remove(path)


def _flush_one(path):
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
