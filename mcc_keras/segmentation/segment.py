"""`segment`: a scan on disk in, its mask on the same grid out."""

import numpy as np
from skimage.measure import label

from mcc_keras.datasets.scan import files_of, read_scan
from mcc_keras.errors import UsageError
from mcc_keras.files import refuse_output_that_is_input
from mcc_keras.formats.dicom_seg import is_segmentation, refuse_without_series
from mcc_keras.runs.run import read_run
from mcc_keras.segmentation.codes import find_segments
from mcc_keras.volumes import refuse_mask_path, write_mask


def segment(
    run,
    images,
    output,
    *,
    affine=None,
    nonfinite=None,
    largest_component=False,
    segment_codes=None,
    overwrite=False,
):
    """Segment one scan with a trained run and write its mask.

    Args:
        run: Run folder.
        images: Path of the scan; for several channels a list, one file per channel in the run's order, or a case
            folder. For DICOM the folder of the series.
        output: Mask to write, with the shape and affine of the scan: `.nii.gz`, `.nii`, `.nrrd`, `.mha` or `.mhd`. It
            is uint8, or uint16 if a label of the run is above 255. `.dcm` is a DICOM SEG of a DICOM series, whose
            segments have the names of the run's classes; it needs the extra `dicom`.
        affine: `"sform"` or `"qform"` where a NIfTI file holds two that disagree; `None`: as the run's cases were read.
        nonfinite: `"error"` refuses NaN and infinite voxels, `"zero"` reads them as 0; `None`: as the run's cases were
            read.
        largest_component: Keep only the largest connected component of every class.
        segment_codes: JSON file with the codes of the segments of a `.dcm` mask, by label or name, as
            `{"liver": {"category": {"value": …, "scheme": …, "meaning": …}, "type": {…}}}`. A class without codes is
            "Tissue" (SNOMED CT 85756007), with a warning.
        overwrite: Replace `output` if it exists.

    Returns:
        Path of the mask.

    Raises:
        OutputExistsError: `output` exists and `overwrite` is false.
        UsageError: `output` is one of the images or has a format that masks are not written in, or the run has another
            number of channels; a `.dcm` mask of a scan that is no DICOM series.
        LabelError: `segment_codes` names labels that the run does not have.
        EnvironmentFailure: The extra `dicom` is not installed.
        RunError: The run is not finished, or its files are damaged.
        VolumeError: The scan cannot be read.

    Example:

    >>> segment("run", "scan.nii.gz", "mask.nii.gz")
    Traceback (most recent call last):
    mcc_keras.errors.RunError: run: expected a finished run, found no run.json, ...
    """
    refuse_mask_path(output, overwrite=overwrite)
    refuse_output_that_is_input(output, files_of(images))
    run = read_run(run)
    segments = _segments(run.task, output, segment_codes)
    chosen = {name: value for name, value in {"affine": affine, "nonfinite": nonfinite}.items() if value is not None}
    volume = read_scan(images, run.task.channel_names, **{**run.data.reading, **chosen})
    if segments:
        refuse_without_series(output, like=volume)
    from mcc_keras.segmentation.segmenter import load_segmenter  # here, so that no refusal above waits for TensorFlow

    mask = segment_volume(load_segmenter(run), volume, largest_component=largest_component)
    return write_mask(mask, output, like=volume, segments=segments, overwrite=overwrite)


def _segments(task, output, codes):
    """Return the segments of a DICOM SEG, or `None` for a mask in another format."""
    if is_segmentation(output):
        return find_segments(task, codes)
    if codes is not None:
        raise UsageError(f"`segment_codes` are written to a .dcm mask only. Received: output={str(output)!r}.")
    return None


def segment_volume(segmenter, volume, *, largest_component=False):
    """Return the mask (x, y, z) of a `Volume` with array (x, y, z, channels), on its own grid.

    Args:
        segmenter: `Segmenter`.
        volume: `Volume` as `read_image` returns it.
        largest_component: Keep only the largest connected component of every class.
    """
    mask = segmenter.segment(*arrays_of(volume))["mask"].numpy()
    return keep_largest_component(mask) if largest_component else mask


def arrays_of(volume):
    """Return image and affine of a `Volume` as the graph takes them, float32."""
    return np.asarray(volume.array, np.float32), np.asarray(volume.affine, np.float32)


def keep_largest_component(mask):
    """Return the mask with only the largest connected component (26 neighbors) of every label.

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
