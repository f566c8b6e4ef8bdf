"""Where a volume lies: affines from voxel indices to RAS+ millimetres, in NIfTI's two forms and between two grids."""

import itertools

import lazy_loader as lazy
import numpy as np

from mcc_keras.errors import GeometryError

nib = lazy.load("nibabel")

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
    """Return the affine in mm of a NIfTI header: from the forms that agree, the one chosen, or the spacing."""
    matrix = _chosen_affine(header, shape, path, which)
    matrix[:3] *= _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    return matrix


def _chosen_affine(header, shape, path, which):
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
    refuse_bad_affine(form, path)
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


def refuse_bad_affine(matrix, path):
    """Refuse an affine that is no map from voxels to millimetres: not finite, singular, of a spacing near 0."""
    way_out = "Mend the header, or convert the scan from its source again."
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise GeometryError(path, f"expected a finite 4 x 4 affine, found {matrix.tolist()}", way_out)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    if not (spacing > 1e-6).all() or not (spacing < 1e6).all():
        raise GeometryError(path, f"expected spacings above 0 mm, found {spacing.tolist()}", way_out)
    if abs(np.linalg.det(matrix[:3, :3] / spacing)) < 1e-3:
        raise GeometryError(path, f"expected three axes that differ, found the singular {matrix.tolist()}", way_out)


def refuse_shear(affine, path):
    """Refuse an affine whose axes are not at right angles, which MetaImage and NRRD readers would straighten."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if not np.abs(axes.T @ axes - np.eye(3)).max() < 1e-4:
        problem = f"expected axes at right angles, found the sheared {affine.tolist()}"
        raise GeometryError(path, problem, "Write the mask as .nii.gz.")


def header_like(volume):
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
