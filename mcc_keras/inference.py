"""`segment`: a scan on disk in, its mask on the same grid out."""

from pathlib import Path

import numpy as np
from skimage.measure import label

from mcc_keras.datasets.cases import Case, find_cases, read_image
from mcc_keras.errors import OutputExistsError, UsageError
from mcc_keras.runs import read_run
from mcc_keras.segmenter import load_segmenter
from mcc_keras.volumes import write_mask


def segment(run, images, output, *, largest_component=False, overwrite=False):
    """Segment one scan with a trained run and write its mask.

    Args:
        run: Run folder.
        images: Path of the scan; for several channels a list, one file a channel in the run's order, or a case folder.
        output: NIfTI file to write: uint8, same shape and affine as the scan.
        largest_component: Keep only the largest connected piece of every class.
        overwrite: Replace `output` if it exists.

    Returns:
        Path of the mask.

    Raises:
        OutputExistsError: `output` exists and `overwrite` is false.
        UsageError: Another number of channels than the run was trained with.
        VolumeError: The scan cannot be read.
    """
    if Path(output).exists() and not overwrite:
        raise OutputExistsError(output, "a file", "Choose another name, or overwrite it with overwrite=True.")
    run = read_run(run)
    volume = read_image(case_of(images, run.settings["channel_names"]))
    mask, _ = segment_volume(load_segmenter(run), volume, largest_component=largest_component)
    return write_mask(mask, output, like=volume, overwrite=overwrite)


def segment_volume(segmenter, volume, *, largest_component=False):
    """Return (mask, probability) of a `Volume` with array (x, y, z, channels), on its own grid.

    Args:
        segmenter: `Segmenter`.
        volume: `Volume` as `read_image` returns it.
        largest_component: Keep only the largest connected piece of every class.
    """
    answer = segmenter.segment(np.asarray(volume.array, np.float32), np.asarray(volume.affine, np.float32))
    mask = answer["mask"].numpy()
    return (keep_largest_component(mask) if largest_component else mask), answer["probability"].numpy()


def keep_largest_component(mask):
    """Return the mask with only the largest connected piece (26 neighbours) of every label.

    Args:
        mask: (x, y, z) unsigned integer, 0 is background.

    Example:

    >>> keep_largest_component(np.uint8([[[1, 1, 0, 1]]])).tolist()
    [[[1, 1, 0, 0]]]
    """
    kept = np.zeros_like(mask)
    for value in np.unique(mask[mask > 0]):
        pieces = label(mask == value, connectivity=3)
        kept[pieces == np.bincount(pieces.ravel())[1:].argmax() + 1] = value
    return kept


def case_of(images, channel_names):
    """Return the `Case` of one scan that is not part of a data set: a path, a list of paths, or a case folder."""
    if isinstance(images, str | Path) and Path(images).is_dir():
        found = find_cases(images)
        if len(found) != 1:
            raise UsageError(f"{images}: expected the files of one case, found {len(found)} cases. Name the files.")
        images = found[0].images
    paths = (images,) if isinstance(images, str | Path) else tuple(images)
    if len(paths) not in (1, len(channel_names)):
        wanted = f"{len(channel_names)} files, one a channel ({', '.join(channel_names)})"
        raise UsageError(f"Expected {wanted}. Received {len(paths)}: {', '.join(map(str, paths))}.")
    return Case(case_id="scan", images=tuple(map(Path, paths)), channel_names=tuple(channel_names))
