"""A folder of DICOM files, one slice per file, as one volume.

`dicom_tags` recognizes the files of the series, `dicom_slices` decodes them with SimpleITK (GDCM). Damaged files can
crash the native decoder, so it runs in a process of its own.
"""

import codecs
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mcc_keras.errors import GeometryError, VolumeError
from mcc_keras.formats import streams
from mcc_keras.formats.dicom_tags import MODALITY, ends_in_zeros, read_tags

_SECONDS = 600
_NAMES = (".dcm", ".dicom", ".ima")
# Objects without slices: structure sets, plans, reports, presentation states, registrations, signals and documents.
_NOT_IMAGES = ("RTSTRUCT", "RTPLAN", "RTRECORD", "PLAN", "SR", "PR", "KO", "REG", "FID", "RWV")
_NOT_IMAGES += ("DOC", "AU", "ECG", "EPS", "HD", "SMR", "STAIN", "ANN")
_CONVERT = "Convert the series to NIfTI first, with dcm2niix for example."
_SERVE = "from mcc_keras.formats.dicom_slices import serve; serve()"


class SliceFile(NamedTuple):
    """The file of one slice.

    Args:
        path: The file.
        uid: Its SOPInstanceUID, "" where it has none.
    """

    path: Path
    uid: str


def holds_dicom(folder):
    """Whether a folder has DICOM images directly in it.

    Example:

    >>> import tempfile
    >>> holds_dicom(tempfile.mkdtemp())
    False
    """
    paths = (path for path in sorted(Path(folder).iterdir()) if path.is_file() and path.name.upper() != "DICOMDIR")
    return any(_kind(path) == "image" for path in paths)


def read_series(folder, *, max_voxels, max_ratio):
    """Return the voxels `(x, y, z)`, the affine to RAS+ millimetres and the files of the one series in a folder.

    The files are `SliceFile`s in the order of the last axis, that of the positions: `array[:, :, k]` was read from
    file k, x along its columns and y along its rows. Voxels are the stored values times the rescale slope plus the
    intercept, whatever the display settings.

    Raises:
        VolumeError: No DICOM files, several series, colors, several frames per file, or a file that is no slice.
        GeometryError: Slices of several orientations or sizes, without a position, two at one position, or a gap.
    """
    paths = _slices_in(folder)
    # The process uses UTF-8 whatever the locale, since SimpleITK does.
    names = [os.fsencode(path).decode("utf-8", "surrogateescape") for path in (folder, *paths)]
    answer, body = _ask({"folder": names[0], "paths": names[1:], "limits": [max_voxels, max_ratio]}, folder)
    if "error" in answer:
        kind = {"GeometryError": GeometryError}.get(answer["error"], VolumeError)
        path = Path(os.fsdecode(answer["path"].encode("utf-8", "surrogateescape")))
        raise kind(path, answer["problem"], answer["way_out"])
    for text in answer["warnings"]:
        warnings.warn(f"{folder}: {text}", stacklevel=2)
    array = np.frombuffer(bytearray(body), answer["dtype"]).reshape(answer["shape"], order="F")
    files = tuple(SliceFile(paths[place], uid) for place, uid in answer["slices"])
    return array, np.array(answer["affine"]), files


def _ask(request, folder):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-X", "utf8", "-c", _SERVE],
            input=json.dumps(request).encode(),
            capture_output=True,
            env=environment,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        problem = f"expected an answer of the DICOM decoder within {_SECONDS} s, found none"
        raise VolumeError(folder, problem, _CONVERT) from None
    head, _, body = done.stdout.partition(b"\n")
    if done.returncode or not head:
        problem = f"expected DICOM files that can be decoded, found that the decoder crashed ({done.returncode})"
        raise VolumeError(folder, problem, "Export the series again, or convert it to NIfTI elsewhere.")
    return json.loads(head), body


def _kind(path):
    """Return "image", the modality of a DICOM file without slices, or "" where the file is not DICOM."""
    tags = read_tags(path)
    if tags is None:
        return ""
    return tags.get(MODALITY) if tags.get(MODALITY) in _NOT_IMAGES else "image"


def _slices_in(folder):
    found = [path for path in sorted(Path(folder).iterdir()) if path.is_file() and not path.name.startswith(".")]
    kinds = {path: _kind(path) for path in found if path.name.upper() != "DICOMDIR"}
    paths = [path for path, kind in kinds.items() if kind == "image"]
    aside = [f"{path.name} ({kind})" for path, kind in kinds.items() if kind not in ("", "image")]
    if not paths:
        _refuse_no_slices(folder, aside)
    for path in paths:
        if not streams.inside(path, folder):
            problem = f"expected a file inside {folder}, found one that leads out of it"
            raise VolumeError(path, problem, "Copy it there.")
        if ends_in_zeros(path):
            raise VolumeError(path, "expected a slice, found a mebibyte of zeros behind it", streams.WHOLE)
    others = [path for path, kind in kinds.items() if not kind]
    _refuse_damaged([path for path in others if _named_like_a_slice(path, paths)])
    aside += [path.name for path in others]
    if aside:
        more = f" and {len(aside) - 5} more" if len(aside) > 5 else ""
        warnings.warn(f"{folder}: left aside, since they are no slices: {', '.join(aside[:5])}{more}", stacklevel=2)
    return paths


def _refuse_no_slices(folder, others):
    found = f"only {', '.join(others[:5])}" if others else "none in it"
    folders = [path.name for path in sorted(Path(folder).iterdir()) if path.is_dir() and holds_dicom(path)]
    way_out = f"Name one of the folders in it: {', '.join(folders[:5])}." if folders else "Name the scan's file."
    raise VolumeError(folder, f"expected a folder of DICOM files, found {found}", way_out)


def _named_like_a_slice(path, paths):
    suffix = path.suffix.lower()
    if suffix in _NAMES:
        return True
    alike = not suffix or suffix[1:].isdigit() or suffix in {other.suffix.lower() for other in paths}
    return alike and not _is_text(path)


def _is_text(path):
    with open(path, "rb") as file:
        head = file.read(512)
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return bool(text) and all(letter.isprintable() or letter in "\t\n\r\ufeff" for letter in text)


def _refuse_damaged(paths):
    if paths:
        more = f", as are {len(paths) - 1} others, like {paths[1].name}" if len(paths) > 1 else ""
        size = paths[0].stat().st_size
        problem = f"expected a DICOM file, found {size} bytes that are none{more}"
        raise VolumeError(paths[0], problem, "Copy it again, or move it out of the folder if it is not a slice.")
