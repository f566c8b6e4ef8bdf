"""Volumes on disk: read with their affine whatever the format, written so that a mask opens on top of its scan.

    volume = read_volume("scan.nii.gz")           # also .nii, .hdr/.img, .mha, .mhd, .nrrd, a folder of DICOM files
    write_mask(mask, "scan_seg.nii.gz", like=volume)

Voxels stay in the order of the file; the affine leads from voxel indices to RAS+ millimetres in every format (MetaImage
and NRRD speak of LPS on disk). Turning to the canonical orientation is the business of `Preprocessing`.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import lazy_loader as lazy
import numpy as np

from mcc_keras import nifti
from mcc_keras.dicom import read_series
from mcc_keras.errors import EnvironmentFailure, GeometryError, OutputExistsError, UsageError, VolumeError
from mcc_keras.files import written_aside
from mcc_keras.metaimage import read_metaimage
from mcc_keras.nrrd import read_nrrd

nib = lazy.load("nibabel")

NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz")
TEXT_SUFFIXES = (".mha", ".mhd", ".nrrd")
SUFFIXES = NIFTI_SUFFIXES + TEXT_SUFFIXES
MAX_VOXELS = 1 << 30
MAX_RATIO = 200
_OTHER = "Convert it first; of DICOM files name the folder."
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}
_FORM_FIELDS = ("qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
_FORM_FIELDS += ("sform_code", "srow_x", "srow_y", "srow_z")


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D image and where it lies in the patient.

    Args:
        array: Voxels `(x, y, z)`, or `(x, y, z, c)` with channels, in the order of the file.
        affine: `(4, 4)` matrix from voxel indices to RAS+ millimetres.
        path: The file that it came from.
        header: Its NIfTI header, so that a mask can keep the codes of both forms.

    Example:

    >>> Volume(np.zeros((4, 5, 6)), np.diag([0.5, 0.5, 3.0, 1.0])).spacing_mm
    (0.5, 0.5, 3.0)
    """

    array: np.ndarray
    affine: np.ndarray
    path: Path | None = None
    header: object | None = None

    @property
    def shape(self):
        """The three spatial sizes."""
        return tuple(self.array.shape[:3])

    @property
    def spacing_mm(self):
        """The distance between neighbouring voxels along each axis of the array."""
        return tuple(float(step) for step in np.linalg.norm(self.affine[:3, :3], axis=0))


def suffix_of(path):
    """Return the suffix by which a volume's format is told, in small letters, or "" if it is none.

    >>> suffix_of("Case.00.NII.GZ"), suffix_of("notes.txt")
    ('.nii.gz', '')
    """
    name = Path(path).name.lower()
    return max((suffix for suffix in SUFFIXES if name.endswith(suffix)), key=len, default="")


def read_volume(path, *, channels=1, affine=None, nonfinite="error", max_voxels=MAX_VOXELS, max_ratio=MAX_RATIO):
    """Read one volume: NIfTI (`.nii`, `.nii.gz`, `.hdr`/`.img`), MetaImage (`.mha`, `.mhd`), NRRD or DICOM.

    Args:
        path: The file; for DICOM the folder with the files of one series.
        channels: How many channels the file has; 1 gives `(x, y, z)`, more give `(x, y, z, channels)`.
        affine: `"sform"` or `"qform"` where a NIfTI file holds two that disagree; None: they must agree.
        nonfinite: `"error"` refuses NaN and infinite voxels, `"zero"` reads them as 0.
        max_voxels: A larger volume is refused before memory is taken for it.
        max_ratio: A compressed file of more than 1 GiB inside may be at most so many times its size on disk.

    Returns:
        A `Volume`: the stored integer dtype where the file has no scaling, else float32 (float64 if stored so).

    Raises:
        VolumeError: The file is missing, cut, malformed, too large, of another rank, or has voxels that are not finite.
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
    suffix = suffix_of(path)
    if path.is_dir():
        array, matrix, header = *read_series(path, **limits), None
        array = _declared_rank(array, channels, path)
    elif suffix in NIFTI_SUFFIXES:
        array, matrix, header = _read_nifti(path, channels, affine, limits)
    elif suffix in TEXT_SUFFIXES:
        read = read_nrrd if suffix == ".nrrd" else read_metaimage
        array, matrix, header = *read(path, **limits), None
        array = _declared_rank(array, channels, path)
    else:
        raise VolumeError(path, f"expected a volume ({' '.join(SUFFIXES)}), found {path.name!r}", _OTHER)
    _refuse_bad_affine(matrix, path)
    return Volume(_finite(array, path, nonfinite), matrix, path, header)


def refuse_remote(path):
    """Refuse `gs://…`, `http://…` and their like, which some readers below would follow."""
    if "\0" in str(path):
        raise UsageError(f"A path must not hold a null character. Received: path={str(path)!r}")
    scheme, mark, _ = str(path).partition(":/")
    if mark and len(scheme) > 1 and scheme.replace("+", "").isalnum():
        raise UsageError(f"A path must lie on this machine. Received: path={str(path)!r}. Copy the data here first.")


def corner_displacement(affine, other, shape):
    """Return how far, in voxels, the corners of a volume of this shape lie apart under two affines.

    >>> shifted = np.eye(4); shifted[0, 3] = 0.25
    >>> corner_displacement(np.eye(4), shifted, (4, 4, 4))
    0.25
    """
    corners = np.array([(*corner, 1.0) for corner in itertools.product(*((0, size - 1) for size in shape[:3]))])
    apart = (np.asarray(other) - np.asarray(affine)) @ corners.T
    return float(np.abs(np.linalg.solve(np.asarray(affine)[:3, :3], apart[:3])).max())


def write_mask(mask, path, *, like, overwrite=False):
    """Write a label map as NIfTI on the grid of a volume: same shape, affine and form codes, slope 1.

    Args:
        mask: `(x, y, z)` labels, whole numbers from 0 on; stored as uint8, above 255 as uint16.
        path: Ends in `.nii` or `.nii.gz`.
        like: The `Volume` that the mask belongs to.
        overwrite: Replace a file that is there already.

    Returns:
        The path.

    Raises:
        GeometryError: The mask has another shape than the volume.
        OutputExistsError: The file is there already.

    Example:

    >>> import tempfile
    >>> like = Volume(np.zeros((4, 5, 6)), np.diag([2.0, 2.0, 2.0, 1.0]))
    >>> path = write_mask(np.ones((4, 5, 6), bool), Path(tempfile.mkdtemp()) / "seg.nii.gz", like=like)
    >>> read_volume(path).array.sum(), read_volume(path).array.dtype.name
    (np.uint64(120), 'uint8')
    """
    mask = np.asarray(mask)
    if mask.shape != like.shape:
        raise GeometryError(path, f"expected a mask of shape {like.shape}, found {mask.shape}", "Restore it first.")
    largest = _largest_label(mask)
    mask = mask.astype(np.uint8 if largest <= 255 else np.uint16)
    return _write_nifti(mask, path, _header_like(like), overwrite, level=6)


def write_volume(array, path, *, affine, overwrite=False):
    """Write an image as NIfTI, in the dtype it has (booleans as uint8, float16 as float32).

    Args:
        array: `(x, y, z)` or `(x, y, z, c)` voxels.
        path: Ends in `.nii` or `.nii.gz`.
        affine: `(4, 4)` matrix from voxel indices to RAS+ millimetres.
        overwrite: Replace a file that is there already.

    Returns:
        The path.
    """
    array = np.asarray(array)
    array = array.astype({"bool": "uint8", "float16": "float32"}.get(array.dtype.name, array.dtype), copy=False)
    volume = Volume(array, np.asarray(affine, float), Path(path))
    _refuse_bad_affine(volume.affine, path)
    return _write_nifti(array, path, _header_like(volume), overwrite, level=3)


def _read_nifti(path, channels, which, limits):
    array, header = nifti.read_nifti(path, **limits)
    array = _declared_rank(array, channels, path)
    scale = nifti.scaling(header, path)
    if scale:
        array = _scaled(array, *scale)
    matrix = _nifti_affine(header, array.shape, path, which)
    matrix[:3] *= _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    return array, matrix, header


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
        raise VolumeError(path, f"expected a volume {names}, found shape {shape}", "Save one volume a file.")
    return array


def _nifti_affine(header, shape, path, which):
    forms = {name: _form(header, name, path) for name in ("sform", "qform") if int(header[f"{name}_code"]) > 0}
    if which:
        if which not in forms:
            raise GeometryError(path, f"expected a {which}, found {' and '.join(forms) or 'none'}", "Ask for another.")
        return _known(forms[which], which, path)
    if not forms:
        with np.errstate(all="ignore"):
            return header.get_base_affine()
    for name, form in forms.items():
        _known(form, name, path)
    if len(forms) == 2:
        _refuse_conflict(forms, header, shape, path)
    return forms.get("sform", forms.get("qform"))


def _form(header, name, path):
    try:
        with np.errstate(all="ignore"):
            return np.array(getattr(header, f"get_{name}")(), float)
    except (ValueError, nib.spatialimages.HeaderDataError):
        return None


def _known(form, name, path):
    if form is None:
        raise GeometryError(path, f"expected an affine in the {name}, found numbers that are none", _choose_form())
    _refuse_bad_affine(form, path)
    return form


def _choose_form():
    return 'Look which one is right and choose it with affine="sform" or affine="qform".'


def _refuse_conflict(forms, header, shape, path):
    apart = corner_displacement(forms["sform"], forms["qform"], shape)
    if not apart <= 1e-3 + _quaternion_rounding(header, shape):
        raise GeometryError(
            path, f"expected sform and qform to agree, found corners {apart:.3g} voxels apart", _choose_form()
        )


def _quaternion_rounding(header, shape):
    """How far, in voxels, a corner can move because a quaternion is stored as three float32 numbers.

    The fourth is the root of what is left to 1, which is all rounding where a turn is close to 180 degrees.
    """
    squares = sum(float(header[f"quatern_{name}"]) ** 2 for name in "bcd")
    error = 4 * float(np.finfo(header["quatern_b"].dtype).eps)
    rest = max(1 - squares, error)
    return 2 * error / np.sqrt(rest) * max(shape[:3])


def _refuse_bad_affine(matrix, path):
    way_out = "Mend the header, or convert the scan from its source again."
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise GeometryError(path, f"expected a finite 4 x 4 affine, found {matrix.tolist()}", way_out)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    if not (spacing > 1e-6).all() or not (spacing < 1e6).all():
        raise GeometryError(path, f"expected spacings above 0 mm, found {spacing.tolist()}", way_out)
    if abs(np.linalg.det(matrix[:3, :3] / spacing)) < 1e-3:
        raise GeometryError(path, f"expected three axes that differ, found the singular {matrix.tolist()}", way_out)


def _finite(array, path, nonfinite):
    if array.dtype.kind != "f":
        return array
    finite = np.isfinite(array)
    if finite.all():
        return array
    if nonfinite == "zero":
        return np.where(finite, array, 0).astype(array.dtype)
    first = tuple(int(index) for index in np.argwhere(~finite)[0])
    raise VolumeError(
        path,
        f"expected finite voxels, found {int((~finite).sum())} NaN or infinite, the first at {first}",
        'Mend the file, or read them as 0 with nonfinite="zero".',
    )


def _largest_label(mask):
    if not mask.size:
        raise UsageError(f"A mask must have voxels. Received: mask.shape={mask.shape}")
    smallest, largest = mask.min(), mask.max()
    whole = mask.dtype.kind in "bui" or bool((mask == np.rint(mask)).all())
    if not (whole and smallest >= 0 and largest <= 65535):
        raise UsageError(
            "A mask must hold whole numbers from 0 to 65535. "
            f"Received: mask.dtype={mask.dtype}, values from {smallest} to {largest}"
        )
    return int(largest)


def _header_like(volume):
    """A fresh header with the volume's geometry: that of its NIfTI header bit for bit, or both forms anew."""
    source = volume.header
    if source is None:
        header = nib.Nifti2Header() if max(volume.array.shape) > 32767 else nib.Nifti1Header()
        header.set_data_shape(volume.array.shape)
        header.set_zooms((*volume.spacing_mm, 1.0)[: volume.array.ndim])
        header.set_xyzt_units("mm")
        header.set_sform(volume.affine, code=1)
        if corner_displacement(volume.affine, _as_qform(volume.affine), volume.shape) < 1e-3:
            header.set_qform(volume.affine, code=1)
        return header
    header = nib.Nifti2Header() if int(source["sizeof_hdr"]) == 540 else nib.Nifti1Header()
    for field in _FORM_FIELDS:
        header[field] = source[field]
    header["pixdim"][:4] = source["pixdim"][:4]
    header["xyzt_units"] = int(source["xyzt_units"]) & 7
    return header


def _as_qform(affine):
    header = nib.Nifti1Header()
    header.set_qform(affine, code=1)
    return header.get_qform()


def _write_nifti(array, path, header, overwrite, *, level):
    refuse_remote(path)
    if suffix_of(path) not in (".nii", ".nii.gz"):
        raise UsageError(f"A volume is written as .nii or .nii.gz. Received: path={str(path)!r}")
    path = Path(path)
    if path.exists() and not overwrite:
        raise OutputExistsError(path, "a file", "Choose another name, or allow overwriting.")
    data = nifti.encode_nifti(array, header, level=level if path.suffix.lower() == ".gz" else 0)
    try:
        with written_aside(path) as aside:
            aside.write_bytes(data)
    except OSError as error:
        raise EnvironmentFailure(f"{path}: cannot be written ({error.strerror}).") from error
    return path
