"""File names: which files are volumes, which ids are safe as file names, which paths stay inside a folder."""

import re
from pathlib import Path

from mcc_keras.errors import CaseError
from mcc_keras.formats.dicom import holds_dicom
from mcc_keras.formats.streams import inside
from mcc_keras.volumes import SUFFIXES, refuse_remote, suffix_of

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ESCAPED = "x-"
_LONGEST = 180
_LONGEST_PART, _LONGEST_PATH = 255, 4000


def safe_id(name):
    """Return a case id that is safe as a file name and in templates; `plain_id` gives the name back.

    >>> safe_id("Case07"), safe_id("../evil"), safe_id("Fräulein {0}")
    ('Case07', 'x-..-2fevil', 'x-Fr-c3-a4ulein-20-7b0-7d')
    """
    if len(name) > _LONGEST or not name:
        raise CaseError(name[:40] or "(no name)", f"expected a case id of 1 to {_LONGEST} letters, found {len(name)}")
    if _SAFE.fullmatch(name) and not name.startswith(_ESCAPED):
        return name
    letters = (chr(byte) for byte in name.encode("utf-8", "surrogateescape"))
    return _ESCAPED + "".join(x if x.isascii() and (x.isalnum() or x in "._") else f"-{ord(x):02x}" for x in letters)


def plain_id(case_id):
    """Return the name that a safe id was made from.

    >>> plain_id("x-..-2fevil")
    '../evil'
    """
    if not case_id.startswith(_ESCAPED):
        return case_id
    data = re.sub(rb"-([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), case_id[2:].encode())
    return data.decode("utf-8", "surrogateescape")


def stem_of(path):
    """Return the file's name without the suffix of its format.

    >>> stem_of("scans/a.b.nii.gz")
    'a.b'
    """
    name = Path(path).name
    if Path(path).is_dir():
        return name
    return name[: len(name) - len(suffix_of(name))]


def volumes_in(folder):
    """Return the volumes in a folder by name: one path per volume, without hidden files and the .img of a .hdr.

    A folder of DICOM files in it is a volume as well.
    """
    found = (path for path in sorted(Path(folder).iterdir()) if not path.name.startswith("."))
    return [path for path in found if is_volume(path)]


def is_volume(path):
    """Whether a path is a volume by its name: a file of a known format, or a folder of DICOM files."""
    if path.is_dir():
        return holds_dicom(path)
    return suffix_of(path) in SUFFIXES and ".img" not in suffix_of(path)


def possible_file(name, where):
    """Return the path that an index names; refuse URLs and names that no file can have."""
    refuse_remote(name)
    parts = [len(part.encode("utf-8", "surrogateescape")) for part in Path(name).parts]
    if not name or sum(parts) > _LONGEST_PATH or max(parts, default=0) > _LONGEST_PART:
        raise CaseError(where, f"expected the name of a file, found {name!r:.80}", "Mend the entry.")
    return Path(name)


def confined(path, folder):
    """Return the path if it lies inside the folder after following links; refuse it if not."""
    path = Path(path)
    if not inside(path, folder):
        raise CaseError(
            path, f"expected a file inside {folder}, found one that leads out of it", "Name it in a table instead."
        )
    return path
