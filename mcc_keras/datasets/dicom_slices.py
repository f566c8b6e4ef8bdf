"""A synthetic scan as a DICOM series, one file a slice; the same scan gives the same bytes."""

import numpy as np

_ROOT = "1.2.826.0.1.3680043.10.511.3"  # free for UIDs that are made up
_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
# GDCM would otherwise write the time of writing.
_TIMES = {"0008|0012": "20000101", "0008|0013": "000000", "0008|0020": "20000101", "0008|0030": "000000"}


def write_slices(array, folder, *, affine, number):
    """Write `(x, y, z)` int16 voxels as the files 0001.dcm, 0002.dcm, … of one MR series.

    Args:
        array: Voxels; the slices lie along the last axis.
        folder: A folder that is made.
        affine: `(4, 4)` from voxels to RAS+ millimetres, with a positive determinant.
        number: Whole number from which the UIDs of patient, study and series are made.
    """
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]
    spacing_mm = np.linalg.norm(lps[:, :3], axis=0)
    axes = lps[:, :3] / spacing_mm
    series = {
        **_TIMES,
        "0008|0016": _MR_IMAGE,
        "0008|0060": "MR",
        "0010|0010": f"SYNTHETIC^{number}",
        "0010|0020": f"{number}",
        "0020|000d": f"{_ROOT}.{number}.1",
        "0020|000e": f"{_ROOT}.{number}.1.1",
        "0020|0052": f"{_ROOT}.{number}.2",
        "0020|0037": "\\".join(f"{value:.10g}" for value in axes[:, :2].T.ravel()),
        "0018|0050": f"{spacing_mm[2]:.10g}",
        "0018|0088": f"{spacing_mm[2]:.10g}",
    }
    folder.mkdir(parents=True)
    for index in range(array.shape[2]):
        origin = lps @ [0, 0, index, 1]
        tags = {
            "0008|0018": f"{_ROOT}.{number}.1.1.{index + 1}",
            "0020|0013": f"{index + 1}",
            "0020|0032": "\\".join(f"{value:.10g}" for value in origin),
        }
        _write_slice(array[:, :, index], folder / f"{index + 1:04d}.dcm", spacing_mm[:2], series | tags)


def _write_slice(plane, path, spacing_mm, tags):
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(plane.T))
    image.SetSpacing(spacing_mm.tolist())
    for name, value in tags.items():
        image.SetMetaData(name, value)
    writer = SimpleITK.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.Execute(image)
