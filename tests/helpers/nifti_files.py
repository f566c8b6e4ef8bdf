"""NIfTI files for tests: small arrays, written with any header, also one that nibabel would repair or refuse."""

import nibabel as nib
import numpy as np

AXES = np.diag([-0.5, 0.75, 3.0, 1.0])


def voxels(shape=(5, 4, 3), dtype=np.int16, seed=0):
    return np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)


def save(path, array, affine=AXES, *, sform=1, qform=1, kind=nib.Nifti1Image, **fields):
    image = kind(array, affine)
    image.header.set_sform(affine, sform)
    image.header.set_qform(affine, qform)
    for name, value in fields.items():
        image.header[name] = value
    nib.save(image, path)
    return path


def patch(path, **fields):
    """Change fields of an uncompressed NIfTI file where nibabel would repair or refuse them."""
    data = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(data[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock + bytes(data[348:]))
    return path
