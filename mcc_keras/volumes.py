"""Volumes on disk: read with their affine from any format, and written so that a mask opens on top of its scan.

    volume = read_volume("scan.nii.gz")           # also .nii, .hdr/.img, .mha, .mhd, .nrrd, a folder of DICOM files
    write_mask(mask, "scan_seg.nii.gz", like=volume)

Voxels stay in the order of the file. The affine maps voxel indices to RAS+ millimetres in every format (MetaImage, NRRD
and DICOM store LPS). `Preprocessing` turns volumes to the canonical orientation.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcc_keras.errors import (
    EnvironmentFailure,
    GeometryError,
    OutputExistsError,
    UsageError,
    VolumeError,
    disk_failure,
)
from mcc_keras.files import refuse_impossible_output, written_aside
from mcc_keras.formats import dicom_seg, nifti, streams
from mcc_keras.formats.dicom import SliceFile, read_series
from mcc_keras.formats.geometry import corner_displacement, header_like, nifti_affine, refuse_bad_affine, refuse_shear
from mcc_keras.formats.metaimage import encode_metaimage, read_metaimage
from mcc_keras.formats.nrrd import encode_nrrd, read_nrrd
from mcc_keras.formats.text_header import is_plain_name
from mcc_keras.formats.values import NONFINITE, checked_values, largest_label

NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz")
TEXT_SUFFIXES = (".mha", ".mhd", ".nrrd")
SUFFIXES = NIFTI_SUFFIXES + TEXT_SUFFIXES
MAX_VOXELS = 1 << 30
MAX_RATIO = 200
MASK_SUFFIXES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", dicom_seg.SUFFIX)
_OTHER = "Convert it first; for DICOM files name the folder."
_SMALLER = "Crop or downsample it, or use a machine with more memory."


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D image and its position in the patient.

    Args:
        array: Voxels `(x, y, z)`, or `(x, y, z, c)` with channels, in the order of the file.
        affine: `(4, 4)` matrix from voxel indices to RAS+ millimetres.
        path: The file that it was read from.
        header: Its NIfTI header, from which a mask takes the codes of both forms.
        slices: Files of its DICOM series, one for each index of the last axis, to which a `.dcm` mask refers.

    Example:

    >>> Volume(np.zeros((4, 5, 6)), np.diag([0.5, 0.5, 3.0, 1.0])).spacing_mm
    (0.5, 0.5, 3.0)
    """

    array: np.ndarray
    affine: np.ndarray
    path: Path | None = None
    header: object | None = None
    slices: tuple[SliceFile, ...] | None = None

    @property
    def shape(self):
        """The three spatial sizes."""
        return tuple(self.array.shape[:3])

    @property
    def spacing_mm(self):
        """The distance between neighboring voxels along each axis of the array."""
        return tuple(float(step) for step in np.linalg.norm(self.affine[:3, :3], axis=0))


def suffix_of(path):
    """Return the lower-case suffix of a volume's file name, or "" if the format is not supported.

    >>> suffix_of("Case.00.NII.GZ"), suffix_of("notes.txt")
    ('.nii.gz', '')
    """
    name = Path(path).name.lower()
    return max((suffix for suffix in SUFFIXES if name.endswith(suffix)), key=len, default="")


def read_volume(path, *, channels=1, affine=None, nonfinite="error", max_voxels=MAX_VOXELS, max_ratio=MAX_RATIO):
    """Read one volume: NIfTI (`.nii`, `.nii.gz`, `.hdr`/`.img`), MetaImage (`.mha`, `.mhd`), NRRD or DICOM.

    Args:
        path: The file; for DICOM the folder with the files of one series.
        channels: Number of channels of the file; 1 gives `(x, y, z)`, more give `(x, y, z, channels)`.
        affine: `"sform"` or `"qform"`, used where a NIfTI file has both; a file that has one is read with that one.
            None: forms less than 0.01 voxel apart at the corners agree, up to 0.3 the sform is used with a warning, and
            more is an error.
        nonfinite: `"error"` refuses NaN and infinite voxels, `"zero"` reads them as 0.
        max_voxels: Larger volumes are refused before memory is allocated.
        max_ratio: Largest compression ratio of a file with more than 2²⁹ voxels, against decompression bombs.

    Returns:
        A `Volume` with the stored integer dtype if the file has no scaling, otherwise float32 (float64 if stored so).
        Values below the smallest normal float32 (1.2e-38) are 0, as in TensorFlow's kernels.

    Raises:
        VolumeError: The file is missing, not a regular file, truncated, malformed, too large, of another rank, or has
            voxels that are not finite.
        GeometryError: The affine is singular or not finite, or the two forms of a NIfTI file disagree.

    Example:

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = write_volume(np.ones((4, 5, 6), np.int16), folder / "scan.nii.gz", affine=np.eye(4))
    >>> volume = read_volume(folder / "scan.nii.gz")
    >>> volume.shape, volume.array.dtype.name, volume.spacing_mm
    ((4, 5, 6), 'int16', (1.0, 1.0, 1.0))
    """
    refuse_remote(path)
    path = Path(path)
    if affine not in (None, "sform", "qform"):
        raise UsageError(f'`affine` must be None, "sform" or "qform". Received: affine={affine!r}')
    if nonfinite not in ("error", "zero"):
        raise UsageError(f'`nonfinite` must be "error" or "zero". Received: nonfinite={nonfinite!r}')
    limits = {"max_voxels": max_voxels, "max_ratio": max_ratio}
    try:
        array, matrix, header, slices = _read(path, channels, affine, limits=limits)
        refuse_bad_affine(matrix, path)
        return Volume(checked_values(array, path, nonfinite), matrix, path, header, slices)
    except MemoryError:
        raise VolumeError(path, "expected a volume that fits the memory, found a larger one", _SMALLER) from None
    except OSError as error:
        raise streams.unreadable(path, error) from None


def read_mask_file(path, *, affine=None):
    """Read the file of a mask as a `Volume` with its labels as stored.

    Args:
        path: File of the mask.
        affine: As for `read_volume`.

    Raises:
        VolumeError: As `read_volume`; NaN and infinite voxels are refused, since they stand for no label.
    """
    try:
        return read_volume(path, affine=affine)
    except VolumeError as error:
        if error.way_out != NONFINITE:
            raise
        raise VolumeError(path, error.problem, "Repair the file: a mask holds whole numbers.") from None


def _read(path, channels, affine, *, limits):
    suffix = suffix_of(path)
    if os.path.isdir(path):
        array, matrix, slices = read_series(path, **limits)
        return _declared_rank(array, channels, path), matrix, None, slices
    if suffix in NIFTI_SUFFIXES:
        return *_read_nifti(path, channels, affine, limits=limits), None
    if suffix in TEXT_SUFFIXES:
        array, matrix = (read_nrrd if suffix == ".nrrd" else read_metaimage)(path, **limits)
        return _declared_rank(array, channels, path), matrix, None, None
    raise VolumeError(path, f"expected a volume ({' '.join(SUFFIXES)}), found {path.name!r}", _OTHER)


def reordered_like(volume, other, *, within):
    """Return a volume with its axes in the order and direction of another's, if both are one grid in space.

    Voxels are moved, never computed. A volume in the same order, or on another grid, is returned as it is.

    Args:
        volume: `Volume` to reorder.
        other: `Volume` that gives the order.
        within: Distance in voxels up to which corners count as the same.

    Example:

    >>> down, turn = Volume(np.arange(6).reshape(1, 6, 1), np.eye(4)), np.eye(4)
    >>> turn[1] = 0, -1, 0, 5
    >>> reordered_like(Volume(down.array[:, ::-1], turn), down, within=0.01).array[0, :, 0]
    array([0, 1, 2, 3, 4, 5])
    """
    turn = np.rint(np.linalg.solve(other.affine[:3, :3], volume.affine[:3, :3]))
    axes = np.abs(turn).argmax(axis=1)
    if (turn == np.eye(3)).all() or not (np.abs(turn) == np.eye(3)[axes]).all() or len(set(axes)) < 3:
        return volume
    array, affine = volume.array.transpose(*axes, *range(3, volume.array.ndim)), volume.affine.copy()
    affine[:3, :3] = volume.affine[:3, axes]
    for axis in np.flatnonzero(turn[range(3), axes] < 0):
        array = np.flip(array, axis)
        affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
        affine[:3, axis] *= -1
    if array.shape[:3] != other.shape or not corner_displacement(other.affine, affine, other.shape) <= within:
        return volume
    return Volume(array, affine, volume.path)


def refuse_remote(path):
    """Refuse URLs such as `gs://…` and `http://…`, which some readers would follow."""
    if "\0" in str(path):
        raise UsageError(f"A path must not hold a null character. Received: path={str(path)!r}")
    scheme, mark, _ = str(path).partition(":/")
    if mark and len(scheme) > 1 and scheme.replace("+", "").isalnum():
        raise UsageError(f"A path must lie on this machine. Received: path={str(path)!r}. Copy the data here first.")


def write_mask(mask, path, *, like, segments=None, description=None, overwrite=False):
    """Write a label map with the shape and affine of a volume, in the format of the file name.

    NIfTI masks keep the codes of both forms and have slope 1. A `.dcm` mask is a DICOM SEG that refers to the series of
    the volume, slice by slice, and needs the extra `dicom`. `name.mhd` has its voxels in `name.zraw`; both are
    written aside before either is renamed, the header last, so that a header never stands beside other voxels.

    Args:
        mask: `(x, y, z)` labels, whole numbers from 0 to 65535; stored as uint8, or as uint16 above 255 and where
            they are uint16 already.
        path: Ends in `.nii.gz`, `.nii`, `.nrrd`, `.mha`, `.mhd` or `.dcm`; all but `.nii` and `.dcm` are compressed.
        like: The `Volume` that the mask belongs to; for `.dcm` one that was read from a DICOM series.
        segments: `mcc_keras.formats.dicom_seg.Segment`s of a `.dcm` mask: names and codes; by default "label 1", ….
        description: ASCII text for the field `descrip` of a NIfTI mask, which has 80 bytes; other formats lack it.
        overwrite: Replace an existing file.

    Returns:
        The path.

    Raises:
        GeometryError: The mask has another shape than the volume, or the grid is sheared and the format is not NIfTI.
        OutputExistsError: The file exists, or a file stands where a folder is needed.
        UsageError: An unknown format, a name that cannot be written or read again, values that are not labels, or a
            `.dcm` mask of a volume that is no DICOM series.
        EnvironmentFailure: The extra `dicom` is not installed, or the disk is full.

    Example:

    >>> import tempfile
    >>> like = Volume(np.zeros((4, 5, 6)), np.diag([2.0, 2.0, 2.0, 1.0]))
    >>> path = write_mask(np.ones((4, 5, 6), bool), Path(tempfile.mkdtemp()) / "seg.nrrd", like=like)
    >>> read_volume(path).array.sum(), read_volume(path).array.dtype.name
    (np.uint64(120), 'uint8')
    """
    mask = np.asarray(mask)
    if mask.shape != like.shape:
        raise GeometryError(path, f"expected a mask of shape {like.shape}, found {mask.shape}", "Restore it first.")
    small = largest_label(mask) <= 255 and mask.dtype != np.uint16  # the masks of one run have one type
    mask = mask.astype(np.uint8 if small else np.uint16)
    path = refuse_mask_path(path, overwrite=overwrite)
    if dicom_seg.is_segmentation(path):
        return _write_segmentation(mask, path, like=like, segments=segments)
    suffix = suffix_of(path)
    if suffix in NIFTI_SUFFIXES:
        header = header_like(like)
        header["descrip"] = description or ""
        return _write(path, nifti.encode_nifti(mask, header, level=6 if suffix.endswith(".gz") else 0))
    refuse_shear(like.affine, path)
    if suffix == ".nrrd":
        return _write(path, encode_nrrd(mask, like.affine))
    if suffix == ".mha":
        return _write(path, b"".join(encode_metaimage(mask, like.affine)))
    body = path.with_suffix(".zraw")
    header, voxels = encode_metaimage(mask, like.affine, data_name=body.name)
    return _write(path, header, body=(body, voxels))


def _write_segmentation(mask, path, *, like, segments):
    dicom_seg.refuse_without_series(path, like=like)
    segments = segments or dicom_seg.default_segments(np.unique(mask).tolist())
    try:
        with written_aside(path) as aside:
            dicom_seg.write_segmentation(mask, aside, slices=like.slices, segments=segments)
    except OSError as error:
        raise disk_failure(path, error) from error
    return path


def refuse_mask_path(path, *, overwrite=False):
    """Return the path if a mask can be written there: a known format, a valid name, and free unless `overwrite`.

    Example:

    >>> refuse_mask_path("mask.png")
    Traceback (most recent call last):
    mcc_keras.errors.UsageError: A mask is written as .nii .nii.gz .mha .mhd .nrrd .dcm. Received: path='mask.png'. ...
    """
    refuse_remote(path)
    path = Path(path)
    if not dicom_seg.is_segmentation(path) and suffix_of(path) not in MASK_SUFFIXES:
        formats = " ".join(MASK_SUFFIXES)
        raise UsageError(f"A mask is written as {formats}. Received: path={str(path)!r}. Choose one of these.")
    files = (path, path.with_suffix(".zraw")) if suffix_of(path) == ".mhd" else (path,)
    for one in files:
        refuse_impossible_output(one)
    if not all(is_plain_name(one.name) for one in files[1:]):
        raise UsageError(
            "A .mhd mask needs a name that its header can hold: no spaces at its ends, no %, no LIST at its start. "
            f"Received: path={str(path)!r}. Choose another name, or .mha, which is one file."
        )
    _refuse_taken(files, overwrite)
    if dicom_seg.is_segmentation(path):
        dicom_seg.refuse_without_extra()
    return path


def _refuse_taken(files, overwrite):
    for one in files:
        if one.is_dir():
            raise OutputExistsError(one, "a folder", "Choose another name.")
        if os.path.lexists(one) and not overwrite:
            raise OutputExistsError(one, "a file", "Choose another name, or allow overwriting.")


def write_volume(array, path, *, affine, overwrite=False):
    """Write an image as NIfTI in its own dtype (booleans as uint8, float16 as float32).

    Args:
        array: `(x, y, z)` or `(x, y, z, c)` voxels.
        path: Ends in `.nii` or `.nii.gz`.
        affine: `(4, 4)` matrix from voxel indices to RAS+ millimetres.
        overwrite: Replace an existing file.

    Returns:
        The path.
    """
    array = np.asarray(array)
    array = array.astype({"bool": "uint8", "float16": "float32"}.get(array.dtype.name, array.dtype), copy=False)
    volume = Volume(array, np.asarray(affine, float), Path(path))
    refuse_bad_affine(volume.affine, path)
    refuse_remote(path)
    if suffix_of(path) not in (".nii", ".nii.gz"):
        raise UsageError(f"A volume is written as .nii or .nii.gz. Received: path={str(path)!r}")
    refuse_impossible_output(path)
    _refuse_taken([volume.path], overwrite)
    level = 3 if suffix_of(path) == ".nii.gz" else 0
    return _write(volume.path, nifti.encode_nifti(array, header_like(volume), level=level))


def _read_nifti(path, channels, which, *, limits):
    array, header = nifti.read_nifti(path, **limits)
    array = _declared_rank(array, channels, path)
    scale = nifti.scaling(header, path)
    if scale:
        array = _scaled(array, *scale)
    return array, nifti_affine(header, array.shape, path, which=which), header


def _scaled(array, slope, intercept):
    dtype = np.float64 if array.dtype == np.float64 else np.float32
    result = np.empty(array.shape, dtype, order="F")
    # One slice at a time: exact to the last bit of float32 without a whole volume in float64.
    for index in range(array.shape[2]):
        result[:, :, index] = array[:, :, index] * np.float64(slope) + intercept
    return result


def _declared_rank(array, channels, path):
    shape = array.shape
    if len(shape) == 5 and shape[3] == 1:
        array = array.reshape(shape[:3] + shape[4:], order="F")
    while array.ndim > 4 and array.shape[-1] == 1:
        array = array[..., 0]
    if channels == 1 and array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    expected = 3 if channels == 1 else 4
    if array.ndim != expected or (expected == 4 and array.shape[3] != channels):
        names = "(x, y, z)" if channels == 1 else f"(x, y, z, {channels})"
        flat, several = "Put the slices of a scan into one 3-D file.", "Save one volume per file."
        raise VolumeError(path, f"expected a volume {names}, found shape {shape}", flat if len(shape) < 3 else several)
    return array


def _write(path, data, *, body=None):
    try:
        with written_aside(path) as aside:
            aside.write_bytes(data)
            if body:
                with written_aside(body[0]) as body_aside:
                    body_aside.write_bytes(body[1])
                    path.unlink(missing_ok=True)
    except OSError as error:
        raise EnvironmentFailure(f"{path}: cannot be written ({error.strerror}).") from error
    return path
