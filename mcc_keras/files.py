"""Writing that cannot hurt: under a temporary name in the same folder, then one rename."""

import contextlib
import os
import shutil
from pathlib import Path


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
