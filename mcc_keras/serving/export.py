"""Export a run as a SavedModel: preprocessing, network and restoring in one graph, for TensorFlow Serving or by itself.

    <folder>/1/saved_model.pb, variables/, fingerprint.pb      loads with tensorflow alone, without mcc_keras
    <folder>/1/assets.extra/mcc_keras.json                     preprocessing, labels and versions of the export
    <folder>/1/assets.extra/tf_serving_warmup_requests         one small request, so that the first scan need not wait

Signature `serving_default`: `image` float32 (x, y, z, channels), voxels in the file's own order, any size, any
orientation, no batch axis; `affine` float32 (4, 4), voxel indices to RAS+ millimetres. Out comes `mask` uint8 or uint16
(x, y, z) on the same grid. Signature `serving_probability` takes the same and returns also `probability` float32
(x, y, z, classes), whose memory grows with classes times volume. `serving_bytes` takes files and returns files,
`serving_preprocessed` takes the box: see `bytes_signature`. A SavedModel is a program: every operation in it is on the
lists of `saved_model`.
"""

from pathlib import Path

from mcc_keras.files import refuse_impossible_output
from mcc_keras.runs.mask_options import parse_flips
from mcc_keras.runs.run import Run, read_runs
from mcc_keras.volumes import refuse_remote

SIGNATURE, PROBABILITY_SIGNATURE = "serving_default", "serving_probability"
BYTES, PREPROCESSED = "serving_bytes", "serving_preprocessed"


def export_saved_model(run, folder, *, flips=None):
    """Write a run as the next version of a served model, check it, and only then give it its name.

    The SavedModel is written under a name that no server loads, its operations are compared with the list, it is
    loaded again by TensorFlow alone and must give the live model's mask and probabilities on an oblique, flipped
    volume of odd shape, and refuse volumes of a wrong rank. A rename publishes it; existing versions are never
    touched. What an export that was killed has left is removed by the next one.

    Args:
        run: Run folder, `Run`, or a list of them, whose probabilities are averaged; or a `Segmenter`.
        flips: Axes of the box that are also flipped, as for `segment`; `None`: as the run has it.
        folder: The served model's folder; versions 1, 2, … stand in it. It is created if it is missing.

    Returns:
        Path of the new version's folder, `<folder>/<n>`, n one above the highest there.

    Raises:
        RunError: `run` is not a finished run, its weights are not finite, or its graph needs operations that are not on
            the list.
        OutputExistsError: `folder`, or a folder above it, is a file.
        EnvironmentFailure: The folder cannot be written.
        BusyError: Another process exports to the same folder.

    Example:

    >>> export_saved_model("run", "served/organ")
    Traceback (most recent call last):
    mcc_keras.errors.RunError: run: expected a finished run, found no run.json, ...
    """
    refuse_remote(folder)
    refuse_impossible_output(Path(folder) / "1")
    flip_axes = parse_flips(flips)
    if isinstance(run, str | Path | Run | list | tuple):
        run = read_runs(run)
    from mcc_keras.serving.saved_model import publish  # here, so that no refusal above waits for TensorFlow

    return publish(run, Path(folder), flip_axes=flip_axes)
