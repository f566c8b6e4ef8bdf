"""`score`: two folders of masks that any program made, compared case by case, without a run and without TensorFlow."""

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path

import joblib
import numpy as np
from tqdm import tqdm

from mcc_keras.datasets.cases import (
    NEAR_GRID,
    SAME_GRID,
    Case,
    compare_grids,
    count_labels,
    read_image,
    to_classes,
    whole_labels,
)
from mcc_keras.datasets.choices import choose_labels, name_classes
from mcc_keras.errors import CaseError, LabelError, UsageError, raise_all
from mcc_keras.evaluation.case import Settings, add_regions, score_case
from mcc_keras.evaluation.measures import TOLERANCE_MM
from mcc_keras.evaluation.output import refuse_output, write_scores
from mcc_keras.evaluation.page import build_score_page
from mcc_keras.evaluation.pairing import find_pairs
from mcc_keras.evaluation.scores import Scores, Summary, summarize_rows
from mcc_keras.task import Task
from mcc_keras.volumes import Volume, read_mask_file, read_volume, reordered_like

NO_PREDICTION = "no prediction"
MISSING = ("empty", "error")
_MIB_PER_WORKER = 4  # of masks on disk per process, whose start takes about a second


def score(
    truth,
    prediction=None,
    output=None,
    *,
    labels=None,
    background=(0,),
    regions=None,
    images=None,
    affine=None,
    missing="empty",
    tolerance_mm=TOLERANCE_MM,
    smallest_lesion_mm3=0.0,
    by=None,
    workers=None,
    overwrite=False,
):
    """Compare predicted masks with true ones, case by case, on the grid of the truth.

    Args:
        truth: Folder of true masks, one mask, a data set as for `find_cases`, or a table with the columns `truth` and
            `prediction`, and if wanted `case`, `image`, `group` (the patient) and others.
        prediction: Folder of predicted masks, or one mask; `None` where `truth` is a table of both.
        output: Folder for scores.csv, summary.json and report.html; `None` writes nothing.
        labels: Labels to score, one class each: numbers, names that the data set declares, or a dict of names, as
            `{"liver": 1, "tumor": (2, 3)}`. By default every label of the true masks.
        background: Labels that count as background. Any other label is an error.
        regions: Merged labels that are scored as well, as `{"whole": (1, 2, 4)}`; the values of names that the data
            set declares may be left empty.
        images: Folder of scans to draw under the outlines.
        affine: `"sform"` or `"qform"`, used where the two of a NIfTI file disagree.
        missing: `"empty"`: a case without prediction counts as an empty mask; `"error"` refuses it.
        tolerance_mm: Distance up to which surfaces count as equal in the surface Dice.
        smallest_lesion_mm3: Smaller connected components are not counted as lesions.
        by: Column of a table, as `"site"`, whose values get means of their own.
        workers: Processes; by default as many as the masks are worth, up to one per core.
        overwrite: Replace the scores of an earlier call.

    Returns:
        `Scores`: a list of dicts, one for each case and class, with a `summary`.

    Raises:
        CaseError: Cases that cannot be paired, or lack a prediction with `missing="error"`.
        GeometryError: A prediction on another grid.
        LabelError: Labels that are not expected, or values that are no labels.
        OutputExistsError: Scores are there already.

    Example:

    >>> import tempfile
    >>> from mcc_keras.volumes import write_volume
    >>> folder = Path(tempfile.mkdtemp())
    >>> mask = np.zeros((8, 8, 8), np.uint8)
    >>> mask[2:6, 2:6, 2:6] = 1
    >>> for name in ("truth", "prediction"):
    ...     _ = write_volume(mask[::-1] if name == "truth" else mask, folder / name / "a.nii", affine=np.eye(4))
    >>> [(row["case"], row["class"], row["dice"]) for row in score(folder / "truth", folder / "prediction")]
    [('a', '1', 1.0)]
    """
    settings = Settings(tolerance_mm=tolerance_mm, smallest_lesion_mm3=smallest_lesion_mm3)
    if missing not in MISSING:
        raise UsageError(f"`missing` must be 'empty' or 'error'. Received: missing={missing!r}.")
    found = find_pairs(truth, prediction, images=images)
    _check_column(found.pairs, by)
    inputs = [truth, *([] if prediction is None else [prediction])]
    inputs += [path for pair in found.pairs for path in (pair.truth, pair.prediction) if path is not None]
    folder = None if output is None else refuse_output(output, inputs=inputs, overwrite=overwrite)
    absent = tuple(pair.case_id for pair in found.pairs if pair.prediction is None)
    if missing == "error":
        way_out = 'Or count it as an empty mask with missing="empty".'
        raise_all(CaseError(name, "expected a prediction, found none", way_out) for name in absent)
    workers = _workers(found.pairs) if workers is None else workers
    task = _task(found, labels, tuple(background), affine=affine, workers=workers)
    settings, classes = _regions(settings, regions, task, found.declared)
    options = {"affine": affine, "classes": classes, "settings": settings, "by": by}
    results = _score_all(found.pairs, task, workers=workers, **options)
    summary = Summary(
        scored=Path(truth).resolve().name,
        source=str(truth),
        prediction=None if prediction is None else str(prediction),
        settings=settings,
        without_prediction=absent,
        without_truth=tuple(str(path) for path in found.extra),
        by=by,
    )
    rows = [row for result in results for row in result.rows]
    scores = Scores(rows, summarize_rows(rows, summary=summary), folder)
    if folder is not None:
        pictures = {result.rows[0]["case"]: result.picture for result in results}
        write_scores(scores, build_score_page(scores, pictures=pictures), overwrite=overwrite)
    return scores


def _check_column(pairs, by):
    known = sorted({name for pair in pairs for name in pair.columns})
    if by is not None and by not in known:
        there = f"The columns are {', '.join(known)}." if known else "These cases have no columns."
        raise UsageError(f"`by` must be a column of the table. Received: by={by!r}. {there}")


def _task(found, labels, background, *, affine, workers):
    """Return the `Task`: the labels that were chosen, or every one of the true masks."""
    if labels is None:
        several = _parallel(_labels_of, [(pair.truth, affine) for pair in found.pairs], workers, desc="labels")
        values = sorted({label for some in several for label in some} - set(background))
        if not values:
            raise LabelError(found.pairs[0].truth, "expected labels in the true masks, found none", "Choose labels.")
        if values[0] < 0:
            raise LabelError(found.pairs[0].truth, f"expected labels from 0, found {values[0]}", "Save it as labels.")
        classes, names = tuple((value,) for value in values), {}
    else:
        names = {name: _several(value) for name, value in labels.items()} if isinstance(labels, Mapping) else {}
        classes, rest = choose_labels(None, tuple(names.values()) if names else labels, found.declared)
        background += tuple(value for value in rest if value not in background)
    regions = names or {name: values for name, values in found.declared.items() if values in classes}
    return Task(labels=classes, background=background, names=name_classes(classes, regions))


def _regions(settings, regions, task, declared):
    """Return the `Settings` with the regions, and name → class indices of all that is scored."""
    named = {name: _several(labels) or declared.get(name, ()) for name, labels in (regions or {}).items()}
    indices = {label: index for index, values in enumerate(task.labels, start=1) for label in values}
    settings = dataclasses.replace(settings, regions=named)
    own = {name: (index,) for index, name in enumerate(task.names, start=1)}
    return settings, add_regions(own, named, labels=indices)


def _score_all(pairs, task, *, workers, **options):
    jobs = [(pair, task, options) for pair in pairs]
    results = []
    for result, texts in _parallel(_score_pair, jobs, workers, desc="scoring"):
        for text in texts:
            warnings.warn(text, stacklevel=4)
        results.append(result)
    return results


def _parallel(function, jobs, workers, *, desc):
    parallel = joblib.Parallel(n_jobs=workers, return_as="generator", pre_dispatch="2 * n_jobs")
    found = parallel(joblib.delayed(function)(job) for job in jobs)
    return list(tqdm(found, total=len(jobs), desc=desc, unit="case", disable=None, leave=False))


def _labels_of(job):
    path, affine = job
    return tuple(count_labels(whole_labels(read_mask_file(path, affine=affine))))


def _score_pair(job):
    """Score one pair; warnings are returned as text, since those of worker processes are lost."""
    pair, task, options = job
    affine, by = options["affine"], options["by"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        truth = read_mask_file(pair.truth, affine=affine)
        case = Case(pair.case_id, (), pair.truth, task=task)
        true = _checked_classes(truth, case, "the truth")
        predicted = _classes_on(truth, pair, case, affine)
        image = _picture_image(pair, truth, affine)
    identity = {"case": pair.case_id, "group": pair.group or pair.case_id}
    identity |= {by: pair.columns.get(by, "")} if by else {}
    identity["note"] = NO_PREDICTION if pair.prediction is None else ""
    result = score_case(
        identity,
        true,
        predicted,
        affine=truth.affine,
        classes=options["classes"],
        settings=options["settings"],
        image=image,
    )
    return result, [str(each.message) for each in caught]


def _classes_on(truth, pair, case, affine):
    if pair.prediction is None:
        return np.zeros(truth.shape, np.uint8)
    stored = read_mask_file(pair.prediction, affine=affine)
    volume = reordered_like(stored, truth, within=NEAR_GRID)
    if volume is not stored:
        warnings.warn(f"{pair.prediction}: stored in another order of axes than {pair.truth}; reordered.", stacklevel=2)
    apart = compare_grids(volume, truth, "prediction")
    if apart > SAME_GRID:
        text = f"{pair.prediction}: corners {apart:.3g} voxels from {pair.truth}; compared voxel by voxel as it is."
        warnings.warn(text, stacklevel=2)
    return _checked_classes(volume, case, "the prediction")


def _checked_classes(volume, case, what):
    labels = whole_labels(volume)
    known = case.task.known_labels
    other = [value for value in count_labels(labels) if value not in known]
    if other:
        raise LabelError(
            volume.path,
            f"expected labels {', '.join(map(str, known))} in {what}, found also {', '.join(map(str, other[:5]))}",
            "Choose the labels to score, or declare the others as background.",
        )
    return to_classes(labels, case)


def _picture_image(pair, truth, affine):
    if pair.image is None:
        return None
    if isinstance(pair.image, Case) and len(pair.image.task.channel_names) > 1:
        volume = read_image(dataclasses.replace(pair.image, affine=affine))
        volume = Volume(volume.array[..., 0], volume.affine, volume.path)
    else:
        path = pair.image.images[0] if isinstance(pair.image, Case) else pair.image
        volume = read_volume(path, affine=affine, nonfinite="zero")
    volume = reordered_like(volume, truth, within=NEAR_GRID)
    compare_grids(volume, truth, "scan")
    return np.asarray(volume.array, np.float32)


def _workers(pairs):
    paths = [path for pair in pairs for path in (pair.truth, pair.prediction) if path is not None and path.is_file()]
    mib = sum(path.stat().st_size for path in paths) / 2**20
    return int(max(1, min(joblib.cpu_count(), len(pairs), 1 + mib // _MIB_PER_WORKER)))


def _several(values):
    return tuple(values) if isinstance(values, tuple | list) else (values,)
