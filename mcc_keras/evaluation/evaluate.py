"""`evaluate`: scores of a run, each case on its own grid.

scores.csv        one row for each case and class, the columns of `MEASURES`
calibration.csv   voxels near truth or prediction by their probability
summary.json      `Summary`: means, confidence intervals and counts, with the options that made them
report.html       the same to look at: learning curves, scores, outlines
"""

from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
from tqdm import tqdm

from mcc_keras.datasets.cases import Case, find_cases, read_image, read_mask
from mcc_keras.datasets.choices import match_channels
from mcc_keras.datasets.paths import safe_id
from mcc_keras.documents import read_document
from mcc_keras.errors import CaseError, DataError, LabelError, UsageError
from mcc_keras.evaluation.calibration import (
    Calibration,
    add_histograms,
    calibrate,
    crop_probabilities,
    fit_temperature,
)
from mcc_keras.evaluation.case import Settings, add_regions, score_case
from mcc_keras.evaluation.measures import TOLERANCE_MM
from mcc_keras.evaluation.output import refuse_output, write_scores
from mcc_keras.evaluation.page import build_score_page
from mcc_keras.evaluation.scores import SCHEMA, SUMMARY, Scores, Summary, summarize_rows
from mcc_keras.evaluation.seen import WANTED, WARNINGS, find_seen, refuse_changed
from mcc_keras.records.sources import hash_files
from mcc_keras.runs import run as runs
from mcc_keras.runs.mask_options import parse_flips
from mcc_keras.runs.run import read_run
from mcc_keras.segmentation.cleaning import clean
from mcc_keras.segmentation.segment import arrays_of, choose_cleaning, parse_window

_MIB_PER_WORKER = 32  # of scans per process, whose start takes about a second
_OWN_NAMES = ("train", "validation", "test", runs.LOGS)


def evaluate(
    run,
    *,
    part="test",
    source=None,
    affine=None,
    nonfinite=None,
    flips=None,
    window_size=None,
    largest_component=False,
    tolerance_mm=TOLERANCE_MM,
    smallest_lesion_mm3=0.0,
    regions=None,
    by=None,
    output=None,
    workers=None,
    overwrite=False,
):
    """Score a run on a part of its own data or on another data set, every case on its original grid.

    The masks come from the graph that `segment` calls and `export_saved_model` writes. Cases and parts come from the
    run folder, so preparing the records again changes nothing. What the run was trained on is never scored as unseen:
    such cases stay in the table with a note and are left out of every mean, unless `part` asks for them.

    The calibration error is over the same cases as the means. Scoring the validation part, into its default folder,
    fits a temperature, which later evaluations of the run report beside it; masks do not depend on it.

    Args:
        run: Run folder, or a `Run`.
        part: `"train"`, `"validation"` or `"test"`: the part of the run's own data to score. With `source`, which of
            its cases are in the means: `"test"` those that the run has not seen.
        source: Another data set, as for `find_cases`; all of its cases that have a mask are scored.
        affine: `"sform"` or `"qform"`, used where the two of a NIfTI file disagree; `None`: as for the run's cases.
        nonfinite: `"error"` refuses NaN and infinite voxels, `"zero"` reads them as 0; `None`: as for the run's cases.
        flips: Axes of the box that are also flipped, as for `segment`; `None`: as the run has it.
        window_size: Size of the windows, as for `segment`; `None`: as the run has it.
        largest_component: Keep only the largest connected component of each class; no part of the exported graph. So
            does a run whose `segmenter.json` says it.
        tolerance_mm: Distance up to which surfaces count as equal in the surface Dice.
        smallest_lesion_mm3: Smaller connected components are not counted as lesions.
        regions: Name → mask labels that are merged, scored beside the classes, as `{"whole": (1, 2, 4)}`.
        by: Column of the table of `source`, as `"site"`, whose values get means of their own.
        output: Folder for the four files; by default RUN/<part>, or RUN/<name of the source>.
        workers: Processes that score while the next case is segmented; by default as many as the scans are worth, up
            to one per core.
        overwrite: Replace the scores of an earlier evaluation.

    Returns:
        `Scores`.

    Raises:
        RunError: The folder holds no finished run.
        UsageError: A part without cases, or an option out of range.
        OutputExistsError: Scores are there already.
        DataError: A case that cannot be read, has changed since the training, or has another grid or other labels.
        MemoryFailure: The memory does not hold a case.

    Example:

    >>> evaluate("run", part="test")
    Traceback (most recent call last):
    mcc_keras.errors.RunError: run: expected a finished run, found no run.json, ...
    """
    settings = Settings(tolerance_mm=tolerance_mm, smallest_lesion_mm3=smallest_lesion_mm3, regions=dict(regions or {}))
    if part not in _OWN_NAMES[:3]:
        raise UsageError(f"`part` must be one of {', '.join(_OWN_NAMES[:3])}. Received: part={part!r}.")
    run, flip_axes = read_run(run), parse_flips(flips)
    loading = {"flip_axes": flip_axes, "window_size": parse_window([run], window_size)}
    classes = _classes(run.task, settings.regions)
    chosen = {key: value for key, value in {"affine": affine, "nonfinite": nonfinite}.items() if value is not None}
    cases, name = _cases(run, part, source, chosen)
    inputs = [path for case in cases for path in (*case.images, case.mask)] + ([] if source is None else [source])
    folder = refuse_output(output if output is not None else run.folder / name, inputs=inputs, overwrite=overwrite)
    _check_channels(cases, run)
    _check_column(cases, by)
    seen = find_seen(cases, run.data)
    cleaning = choose_cleaning([run], largest_component=largest_component)
    options = {"by": by, "classes": classes, "settings": settings, "loading": loading, "cleaning": cleaning}
    results = _score_all(run, cases, seen, workers=_workers(cases) if workers is None else workers, **options)
    rows = [row for result in results.values() for row in result.rows]
    left_out = _left_out(seen, part)
    fit = part == "validation" and source is None
    summary = Summary(
        scored=name,
        run=str(run.folder),
        source=None if source is None else str(source),
        flip_axes=run.mask_options.flip_axes if flip_axes is None else flip_axes,
        window_size=loading["window_size"],
        threshold=run.mask_options.threshold,
        **cleaning,
        settings=settings,
        seen=WARNINGS.get(part, ""),
        left_out=left_out,
        by=by,
        calibration=_calibrate(run, results, left_out, classes=classes, regions=settings.regions, fit=fit),
    )
    scores = Scores(rows, summarize_rows(rows, summary=summary), folder)
    pictures = {case_id: result.picture for case_id, result in results.items()}
    write_scores(scores, build_score_page(scores, pictures=pictures, run=run), overwrite=overwrite)
    return scores


def find_part(run, part):
    """Return the `Case`s of one part of a `Run`.

    Raises:
        UsageError: The part has no cases.
        DataError: The files of a case have changed since the training.
    """
    seen = run.data.cases.get(part, ())
    if not seen:
        raise UsageError(f"The {part} part of {run.folder} has no cases. Choose another part. Received: {part=}.")
    refuse_changed(seen)
    return tuple(_case(each, run.task, part) for each in seen)


def _cases(run, part, source, chosen):
    """Return the cases to score, and a name for them that a folder can have."""
    if source is None:
        return tuple(replace(case, **chosen) for case in find_part(run, part)), part
    reading = run.data.reading | chosen
    found = find_cases(source, labels=run.task.labels, background=run.task.background, **reading)
    cases = (match_channels(case, run.task.channel_names) for case in found if case.mask is not None)
    cases = tuple(replace(case, task=replace(case.task, names=run.task.names)) for case in cases)
    if not cases:
        raise CaseError(source, "expected cases with masks, found none", "Scores need the true masks.")
    return cases, name_scores(source, run.folder)


def name_scores(source, folder):
    """Return a name for the scores of another data set that a folder in the run's own folder can have.

    Args:
        source: Path of the data set, absolute or relative.
        folder: The run folder.

    Example:

    >>> name_scores("scans/..", Path("run")) == Path.cwd().name, name_scores("/test", Path("run"))
    (True, 'source-test')
    """
    path = Path(source).resolve()  # whose name is none of "..", "." and ""
    name = safe_id((path.stem if path.suffix else path.name) or "source")
    return f"source-{name}" if name.lower() in _OWN_NAMES or (folder / name).is_file() else name


def _case(seen, task, part):
    return Case(
        case_id=seen.case_id,
        images=tuple(Path(path) for path in seen.images),
        mask=Path(seen.mask),
        group=seen.group,
        task=task,
        part=part,
        affine=seen.affine,
        nonfinite=seen.nonfinite,
    )


def _classes(task, regions):
    labels = {label: index for index, values in enumerate(task.labels, start=1) for label in values}
    return add_regions({name: (i,) for i, name in enumerate(task.names, start=1)}, regions, labels=labels)


def _check_channels(cases, run):
    expected = run.task.channel_names
    for case in cases:
        found = case.task.channel_names
        if len(found) != len(expected):
            problem = f"expected {len(expected)} channels ({', '.join(expected)}), found {len(found)}"
            raise CaseError(case.case_id, problem, "Score it with a run that was trained on these channels.")


def _check_column(cases, by):
    known = sorted({name for case in cases for name in case.columns})
    if by is not None and by not in known:
        there = f"The columns are {', '.join(known)}." if known else "These cases have no columns."
        raise UsageError(f"`by` must be a column of the data set's table. Received: by={by!r}. {there}")


def _left_out(seen, part):
    left_out = {}
    for case_id, each in seen.items():
        if each.kind != WANTED.get(part, ""):
            left_out.setdefault(each.note or "not seen", []).append(case_id)
    return {note: tuple(cases) for note, cases in left_out.items()}


def _score_all(run, cases, seen, *, by, classes, settings, loading, cleaning, workers):
    """Return case id → `Scored`: one case after another is segmented, and those before it are scored beside that."""
    from mcc_keras.segmentation.memory import enough_memory  # here, so that no refusal waits for TensorFlow
    from mcc_keras.segmentation.segmenter import load_segmenter

    segmenter = load_segmenter(run, **loading)

    def jobs():
        for case in cases:
            identity = {"case": case.case_id, "group": case.group}
            identity |= {by: case.columns.get(by, "")} if by else {}
            identity["note"] = seen[case.case_id].note
            image = read_image(case)
            truth = _read_truth(case, image)
            with enough_memory(segmenter, image, probability=True):
                answer = segmenter.answer(*arrays_of(image))
                mask, probability = (answer[name].numpy() for name in ("mask", "probability"))
            mask = clean(mask, **cleaning, spacing_mm=image.spacing_mm)
            masks = (truth, _class_indices(mask, run.task))
            first = np.ascontiguousarray(image.array[..., 0])
            options = {"affine": image.affine, "classes": classes, "settings": settings, "image": first}
            options["probabilities"] = crop_probabilities(*masks, probability, image.affine)
            options["box"] = (run.preprocessing, run.preprocessing.grid(image.array, image.affine))
            yield joblib.delayed(score_case)(identity, *masks, **options)

    scored = joblib.Parallel(n_jobs=workers, return_as="generator", pre_dispatch="n_jobs")(jobs())
    # A bar on a terminal only (disable=None).
    bar = tqdm(scored, total=len(cases), desc="scoring", unit="case", leave=False, disable=None)
    return {result.rows[0]["case"]: result for result in bar}


def _calibrate(run, results, left_out, *, classes, regions, fit):
    """Return the `Calibration` over the cases that are in the means, with a temperature fitted here or earlier."""
    without = {case for cases in left_out.values() for case in cases}
    histograms = add_histograms(result.histograms for case, result in results.items() if case not in without)
    path = run.folder / runs.MODEL
    model = hash_files([path])[path][1]
    if fit:
        temperature = fit_temperature([histograms[name] for name in histograms if name not in regions])
    else:
        temperature = _earlier_temperature(run.folder / "validation" / SUMMARY, model)
    return Calibration(
        classes=calibrate(histograms, names=classes, temperature=temperature),
        temperature=temperature,
        fitted_here=fit and temperature is not None,
        model_sha256=model,
    )


def _earlier_temperature(path, model):
    """Return the temperature of an evaluation of the validation part, `None` where it was of another network."""
    try:
        found = read_document(path, Summary, schema=SCHEMA).calibration
    except DataError:  # none, or of an earlier version
        return None
    return found.temperature if found and found.fitted_here and found.model_sha256 == model else None


def _read_truth(case, image):
    try:
        return read_mask(case, image)
    except LabelError as error:
        raise LabelError(error.path, error.problem, "Save it with the labels of the run.") from None


def _workers(cases):
    """Return how many processes the scans on disk are worth, up to one per core."""
    paths = [path for case in cases for path in case.images]
    mib = sum(path.stat().st_size for path in paths if path.is_file()) / 2**20
    return int(max(1, min(joblib.cpu_count(), len(cases), 1 + mib // _MIB_PER_WORKER)))


def _class_indices(mask, task):
    class_of = np.zeros(max(task.label_values) + 1, np.uint8)
    class_of[list(task.label_values)] = range(len(task.label_values))
    return class_of[mask]
