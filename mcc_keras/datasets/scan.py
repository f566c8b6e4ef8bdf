"""One scan to segment, which is part of no data set."""

from pathlib import Path

from mcc_keras.datasets.cases import Case, find_cases, read_image
from mcc_keras.datasets.choices import match_channels
from mcc_keras.errors import UsageError
from mcc_keras.formats.dicom import holds_dicom
from mcc_keras.task import Task


def read_scan(images, channel_names, *, affine=None, nonfinite="error"):
    """Read the channels of one scan.

    Args:
        images: As for `scan_case`.
        channel_names: Name of every channel.
        affine: `"sform"` or `"qform"`, where a NIfTI file holds two that disagree.
        nonfinite: `"error"` refuses NaN and infinite voxels, `"zero"` reads them as 0.

    Returns:
        `Volume` with array (x, y, z, channels) float32.

    Raises:
        UsageError: The number of files is not that of the channels, or a folder of several cases.
        VolumeError: A file that cannot be read.
    """
    return read_image(scan_case(images, channel_names, affine=affine, nonfinite=nonfinite))


def scan_case(images, channel_names, *, affine=None, nonfinite="error"):
    """Return the `Case` of one scan, without a mask.

    Args:
        images: Path of the scan; for several channels one file with all of them, a list, one file per channel in their
            order, or a case folder, whose channels are taken by their names. For DICOM, the folder of the series.
        channel_names: Name of every channel.
        affine: As for `read_scan`.
        nonfinite: As for `read_scan`.

    Raises:
        UsageError: The number of files is not that of the channels, or a folder of several cases.
    """
    paths = (images,) if isinstance(images, str | Path) else tuple(images)
    if len(paths) == 1 and Path(paths[0]).is_dir() and not holds_dicom(paths[0]):
        found = find_cases(paths[0], labels=(1,))  # no mask is read, so any will do
        if len(found) != 1:
            raise UsageError(f"{paths[0]}: expected the files of one case, found {len(found)} cases. Name the files.")
        paths = match_channels(found[0], channel_names).images
    if len(paths) not in (1, len(channel_names)):
        wanted = f"{len(channel_names)} files, one per channel ({', '.join(channel_names)})"
        raise UsageError(f"Expected {wanted}. Received {len(paths)}: {', '.join(map(str, paths))}.")
    images, task = tuple(map(Path, paths)), Task(channel_names=tuple(channel_names))
    return Case("scan", images=images, task=task, affine=affine, nonfinite=nonfinite)


def files_of(images):
    """Return all files that `read_scan` may read: those named, and those in a folder named."""
    paths = (images,) if isinstance(images, str | Path) else tuple(images)
    folders = [Path(path) for path in paths if Path(path).is_dir()]
    return [*paths, *(file for folder in folders for file in folder.iterdir())]
