"""A list of the files that a command wrote to a folder, so that overwriting removes only those."""

import contextlib
import dataclasses
import os
from pathlib import Path, PurePosixPath

from mcc_keras.documents import read_document, write_document
from mcc_keras.errors import DataError

LISTING = ".mcc-keras.json"
SCHEMA = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
    """What a command wrote into a folder.

    Args:
        command: The command, such as `"evaluate"`.
        files: Paths of its files, relative to the folder, with `/`.
    """

    command: str
    files: tuple[str, ...]

    def __post_init__(self):
        for name in self.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not path.parts:
                raise ValueError(f"expected paths inside the folder, found {name!r}")


def write_listing(folder, *, command, files=None):
    """Leave the list in a folder, of the files that are named or of all that are in it; return the `Listing`.

    Example:

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "scores.csv").write_text("case,dice")
    >>> write_listing(folder, command="evaluate").files
    ('scores.csv',)
    """
    listing = Listing(command=command, files=tuple(find_files(folder) if files is None else files))
    write_document(listing, folder / LISTING, schema=SCHEMA)
    return listing


def read_listing(folder, *, command):
    """Return the `Listing` that a command left in a folder; `None` where there is none, or another command's."""
    if not (folder / LISTING).is_file():
        return None
    try:
        listing = read_document(folder / LISTING, Listing, schema=SCHEMA)
    except DataError:
        return None
    return listing if listing.command == command else None


def remove_listed(folder, listing):
    """Remove the files of a `Listing`, folders that are then empty, and the list, last; return the remaining files.

    Returns:
        Relative paths of files that are not on the list; the folder is gone if there are none.
    """
    for name in listing.files:
        if _inside(folder, name):
            (folder / name).unlink(missing_ok=True)
    left = find_files(folder)
    if not left:
        (folder / LISTING).unlink(missing_ok=True)
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):  # not empty
            os.rmdir(path)
    return left


def find_files(folder):
    """Return the relative paths of all files and links in a folder except its list, sorted."""
    found = []
    for path, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(path, name))]
        found += [Path(path, name).relative_to(folder).as_posix() for name in (*files, *links)]
    return sorted(name for name in found if name != LISTING)


def _inside(folder, name):
    """Is a listed path a file of this folder, and none that a link below the folder leads to?"""
    parents = [folder / parent for parent in PurePosixPath(name).parents if parent.parts]
    return not any(parent.is_symlink() for parent in parents) and not (folder / name).is_dir()
