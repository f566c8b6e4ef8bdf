"""The files that a case is read from, each with size and SHA-256, so that a change is noticed wherever it happens."""

import hashlib
import itertools
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib

PARTNERS = {".hdr": ".img", ".img": ".hdr", ".hdr.gz": ".img.gz", ".img.gz": ".hdr.gz"}
HEADERS = (".mhd", ".nhdr")
_DATA_FILE = re.compile(rb"^[ \t]*(?:ElementDataFile[ \t]*=|data ?file:)[ \t]*([^\r\n]+?)[ \t\r]*$", re.I | re.M)
_HEADER_BYTES = 1 << 16
_SETTLED = 2_000_000_000  # nanoseconds; a file written more recently might change again within one tick of its clock
_AT_ONCE = 16  # bytes; passing a smaller file to a thread takes as long as hashing it


def source_files(path):
    """Return the files that one volume is read from: itself, a header's data file, the files of a folder.

    Args:
        path: A volume's file, or a folder of DICOM files.

    Returns:
        Tuple of paths; those that do not exist are left out, except `path` itself.

    Example:

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.mhd").write_text("NDims = 3\\nElementDataFile = a.raw\\n"), (folder / "a.raw").write_bytes(b"")
    >>> [file.name for file in source_files(folder / "a.mhd")]
    ['a.mhd', 'a.raw']
    """
    path = Path(path)
    if path.is_dir():
        return tuple(sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")))
    name = path.name.lower()
    partners = [path.with_name(path.name[: -len(a)] + b) for a, b in PARTNERS.items() if name.endswith(a)]
    if name.endswith(HEADERS) and path.is_file():
        with open(path, "rb") as file:
            found = _DATA_FILE.search(file.read(_HEADER_BYTES))
        partners = [path.parent / found[1].decode("utf-8", "surrogateescape")] if found else []
    return (path, *(file for file in partners if "\0" not in str(file) and file.is_file()))


def hash_files(paths, *, workers=None):
    """Return size and SHA-256 of files, several at a time.

    Args:
        paths: The files.
        workers: Files read at a time; `None` is one per core.

    Returns:
        Dict path → (bytes, SHA-256 in hex); `(None, None)` for one that cannot be read, whose reader gives the reason.

    Example:

    >>> hash_files([Path("no such file")])
    {PosixPath('no such file'): (None, None)}
    """
    paths = tuple(dict.fromkeys(paths))
    workers = min(workers or joblib.cpu_count(), len(paths))
    if workers <= 1:
        return {path: _hash(path) for path in paths}
    size = max(1, min(_AT_ONCE, len(paths) // (4 * workers)))
    some = [paths[start : start + size] for start in range(0, len(paths), size)]
    with ThreadPoolExecutor(workers) as pool:
        hashes = pool.map(lambda files: [_hash(file) for file in files], some)
        return dict(zip(paths, itertools.chain.from_iterable(hashes), strict=True))


def hash_once(paths, *, workers=None):
    """As `hash_files`, but skip files that have not changed since this process hashed them."""
    before = {path: _stamp(path) for path in paths}
    known = {path: _HASHES[path, stamp] for path, stamp in before.items() if (path, stamp) in _HASHES}
    new = hash_files([path for path in before if path not in known], workers=workers)
    latest = time.time_ns() - _SETTLED
    for path, described in new.items():
        stamp = _stamp(path)
        if stamp is not None and stamp == before[path] and max(stamp[1:3]) < latest:
            _HASHES[path, stamp] = described
    return known | new


def stamp(path):
    """Return (bytes, time of change, time of any change, inode) of a file; no writer can reset the third."""
    state = path.stat()
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino


_HASHES = {}


def _stamp(path):
    try:
        return stamp(path)
    except OSError:
        return None


def _hash(path):
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return file.tell(), digest
    except OSError:
        return None, None
