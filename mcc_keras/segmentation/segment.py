"""`segment`: a scan on disk in, its mask on the same grid out."""

import numpy as np
from skimage.measure import label

from mcc_keras.datasets.scan import read_scan
from mcc_keras.runs.run import read_run
from mcc_keras.volumes import refuse_mask_path, write_mask


def segment(run, images, output, *, largest_component=False, overwrite=False):
    """Segment one scan with a trained run and write its mask.

    Args:
        run: Run folder.
        images: Path of the scan; for several channels a list, one file a channel in the run's order, or a case folder.
            Of DICOM files the folder of the series.
        output: Mask to write, uint8, same shape and affine as the scan: `.nii.gz`, `.nii`, `.nrrd`, `.mha` or `.mhd`.
        largest_component: Keep only the largest connected piece of every class.
        overwrite: Replace `output` if it exists.

    Returns:
        Path of the mask.

    Raises:
        OutputExistsError: `output` exists and `overwrite` is false.
        UsageError: A format that masks are not written in, another number of channels than the run was trained with.
        VolumeError: The scan cannot be read.

    Example:

    >>> segment("run", "scan.nii.gz", "mask.nii.gz")
    Traceback (most recent call last):
    mcc_keras.errors.RunError: run: expected a finished run, found no run.json, ...
    """
    refuse_mask_path(output, overwrite=overwrite)
    run = read_run(run)
    volume = read_scan(images, run.task.channel_names)
    from mcc_keras.segmentation.segmenter import load_segmenter  # here, so that no refusal above waits for TensorFlow

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
