"""The versions of a served model: each is written under a name that no server loads, and published by one rename.

NAME/<n>/             a version, whole; never changed again
NAME/.lock            held while one process exports
NAME/.*.aside.<n>     a version that is being written; what a killed export has left is removed by the next
"""

import contextlib

from mcc_keras.files import remove_leftovers, written_aside
from mcc_keras.locks import owned

LOCK = ".lock"


@contextlib.contextmanager
def next_version(folder):
    """Yield where to write the next version of a served model, and its path, which it has when the block ends.

    After an error nothing is published.

    Args:
        folder: The served model's folder, a `Path`; it is created if it is missing.

    Raises:
        BusyError: Another process exports to the same folder.

    Example:

    >>> import tempfile
    >>> from pathlib import Path
    >>> folder = Path(tempfile.mkdtemp()) / "organ"
    >>> for _ in range(2):
    ...     with next_version(folder) as (aside, path):
    ...         aside.mkdir()
    >>> sorted(path.name for path in folder.iterdir())
    ['1', '2']
    """
    folder.mkdir(parents=True, exist_ok=True)
    with owned(folder / LOCK, folder) as confirm:  # two exports at once would choose one number
        remove_leftovers(folder)
        path = folder / str(_highest(folder) + 1)
        with written_aside(path) as aside:
            yield aside, path
            confirm()


def _highest(folder):
    """Return the highest version that is there; 0 where there is none."""
    return max((int(entry.name) for entry in folder.iterdir() if _is_number(entry.name)), default=0)


def _is_number(name):
    return name.isascii() and name.isdigit()
