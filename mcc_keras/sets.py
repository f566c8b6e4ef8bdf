"""Sets that are never replaced under a reader: one folder per set, and a small file that points to the current one.

FOLDER/current.json        the name of the current set; its presence marks the folder as one of sets
FOLDER/sets/<name>/        a set, with a list of its files and the lock that its readers share
FOLDER/sets/.unfinished/   the set that is being written
FOLDER/.lock               held while one process writes

Readers resolve the pointer once and keep the set that they opened. A set that is no longer current is removed when its
lock can be had: nobody reads it then.
"""

import contextlib
import dataclasses
import re
from pathlib import Path

from mcc_keras.documents import read_document, write_document
from mcc_keras.errors import OutputExistsError, RecordError, disk_failure
from mcc_keras.files import flush, is_leftover, remove, remove_leftovers, rename
from mcc_keras.listing import LISTING, read_listing, remove_listed, write_listing
from mcc_keras.locks import lock_file, owned

POINTER, SETS, LOCK, UNFINISHED = "current.json", "sets", ".lock", ".unfinished"
SCHEMA = 1
_NAME = re.compile(r"[0-9a-z]+(-[0-9]+)?")
_ATTEMPTS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pointer:
    """Which set of a folder is current.

    Args:
        command: The command that writes the sets.
        current: Name of the set; `None` until the first is whole.
    """

    command: str
    current: str | None = None

    def __post_init__(self):
        if self.current is not None and not _NAME.fullmatch(self.current):
            raise ValueError(f"expected the name of a set, found {self.current!r}")


def current_set(folder):
    """Return the name of the current set of a folder of sets; `None` while none is whole.

    Raises:
        RecordError: The pointer is damaged.
    """
    return _read_pointer(Path(folder)).current


def open_set(folder, *, missing):
    """Return the folder of the current set and a shared lock on it, which ends when it is no longer referenced.

    Where the folder cannot be locked, as on a mount without locks, the lock is `None`.

    Args:
        folder: Folder of sets.
        missing: What to do about a folder without a set, for the message.

    Raises:
        RecordError: There is no set, or the pointer is damaged.
    """
    folder = Path(folder)
    for _ in range(_ATTEMPTS):
        name = _pointed(folder, missing)
        path = folder / SETS / name
        with contextlib.suppress(BlockingIOError, FileNotFoundError):  # it is being removed: there is a newer one
            return path, lock_file(path / LOCK)
    if path.is_dir() and not (path / LOCK).exists():
        return path, None
    raise RecordError(path, f"expected the set that {POINTER} names, found no readable one", missing)


@contextlib.contextmanager
def owned_sets(folder, *, command, take_over=False):
    """Be the only writer of a folder of sets, which is made if it is missing; yield the function that `owned` yields.

    A folder that is left without a set is removed again, if this call made it.

    Raises:
        OutputExistsError: The folder holds something else.
        BusyError: Another process writes to it.
        EnvironmentFailure: It cannot be written.
    """
    folder = Path(folder)
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_failure(folder, error) from error
    try:
        with owned(folder / LOCK, folder, take_over=take_over) as confirm:
            try:
                _mark(folder, command)
                yield confirm
            finally:
                _unmark(folder)
    finally:
        if made:
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()


@contextlib.contextmanager
def unfinished_set(folder):
    """Yield the folder of the set to be; a kill leaves it with its content for the next call, an error removes it."""
    aside = Path(folder) / SETS / UNFINISHED
    aside.mkdir(parents=True, exist_ok=True)
    try:
        yield aside
    except Exception:
        remove(aside)
        raise


def publish_set(folder, *, name, command, confirm):
    """Give the unfinished set its name, or one with a number if that is taken, and make it the current one.

    Args:
        folder: Folder of sets.
        name: Lower-case letters and digits that depend on the content of the set.
        command: The command that writes the sets.
        confirm: The function that `owned_sets` yields.
    """
    aside, sets = folder / SETS / UNFINISHED, folder / SETS
    (aside / LOCK).touch()
    write_listing(aside, command=command)
    flush(aside)
    confirm()
    number, free = 1, name
    while (sets / free).exists():
        number += 1
        free = f"{name}-{number}"
    rename(aside, sets / free)
    point_to(sets / free, command=command)


def sets_named(folder, name):
    """Return the folders of whole sets that `publish_set` gave a name, the newest last."""
    found = [path for path in (Path(folder) / SETS).glob(f"{name}*") if path.name.partition("-")[0] == name]
    return sorted((path for path in found if (path / LISTING).is_file()), key=lambda path: (len(path.name), path.name))


def point_to(path, *, command):
    """Make a set that is whole the current one."""
    write_document(Pointer(command=command, current=path.name), path.parent.parent / POINTER, schema=SCHEMA)


def remove_unread(folder):
    """Remove sets that are not current and that nobody reads, and leftovers of killed calls; for the only writer."""
    remove_leftovers(folder)
    pointer = _read_pointer(folder)
    for path in list((folder / SETS).iterdir()):
        if path.name in (pointer.current, UNFINISHED):
            continue
        listing = read_listing(path, command=pointer.command)
        with _unread(path) as free:
            if listing and free:
                remove_listed(path, listing)
        with contextlib.suppress(OSError):
            path.rmdir()  # if it is empty: a kill came before this


@contextlib.contextmanager
def _unread(path):
    """Lock a set against readers; yield whether that has worked."""
    try:
        lock = lock_file(path / LOCK, exclusive=True)
    except BlockingIOError:
        yield False
    except FileNotFoundError:  # its removal has begun
        yield True
    else:
        yield lock is not None


def _mark(folder, command):
    if (folder / POINTER).is_file():
        return
    if any(path.name != LOCK and not is_leftover(path) for path in folder.iterdir()):
        raise OutputExistsError(folder, "a folder that is not empty", "Choose another folder.")
    write_document(Pointer(command=command), folder / POINTER, schema=SCHEMA)


def _unmark(folder):
    """Remove the marks of a folder that has no set, and nothing begun."""
    with contextlib.suppress(OSError, RecordError):  # not empty; not marked
        if _read_pointer(folder).current is None:
            if (folder / SETS).exists():
                (folder / SETS).rmdir()
            (folder / POINTER).unlink()


def _pointed(folder, missing):
    if not (folder / POINTER).is_file():
        raise RecordError(folder, f"expected prepared records, found no {POINTER}", missing)
    name = _read_pointer(folder).current
    if name is None:
        raise RecordError(folder, "expected prepared records, found unfinished ones only", missing)
    return name


def _read_pointer(folder):
    return read_document(folder / POINTER, Pointer, schema=SCHEMA, error=RecordError)
