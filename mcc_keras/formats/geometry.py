"""Where a volume lies: affines from voxel indices to RAS+ millimetres, in NIfTI's two forms and between two grids."""

import itertools
import warnings

import lazy_loader as lazy
import numpy as np

from mcc_keras.errors import GeometryError

nib = lazy.load("nibabel")

SAME_FORMS, NEAR_FORMS = 0.01, 0.3  # voxels; direction cosines of three digits move the corner of 512 voxels by 0.3
_CHOOSE = 'See which one is right and choose it with affine="sform" or affine="qform".'
_REPAIR = "Repair the header, or convert the scan from its source again."
_QUATERNION_STEP = 1e-6
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}
_FORM_FIELDS = ("qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
_FORM_FIELDS += ("sform_code", "srow_x", "srow_y", "srow_z")


def corner_displacement(affine, other, shape):
    """Return how far, in voxels, the corners of a volume of this shape lie apart under two affines.

    >>> shifted = np.eye(4); shifted[0, 3] = 0.25
    >>> corner_displacement(np.eye(4), shifted, (4, 4, 4))
    0.25
    """
    corners = np.array([(*corner, 1.0) for corner in itertools.product(*((0, size - 1) for size in shape[:3]))])
    apart = (np.asarray(other) - np.asarray(affine)) @ corners.T
    return float(np.abs(np.linalg.solve(np.asarray(affine)[:3, :3], apart[:3])).max())


def nifti_affine(header, shape, path, *, which):
    """Return the affine in mm of a NIfTI header.

    Args:
        header: nibabel's header. A pixdim of 0 along an axis of one voxel becomes 1 in it.
        shape: Of the voxels.
        path: The file, for errors and warnings.
        which: `"sform"` or `"qform"` where the header has both; None: they must agree.
    """
    _give_single_slices_a_step(header, shape, path)
    matrix = _chosen_affine(header, shape, path, which=which)
    matrix[:3] *= _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    return matrix


def _give_single_slices_a_step(header, shape, path):
    for axis, size in enumerate(shape[:3], start=1):
        if size == 1 and header["pixdim"][axis] == 0:
            header["pixdim"][axis] = 1
            text = f"{path}: expected a slice thickness in pixdim[{axis}], found 0 for the only slice; 1 is used."
            warnings.warn(text, stacklevel=2)


def _chosen_affine(header, shape, path, *, which):
    names = [name for name in ("sform", "qform") if int(header[f"{name}_code"]) > 0]
    if which in names:
        return _form(header, which, path)
    if not names:
        _refuse_bad_pixdim(header, path)
        with np.errstate(all="ignore"):
            return header.get_base_affine()
    if len(names) == 1:
        return _form(header, names[0], path)
    sform = _form(header, "sform", path)
    try:
        _refuse_bad_pixdim(header, path)
    except GeometryError as error:
        warnings.warn(f"{path}: {error.problem}; the sform is used.", stacklevel=2)
        return sform
    _refuse_conflict(sform, _form(header, "qform", path), header, shape=shape, path=path)
    return sform


def _form(header, name, path):
    if name == "qform":
        _refuse_bad_pixdim(header, path)
    try:
        with np.errstate(all="ignore"):
            form = np.array(getattr(header, f"get_{name}")(), float)
    except (ValueError, nib.spatialimages.HeaderDataError):
        raise GeometryError(path, f"expected a valid affine in the {name}, found none", _CHOOSE) from None
    refuse_bad_affine(form, path)
    return form


def _refuse_bad_pixdim(header, path):
    steps = header["pixdim"][1:4]
    if not ((steps > 0) & np.isfinite(steps)).all():
        found = ", ".join(f"{step:g}" for step in steps)
        raise GeometryError(path, f"expected voxel sizes above 0 in pixdim, found {found}", _REPAIR)


def _refuse_conflict(sform, qform, header, *, shape, path):
    apart = corner_displacement(sform, _without_rounding(qform, sform, header), shape)
    if not apart <= NEAR_FORMS:
        problem = f"expected sform and qform to agree, found corners {apart:.3g} voxels apart"
        raise GeometryError(path, problem, _CHOOSE)
    if apart > SAME_FORMS:
        text = f"{path}: sform and qform disagree by {apart:.3g} voxels at the corners, as rounded numbers do; "
        warnings.warn(text + "the sform is used.", stacklevel=2)


def _without_rounding(qform, sform, header):
    """Return the qform with the rotation of the sform where the quaternion of both is the same in float32.

    A quaternion is stored as three numbers. The fourth is the root of what they leave to 1, which near half a turn is
    nothing but their rounding: enough to move a corner by a third of a voxel.
    """
    zooms = np.linalg.norm(qform[:3, :3], axis=0)
    u, _, vt = np.linalg.svd(sform[:3, :3] / np.linalg.norm(sform[:3, :3], axis=0))
    rotation = u @ vt
    proper = rotation * (1, 1, np.sign(np.linalg.det(rotation)))
    expected = nib.quaternions.mat2quat(proper)[1:]
    stored = np.array([float(header[f"quatern_{name}"]) for name in "bcd"])
    same_hand = np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) > 0
    if not same_hand or min(np.abs(stored - expected).max(), np.abs(stored + expected).max()) > _QUATERNION_STEP:
        return qform
    result = qform.copy()
    result[:3, :3] = rotation * zooms
    return result


def refuse_bad_affine(matrix, path):
    """Refuse an affine that does not map voxels to millimetres: not finite, singular, or with a spacing near 0."""
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise GeometryError(path, f"expected a finite 4 x 4 affine, found {matrix.tolist()}", _REPAIR)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    if not (spacing > 1e-6).all() or not (spacing < 1e6).all():
        raise GeometryError(path, f"expected spacings above 0 mm, found {spacing.tolist()}", _REPAIR)
    if abs(np.linalg.det(matrix[:3, :3] / spacing)) < 1e-3:
        raise GeometryError(path, f"expected three independent axes, found {matrix.tolist()}", _REPAIR)


def refuse_shear(affine, path):
    """Refuse an affine whose axes are not orthogonal, since readers of MetaImage and NRRD would straighten them."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if not np.abs(axes.T @ axes - np.eye(3)).max() < 1e-4:
        problem = f"expected axes at right angles, found the sheared {affine.tolist()}"
        raise GeometryError(path, problem, "Write the mask as .nii.gz.")


def header_like(volume):
    """Return a new header with the geometry of a volume: that of its NIfTI header bit for bit, or of its affine."""
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
