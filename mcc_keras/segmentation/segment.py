"""`segment`: a scan on disk in, its mask on the same grid out."""

import dataclasses
from pathlib import Path

import numpy as np

from mcc_keras.datasets.cases import read_image
from mcc_keras.datasets.scan import files_of, scan_case
from mcc_keras.errors import UsageError, disk_failure
from mcc_keras.files import refuse_output_that_is_input
from mcc_keras.formats.dicom_seg import is_segmentation, refuse_without_series
from mcc_keras.runs.mask_options import name_flips, parse_flips
from mcc_keras.runs.run import read_runs
from mcc_keras.runs.window import Window
from mcc_keras.segmentation.cleaning import clean
from mcc_keras.segmentation.codes import find_segments
from mcc_keras.segmentation.fingerprint import fingerprint_runs
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
    flips=None,
    window_size=None,
    largest_component=False,
    probability=False,
    segment_codes=None,
    overwrite=False,
):
    """Segment one scan with a trained run and write its mask.

    Beside the mask stands `<mask>.json`: the fingerprint of the model, the options, and the hashes of the scan's files;
    `explain` reads it.

    Args:
        run: Run folder, or a list of them, whose probabilities are averaged.
        images: Path of the scan; for several channels a list, one file per channel in the run's order, or a case
            folder. For DICOM the folder of the series.
        output: Mask to write, with the shape and affine of the scan: `.nii.gz`, `.nii`, `.nrrd`, `.mha` or `.mhd`. It
            is uint8, or uint16 if a label of the run is above 255. `.dcm` is a DICOM SEG of a DICOM series, whose
            segments have the names of the run's classes; it needs the extra `dicom`.
        affine: `"sform"` or `"qform"` where a NIfTI file holds two that disagree; `None`: as the run's cases were read.
        nonfinite: `"error"` refuses NaN and infinite voxels, `"zero"` reads them as 0; `None`: as the run's cases were
            read.
        flips: Axes of the box along which the scan is also flipped, each by itself, and the predictions averaged: some
            of `"x"` (left–right), `"y"` and `"z"` as `"x,y"`, or `"none"`; `None`: as the run has it.
        window_size: Size (x, y, z) of the windows in which the network sees the scan, or one integer, for less memory;
            `None`: as the run has it. Masks differ a little.
        largest_component: Keep only the largest connected component of every class; so does a run whose
            `segmenter.json` says it.
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
            number of channels; a `.dcm` mask of a scan that is no DICOM series; windows that the network does not take,
            or of a run that sees its whole box.
        LabelError: `segment_codes` names labels that the run does not have.
        EnvironmentFailure: The extra `dicom` is not installed.
        RunError: The run is not finished, or its files are damaged.
        VolumeError: The scan cannot be read.
        MemoryFailure: The memory does not hold the scan.

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
    runs, flip_axes = read_runs(run), parse_flips(flips)
    loading = {"flip_axes": flip_axes, "window_size": parse_window(runs, window_size)}
    task = runs[0].task
    segments = _segments(task, output, segment_codes)
    reading = choose_reading(runs, affine=affine, nonfinite=nonfinite)
    case = scan_case(images, task.channel_names, **reading)
    hashes, volume = hash_inputs(case), read_image(case)
    if segments:
        refuse_without_series(output, like=volume)
    from mcc_keras.segmentation.segmenter import load_segmenter  # here, so that no refusal above waits for TensorFlow

    segmenter = load_segmenter(runs, **loading)
    cleaning = choose_cleaning(runs, largest_component=largest_component)
    options = {**reading, **name_choices(**loading), **cleaning, "probability": probability}
    origin = describe_call(fingerprint_runs(runs), options)
    mask, voxels = predict(segmenter, volume, folder=outputs.mask.parent if probability else None)
    return outputs.write(
        clean(mask, **cleaning, spacing_mm=volume.spacing_mm),
        voxels,
        like=volume,
        origin=dataclasses.replace(origin, inputs=hashes),
        segments=segments,
        overwrite=overwrite,
    )


def choose_reading(runs, *, affine, nonfinite):
    """Return how scans are read, as keywords `affine` and `nonfinite`: as is chosen, or as the runs' cases were."""
    chosen = {name: value for name, value in {"affine": affine, "nonfinite": nonfinite}.items() if value is not None}
    own = [run.data.reading for run in runs]
    common = own[0] if all(each == own[0] for each in own) else {}
    return {"affine": None, "nonfinite": "error", **common, **chosen}


def choose_cleaning(runs, *, largest_component=False):
    """Return the keywords of `clean`: as is chosen, or as all runs have it."""
    options = [run.mask_options for run in runs]
    return {
        "largest_component": bool(largest_component or all(each.largest_component for each in options)),
        "smallest_mm3": min(each.smallest_mm3 for each in options),
    }


def parse_window(runs, window_size):
    """Return the size (x, y, z) of windows that replace those of `Run`s, or `None`.

    Raises:
        UsageError: No size, or a run that sees its whole box at once.

    Example:

    >>> parse_window([], 64)
    (64, 64, 64)
    """
    if window_size is None:
        return None
    size = Window(size=window_size).size
    whole = [run.folder for run in runs if run.recipe.window is None]
    if whole:
        raise UsageError(
            f"`window_size` must be left out for a run that sees its whole box at once, as {whole[0]} does. Received:"
            f" window_size={window_size!r}."
        )
    return size


def name_choices(flip_axes=None, window_size=None):
    """Return what replaces the flips and the windows of a run, by name, for the file beside a mask."""
    chosen = {} if flip_axes is None else {"flips": name_flips(flip_axes)}
    return chosen if window_size is None else {**chosen, "window_size": list(window_size)}


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

    Raises:
        MemoryFailure: The memory does not hold the scan.
    """
    from mcc_keras.segmentation.memory import enough_memory  # here, since it loads TensorFlow

    with enough_memory(segmenter, volume):
        if folder is None:
            return segmenter.segment(*arrays_of(volume))["mask"].numpy(), None
        return _predict_slabs(segmenter, volume, folder)


def _predict_slabs(segmenter, volume, folder):
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
