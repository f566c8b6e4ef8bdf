"""`segment`: a scan on disk in, its mask on the same grid out."""

import dataclasses
from pathlib import Path

import numpy as np
from skimage.measure import label

from mcc_keras.datasets.cases import read_image
from mcc_keras.datasets.scan import files_of, scan_case
from mcc_keras.errors import UsageError, disk_failure
from mcc_keras.files import refuse_output_that_is_input
from mcc_keras.formats.dicom_seg import is_segmentation, refuse_without_series
from mcc_keras.runs.run import read_run
from mcc_keras.segmentation.codes import find_segments
from mcc_keras.segmentation.fingerprint import fingerprint_run
from mcc_keras.segmentation.origin import describe_call, hash_inputs
from mcc_keras.segmentation.outputs import Outputs
from mcc_keras.segmentation.probability import ProbabilityVoxels


def segment(
    run,
    images,
    output,
    *,
    affine=None,
    nonfinite=None,
    largest_component=False,
    probability=False,
    segment_codes=None,
    overwrite=False,
):
    """Segment one scan with a trained run and write its mask.

    Beside the mask stands `<mask>.json`: the fingerprint of the model, the options, and the hashes of the scan's files;
    `explain` reads it.

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
        probability: Also write the probabilities to `<mask>_probability.nii.gz`, as uint16 with the slope 1/65535 and
            the class axis last; one class is the foreground alone, several begin with the background.
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
    outputs = Outputs.beside(output, probability=probability)
    outputs.refuse(overwrite=overwrite)
    inputs = files_of(images)
    for path in outputs.paths:
        refuse_output_that_is_input(path, inputs)
    run = read_run(run)
    segments = _segments(run.task, output, segment_codes)
    reading = choose_reading(run, affine=affine, nonfinite=nonfinite)
    case = scan_case(images, run.task.channel_names, **reading)
    hashes, volume = hash_inputs(case), read_image(case)
    if segments:
        refuse_without_series(output, like=volume)
    from mcc_keras.segmentation.segmenter import load_segmenter  # here, so that no refusal above waits for TensorFlow

    segmenter = load_segmenter(run)
    chosen = {"largest_component": largest_component, "probability": probability}
    origin = describe_call({run.folder: fingerprint_run(run)}, {**reading, **chosen})
    mask, voxels = predict(segmenter, volume, folder=outputs.mask.parent if probability else None)
    return outputs.write(
        keep_largest_component(mask) if largest_component else mask,
        voxels,
        like=volume,
        origin=dataclasses.replace(origin, inputs=hashes),
        segments=segments,
        overwrite=overwrite,
    )


def choose_reading(run, *, affine, nonfinite):
    """Return how scans are read, as keywords `affine` and `nonfinite`: as is chosen, or as the run's cases were."""
    chosen = {name: value for name, value in {"affine": affine, "nonfinite": nonfinite}.items() if value is not None}
    return {"affine": None, "nonfinite": "error", **run.data.reading, **chosen}


def _segments(task, output, codes):
    """Return the segments of a DICOM SEG, or `None` for a mask in another format."""
    if is_segmentation(output):
        return find_segments(task, codes)
    if codes is not None:
        raise UsageError(f"`segment_codes` are written to a .dcm mask only. Received: output={str(output)!r}.")
    return None


def predict(segmenter, volume, *, folder=None):
    """Return the mask of a `Volume` with array (x, y, z, channels), on its own grid, and probabilities if asked for.

    Args:
        segmenter: `Segmenter`.
        volume: `Volume` as `read_image` returns it.
        folder: Folder to be written to, for a temporary file of probabilities; `None`: the mask alone.

    Returns:
        mask (x, y, z) uint8 or uint16; `ProbabilityVoxels` or `None`.
    """
    if folder is None:
        return segmenter.segment(*arrays_of(volume))["mask"].numpy(), None
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        mask = np.zeros(volume.shape, segmenter.task.mask_dtype)
        voxels = ProbabilityVoxels((*volume.shape, segmenter.task.num_classes), folder)
        for index, mask_part, probability_part in segmenter.slabs(*arrays_of(volume)):
            mask[index] = mask_part
            voxels.put(index, probability_part)
    except OSError as error:
        raise disk_failure(folder, error) from error
    return mask, voxels


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
