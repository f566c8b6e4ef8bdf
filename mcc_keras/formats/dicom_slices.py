"""The slices of a DICOM series: decoded by SimpleITK, checked against each other, and put in order.

`serve` runs in a process of its own and answers one request of `dicom.read_series`.
"""

import contextlib
import json
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import lazy_loader as lazy
import numpy as np

from mcc_keras.errors import DataError, GeometryError, VolumeError
from mcc_keras.formats import streams
from mcc_keras.formats.text_header import affine_of_axes

sitk = lazy.load("SimpleITK")

_MEMORY = 4 << 30  # of the decoder before the number of voxels is known
_ONE_SERIES = "Move the files of one series to a folder of its own."
_CONVERT = "Convert the series to NIfTI first, with dcm2niix for example."
_EXPORT = "Export the series again with all its slices."

_TAGS = {"type": "0008|0008", "uid": "0008|0018", "modality": "0008|0060", "series": "0020|000e", "number": "0020|0013"}
_TAGS |= {"position": "0020|0032", "orientation": "0020|0037", "apart": "0018|0088", "thickness": "0018|0050"}
_TAGS |= {"display": "0028|0004", "bits": "0028|0101", "signed": "0028|0103"}
_TAGS |= {"intercept": "0028|1052", "slope": "0028|1053", "in_acquisition": "0020|1002"}


@dataclass(frozen=True)
class Slice:
    """One file: its series and its plane, in DICOM's millimetres (left, posterior, superior).

    Args:
        path: The file.
        tags: Text of the elements in `_TAGS`, "" where one is absent.
        size: Columns, rows and frames.
        channels: Numbers per voxel.
        origin: Position of the first voxel.
        steps: One row per axis, from a voxel to its neighbor.
    """

    path: Path
    tags: dict[str, str]
    size: tuple[int, ...]
    channels: int
    origin: np.ndarray
    steps: np.ndarray

    @property
    def number(self):
        """The instance number, or None."""
        with contextlib.suppress(ValueError):
            return int(self.tags["number"])
        return None

    @property
    def localizer(self):
        """Whether the file is a scout view that shows where the slices of other files lie."""
        return "LOCALIZER" in self.tags["type"].upper()

    @property
    def kind(self):
        """Name of the file in messages."""
        return f"{self.tags['modality'] or 'no modality'}{' localizer' if self.localizer else ''}"


def serve():
    """Answer one request, from standard input to standard output; what the decoder prints is discarded."""
    out, silent = os.fdopen(os.dup(1), "wb"), os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    request = json.load(sys.stdin)
    max_voxels, max_ratio = request["limits"]
    try:
        paths = [Path(path) for path in request["paths"]]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            array, affine, slices = decode(Path(request["folder"]), paths, max_voxels=max_voxels, max_ratio=max_ratio)
        answer = {"dtype": array.dtype.str, "shape": array.shape, "affine": affine.tolist()}
        places = {path: place for place, path in enumerate(paths)}
        answer["slices"] = [(places[one.path], one.tags["uid"]) for one in slices]
        answer["warnings"] = [str(one.message) for one in caught if one.category is UserWarning]
    except DataError as error:
        array = None
        answer = {"error": type(error).__name__, "path": str(error.path)}
        answer |= {"problem": error.problem, "way_out": error.way_out}
    with out:
        out.write(json.dumps(answer).encode() + b"\n")
        if array is not None:
            out.write(array.tobytes(order="F"))


def decode(folder, paths, *, max_voxels, max_ratio):
    """Return the voxels, the affine and the `Slice`s along the last axis of one series, in this process."""
    _limit_memory(_MEMORY)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    slices = [_information(path) for path in paths]
    _refuse_several_series(folder, slices)
    _refuse_localizers(folder, slices)
    first = slices[0]
    for one in slices:
        _refuse_other_kinds(one, first)
        pixels = one.size[0] * one.size[1]
        streams.refuse_ratio(one.path, pixels, os.stat(one.path).st_size, voxels=pixels, max_ratio=max_ratio)
    shape = (*first.size[:2], len(slices))
    streams.refuse_huge(folder, shape, max_voxels)
    slices, step = _in_order(folder, slices)
    _warn_of_missing(slices)
    _limit_memory(_MEMORY + 32 * shape[0] * shape[1] * shape[2])
    array = np.stack([_pixels(one) for one in slices], axis=2)
    affine = affine_of_axes([*first.steps[:2], step], slices[0].origin, steps=np.ones(3))
    return array.astype(np.float32 if array.dtype == np.float64 else array.dtype, copy=False), affine, slices


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
        tags = {name: _value(reader, tag) for name, tag in _TAGS.items()}
        rank = reader.GetDimension()
        steps = np.reshape(reader.GetDirection(), (rank, rank)).T * np.array(reader.GetSpacing())[:, None]
    if steps.shape != (3, 3):
        raise VolumeError(path, f"expected a slice in three dimensions, found {len(steps)}", _CONVERT)
    size, origin = tuple(reader.GetSize()), np.array(reader.GetOrigin())
    return Slice(path, tags, size, reader.GetNumberOfComponents(), origin, steps)


def _value(reader, tag):
    return reader.GetMetaData(tag).strip(" \0") if reader.HasMetaDataKey(tag) else ""


def _number(text, default=0.0):
    with contextlib.suppress(ValueError):
        return float(text)
    return default


def _pixels(one):
    with _decoding(one.path):
        array = sitk.GetArrayFromImage(_reader(one.path).Execute())
    if array.shape != (1, one.size[1], one.size[0]):
        raise VolumeError(one.path, f"expected a slice of {one.size}, found {array.shape[::-1]}", "Copy it again.")
    return _as_stored(array[0].T, one)


def _as_stored(array, one):
    """Return voxels as stored, times slope plus intercept: GDCM inverts MONOCHROME1, which is meant for a display."""
    if one.tags["display"] != "MONOCHROME1":
        return array
    bits, signed = int(_number(one.tags["bits"], 16)), one.tags["signed"] == "1"
    largest_and_smallest = -1 if signed else (1 << bits) - 1  # in units of stored values
    slope, intercept = _number(one.tags["slope"], 1.0) or 1.0, _number(one.tags["intercept"])
    return (slope * largest_and_smallest + 2 * intercept - array.astype(np.float64)).astype(array.dtype)


@contextlib.contextmanager
def _decoding(path):
    try:
        yield
    except (RuntimeError, MemoryError, OverflowError, ValueError) as error:
        reason = (str(error).strip().splitlines() or ["no memory"])[-1].strip().rpartition("): ")[2]
        raise VolumeError(
            path, f"expected a DICOM image, found one that GDCM refuses: {reason[:200]}", _CONVERT
        ) from None


def _refuse_several_series(folder, slices):
    found = {}
    for one in slices:
        found.setdefault(one.tags["series"], []).append(one)
    if len(found) > 1:
        shown = [f"{uid or 'no UID'} ({_names(those)})" for uid, those in list(found.items())[:10]]
        problem = f"expected the DICOM files of one series, found {len(found)}: {', '.join(shown)}"
        raise VolumeError(folder, problem, _ONE_SERIES)


def _refuse_localizers(folder, slices):
    found = [one for one in slices if one.localizer]
    if 0 < len(found) < len(slices):
        problem = f"expected the slices of one scan, found localizers beside them ({_names(found)})"
        raise GeometryError(folder, problem, _ONE_SERIES)


def _names(slices):
    kinds = "/".join(dict.fromkeys(one.kind for one in slices))
    return f"{kinds}, {len(slices)} file{'s' * (len(slices) > 1)}: {slices[0].path.name}{' …' * (len(slices) > 1)}"


def _refuse_other_kinds(one, first):
    if one.size[2] != 1:
        raise VolumeError(one.path, f"expected one slice per file, found {one.size[2]} frames ({one.kind})", _CONVERT)
    if one.channels != 1:
        raise VolumeError(one.path, f"expected one number per voxel, found {one.channels} (colors)", _CONVERT)
    absent = [name for name in ("position", "orientation") if not one.tags[name]]
    if absent:
        problem = f"expected a slice in space, found a file without {' and '.join(absent)} ({one.kind})"
        raise GeometryError(one.path, problem, "Move it out of the folder if it is a projection or a screenshot.")
    if one.size != first.size:
        problem = f"expected the size {first.size[:2]} of {first.path.name}, found {one.size[:2]}"
        raise GeometryError(one.path, problem, _ONE_SERIES)
    if not np.abs(one.steps[:2] - first.steps[:2]).max() <= 1e-3 * np.linalg.norm(first.steps[0]):
        problem = f"expected the orientation and spacing of {first.path.name}, found another plane in the series"
        raise GeometryError(one.path, problem, _ONE_SERIES)


def _in_order(folder, slices):
    """Return the slices from the first to the last along their normal, and the step from one to the next."""
    normal = np.cross(slices[0].steps[0], slices[0].steps[1])
    slices = sorted(slices, key=lambda one: float(one.origin @ normal))
    if len(slices) == 1:
        thickness = _number(slices[0].tags["apart"]) or _number(slices[0].tags["thickness"]) or 1.0
        return slices, slices[0].steps[2] * thickness / np.linalg.norm(slices[0].steps[2])
    places = np.array([one.origin for one in slices])
    gaps = np.diff(places, axis=0)
    apart = np.linalg.norm(gaps, axis=1)
    if not apart.min() > 1e-3:
        at = int(np.argmin(apart))
        _refuse_one_place(folder, slices[at], slices[at + 1])
    step = np.median(gaps, axis=0)
    length = float(np.linalg.norm(step))
    wrong = np.linalg.norm(gaps - step, axis=1)
    if not wrong.max() <= 0.02 * length + 0.01:
        at = int(np.argmax(wrong))
        names = f"{slices[at].path.name} and {slices[at + 1].path.name}"
        problem = f"expected slices {length:.6g} mm apart, found {apart[at]:.6g} mm between {names}"
        raise GeometryError(folder, problem, _EXPORT)
    return slices, (places[-1] - places[0]) / (len(slices) - 1)


def _refuse_one_place(folder, one, other):
    names = f"{one.path.name} and {other.path.name}"
    if one.tags["uid"] and one.tags["uid"] == other.tags["uid"]:
        raise GeometryError(folder, f"expected each slice once, found {names}: a copy", "Remove one of them.")
    problem = f"expected one slice at each position, found {names} at the same: several phases or echoes"
    raise GeometryError(folder, problem, _ONE_SERIES)


def _warn_of_missing(slices):
    """Warn where instance numbers, which count from 0 or 1 along a series, have gaps that positions cannot show."""
    numbers = sorted({one.number for one in slices if one.number is not None})
    if len(numbers) != len(slices):
        return
    missing = numbers[-1] - min(1, numbers[0]) + 1 - len(numbers)
    whole = _number(slices[0].tags["in_acquisition"])
    if missing or whole > len(numbers):
        text = f"{len(numbers)} slices with instance numbers {numbers[0]} to {numbers[-1]}"
        text += f" of {whole:.0f} in the acquisition" if whole else ""
        warnings.warn(f"{text}: slices may be missing. {_EXPORT}", stacklevel=2)
