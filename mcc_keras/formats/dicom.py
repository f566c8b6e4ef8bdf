"""A folder of DICOM files, one slice a file, as one volume; decoded by SimpleITK (GDCM) in a process of its own.

Damaged files can bring the native decoder down, so it runs where it takes nobody with it. What it answers – voxels with
their rescale slope and intercept applied, and where each slice lies – is judged here.
"""

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import lazy_loader as lazy
import numpy as np

from mcc_keras.errors import DataError, GeometryError, VolumeError
from mcc_keras.formats import streams
from mcc_keras.formats.text_header import affine_of_axes

sitk = lazy.load("SimpleITK")

_SECONDS = 600
_MEMORY = 4 << 30  # of the decoder before it knows how many voxels there are
_NAMES = (".dcm", ".dicom", ".ima")
_ONE_SERIES = "Move the files of one series to a folder of its own."
_CONVERT = "Convert the series to NIfTI first, with dcm2niix for example."
_SERVE = "from mcc_keras.formats.dicom import serve; serve()"


@dataclass(frozen=True)
class Slice:
    """One file: its series and its plane, in DICOM's millimetres (left, posterior, superior)."""

    path: Path
    series: str
    size: tuple[int, ...]
    channels: int
    origin: np.ndarray
    steps: np.ndarray
    thickness: float


def holds_dicom(folder):
    """Whether a folder has DICOM files directly in it.

    Example:

    >>> import tempfile
    >>> holds_dicom(tempfile.mkdtemp())
    False
    """
    return any(_is_dicom(path) for path in sorted(Path(folder).iterdir()))


def read_series(folder, *, max_voxels, max_ratio):
    """Return the voxels `(x, y, z)` and the affine to RAS+ millimetres of the one series in a folder.

    Raises:
        VolumeError: No DICOM files, several series, colours, several frames a file, or a file that cannot be decoded.
        GeometryError: Slices of several orientations or sizes, two at one place, or one that is missing between others.
    """
    paths = _files(folder)
    # The process speaks UTF-8 whatever the locale, since SimpleITK does.
    names = [os.fsencode(path).decode("utf-8", "surrogateescape") for path in (folder, *paths)]
    request = {"folder": names[0], "paths": names[1:], "limits": [max_voxels, max_ratio]}
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
        problem = f"expected DICOM files that can be decoded, found that the decoder broke down ({done.returncode})"
        raise VolumeError(folder, problem, "Export the series again, or convert it to NIfTI elsewhere.")
    answer = json.loads(head)
    if "error" in answer:
        kind = {"GeometryError": GeometryError}.get(answer["error"], VolumeError)
        raise kind(
            Path(os.fsdecode(answer["path"].encode("utf-8", "surrogateescape"))), answer["problem"], answer["way_out"]
        )
    array = np.frombuffer(bytearray(body), answer["dtype"]).reshape(answer["shape"], order="F")
    return array, np.array(answer["affine"])


def serve():
    """Answer one request of `read_series`, from standard input to standard output; the decoder's own words are lost."""
    out, silent = os.fdopen(os.dup(1), "wb"), os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    request = json.load(sys.stdin)
    max_voxels, max_ratio = request["limits"]
    try:
        paths = [Path(path) for path in request["paths"]]
        array, affine = decode(Path(request["folder"]), paths, max_voxels=max_voxels, max_ratio=max_ratio)
        answer = {"dtype": array.dtype.str, "shape": array.shape, "affine": affine.tolist()}
    except DataError as error:
        array = None
        answer = {"error": type(error).__name__, "path": str(error.path)}
        answer |= {"problem": error.problem, "way_out": error.way_out}
    with out:
        out.write(json.dumps(answer).encode() + b"\n")
        if array is not None:
            out.write(array.tobytes(order="F"))


def decode(folder, paths, *, max_voxels, max_ratio):
    """Return the voxels and the affine of the files of one series, in this process."""
    _limit_memory(_MEMORY)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    slices = [_information(path) for path in paths]
    _refuse_several_series(folder, slices)
    first = slices[0]
    for one in slices:
        _refuse_other_kinds(one, first)
        pixels = one.size[0] * one.size[1]
        streams.refuse_ratio(one.path, pixels, os.stat(one.path).st_size, voxels=pixels, max_ratio=max_ratio)
    shape = (*first.size[:2], len(slices))
    streams.refuse_huge(folder, shape, max_voxels)
    slices, step = _in_order(folder, slices)
    _limit_memory(_MEMORY + 32 * shape[0] * shape[1] * shape[2])
    array = np.stack([_pixels(one) for one in slices], axis=2)
    affine = affine_of_axes([*first.steps[:2], step], slices[0].origin, steps=np.ones(3))
    return array.astype(np.float32 if array.dtype == np.float64 else array.dtype, copy=False), affine


def _files(folder):
    found = [path for path in sorted(Path(folder).iterdir()) if path.is_file() and not path.name.startswith(".")]
    paths = [path for path in found if _is_dicom(path)]
    if not paths:
        folders = [path.name for path in sorted(Path(folder).iterdir()) if path.is_dir() and holds_dicom(path)]
        way_out = f"Name one of the folders in it: {', '.join(folders[:5])}." if folders else "Name the scan's file."
        raise VolumeError(folder, "expected a folder of DICOM files, found none in it", way_out)
    for path in found:
        if path in paths and not streams.inside(path, folder):
            raise VolumeError(
                path, f"expected a file inside {folder}, found one that leads out of it", "Copy it there."
            )
        if path.suffix.lower() in _NAMES and path not in paths:
            raise VolumeError(path, "expected a DICOM file with DICM at byte 128, found another", "Copy it again.")
    return paths


def _is_dicom(path):
    if path.name.upper() == "DICOMDIR" or not path.is_file():
        return False
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"
    return False


def _limit_memory(soft):
    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        soft = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _reader(path):
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(os.fspath(path))
    return reader


def _information(path):
    reader = _reader(path)
    with _decoding(path):
        reader.ReadImageInformation()
        series, apart, thick = (_value(reader, tag) for tag in ("0020|000e", "0018|0088", "0018|0050"))
        steps = (
            np.reshape(reader.GetDirection(), (reader.GetDimension(),) * 2).T * np.array(reader.GetSpacing())[:, None]
        )
    if steps.shape != (3, 3):
        raise VolumeError(path, f"expected a slice in three dimensions, found {len(steps)}", _CONVERT)
    size, origin = tuple(reader.GetSize()), np.array(reader.GetOrigin())
    return Slice(path, series, size, reader.GetNumberOfComponents(), origin, steps, _number(apart) or _number(thick))


def _value(reader, tag):
    return reader.GetMetaData(tag).strip(" \0") if reader.HasMetaDataKey(tag) else ""


def _number(text):
    with contextlib.suppress(ValueError):
        return float(text)
    return 0.0


def _pixels(one):
    with _decoding(one.path):
        array = sitk.GetArrayFromImage(_reader(one.path).Execute())
    if array.shape != (1, one.size[1], one.size[0]):
        raise VolumeError(one.path, f"expected a slice of {one.size}, found {array.shape[::-1]}", "Copy it again.")
    return array[0].T


@contextlib.contextmanager
def _decoding(path):
    try:
        yield
    except (RuntimeError, MemoryError, OverflowError, ValueError) as error:
        reason = (str(error).strip().splitlines() or ["no memory"])[-1].strip()
        raise VolumeError(path, f"expected a DICOM image, found: {reason[:200]}", _CONVERT) from None


def _refuse_several_series(folder, slices):
    counts = {}
    for one in slices:
        counts.setdefault(one.series, []).append(one.path.name)
    if len(counts) > 1:
        shown = [f"{uid or 'no UID'} ({len(names)} files: {names[0]} …)" for uid, names in list(counts.items())[:10]]
        problem = f"expected the DICOM files of one series, found {len(counts)}: {', '.join(shown)}"
        raise VolumeError(folder, problem, _ONE_SERIES)


def _refuse_other_kinds(one, first):
    if one.size[2] != 1:
        raise VolumeError(one.path, f"expected one slice a file, found {one.size[2]} frames", _CONVERT)
    if one.channels != 1:
        raise VolumeError(one.path, f"expected one number a voxel, found {one.channels} (colours)", _CONVERT)
    if one.size != first.size:
        problem = f"expected the size {first.size[:2]} of {first.path.name}, found {one.size[:2]}"
        raise GeometryError(one.path, problem, _ONE_SERIES)
    if not np.abs(one.steps[:2] - first.steps[:2]).max() <= 1e-3 * np.linalg.norm(first.steps[0]):
        problem = (
            f"expected the orientation and spacing of {first.path.name}, found others: several planes in one series"
        )
        raise GeometryError(one.path, problem, _ONE_SERIES)


def _in_order(folder, slices):
    """The slices from the first to the last along their normal, and the step from one to the next."""
    normal = np.cross(slices[0].steps[0], slices[0].steps[1])
    slices = sorted(slices, key=lambda one: float(one.origin @ normal))
    if len(slices) == 1:
        return slices, slices[0].steps[2] * (slices[0].thickness or 1.0) / np.linalg.norm(slices[0].steps[2])
    places = np.array([one.origin for one in slices])
    gaps = np.diff(places, axis=0)
    step = np.median(gaps, axis=0)
    length = float(np.linalg.norm(step))
    apart = np.linalg.norm(gaps, axis=1)
    if not apart.min() > 1e-3:
        at = int(np.argmin(apart))
        names = f"{slices[at].path.name} and {slices[at + 1].path.name}"
        problem = f"expected each slice at a place of its own, found {names} at the same: several phases or echoes"
        raise GeometryError(folder, problem, _ONE_SERIES)
    wrong = np.linalg.norm(gaps - step, axis=1)
    if not wrong.max() <= 0.02 * length + 0.01:
        at = int(np.argmax(wrong))
        names = f"{slices[at].path.name} and {slices[at + 1].path.name}"
        problem = f"expected slices {length:.6g} mm apart, found {apart[at]:.6g} mm between {names}"
        raise GeometryError(folder, problem, "Export the series again with all its slices.")
    return slices, (places[-1] - places[0]) / (len(slices) - 1)
