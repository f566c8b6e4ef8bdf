"""`compare_losses`: a plan of recipes × folds × seeds, one resumable cell each, and a page that says what follows."""

import contextlib
import time
from pathlib import Path

from mcc_keras.comparison.analysis import analyze, deviation_of
from mcc_keras.comparison.arms import build_arms
from mcc_keras.comparison.cells import (
    BUSY,
    FAILED,
    FINISHED,
    list_cells,
    read_any_result,
    read_result,
    shard_of,
    time_arm,
)
from mcc_keras.comparison.folds import fold_work, patient_ratio, prepare_folds, read_sources, split_folds
from mcc_keras.comparison.length import check_length, steps_of_arms
from mcc_keras.comparison.outlook import describe_plan
from mcc_keras.comparison.output import Comparison, write_comparison
from mcc_keras.comparison.parallel import check_jobs, fitting_jobs, run_cells
from mcc_keras.comparison.plan import (
    LOCK,
    Design,
    Plan,
    normalized,
    read_plan,
    refuse_folder,
    refuse_other_design,
    write_plan,
)
from mcc_keras.comparison.scores import cell_score, check_measure
from mcc_keras.comparison.sweep import check_sweep, choose_values, chosen_recipes
from mcc_keras.documents import read_document
from mcc_keras.errors import BusyError, RunError, UsageError
from mcc_keras.evaluation.seen import find_seen
from mcc_keras.locks import owned
from mcc_keras.processors import find_processor
from mcc_keras.records.manifest import read_manifest
from mcc_keras.runs import recipe as recipes
from mcc_keras.runs.data import RunData
from mcc_keras.runs.recipe import Recipe
from mcc_keras.runs.run import DATA, DATA_SCHEMA, RECIPE, read_run
from mcc_keras.seeds import check_seed
from mcc_keras.training.resume import differences

POLL_SECONDS = 5.0


def compare_losses(
    work,
    out,
    *,
    losses=None,
    vary=None,
    folds=5,
    seeds=(0,),
    steps=None,
    minutes_per_cell=None,
    protocol="folds",
    recipe=None,
    reference=None,
    measure="dice",
    sweep=None,
    split_seed=0,
    stratify=None,
    earlier=None,
    jobs=1,
    shard=None,
    finish=False,
    dry_run=False,
    workers=None,
    progress=None,
    **changes,
):
    """Compare losses, or any other settings of a training, by cross-validation, and say what may be concluded.

    Every combination of arm, fold and seed is a cell: a training of equal length with a run folder of its own. The
    records of a fold are made of the files that WORK was made of, and everything that is fitted is fitted to its
    training part; a fifth of the other patients choose the epoch and the threshold; the test part is read last.

    The same call goes on where it was stopped or killed, with the results of an undisturbed one. Cells that failed are
    reported and tried again by the next call; one whose loss became NaN counts as one that finds nothing.

    Args:
        work: Folder that `write_tfrecords` wrote. Its cases, patients, labels and preprocessing are used, not its
            split.
        out: Folder of the comparison: new, empty, or of a comparison with the same settings.
        losses: Names in `mcc_keras.losses.LOSSES`; by default `("mcc", "dice", "cross_entropy")`, without `vary`.
        vary: Mapping of a field of `Recipe` to its values, as `{"batch_size": (1, 4)}`, or of an argument, as
            `{"loss_arguments.smooth": (0, 100)}`. Every combination with the losses is an arm.
        folds: Number of folds, from 2 to the number of patients.
        seeds: Seeds of the trainings; two or more show how far chance alone takes them apart.
        steps: Updates of the weights in each cell; where batches differ, of the arm with the smallest, and the others
            see as many cases.
        minutes_per_cell: Instead of `steps`, a time from which the steps are counted once, by ten steps of each arm:
            those of the slowest. 4 where neither is given.
        protocol: `"folds"`, or `"paper"`: one split into 70 % training, 20 % validation and 10 % test.
        recipe: `Recipe` of the settings that all arms share; its length and its seed are not used.
        reference: Name of the arm that the others are compared with; by default the first.
        measure: The one measure by which arms are judged; everything else is description.
        sweep: Field and values from which each arm chooses its own first, by the validation part of the first fold, as
            `{"learning_rate": ("x0.3", "x1", "x3")}`; `"x3"` is three times the arm's own value.
        split_seed: Integer seed of the split into folds.
        stratify: `"foreground"` balances the folds by the size of the organ.
        earlier: Folder of an earlier comparison, whose spread between folds says what this one will be able to find.
        jobs: Trainings at a time, which share the cores; fewer where memory has no room. `None`: as
            `joblib.parallel_config` says, also on other machines.
        shard: `"i/n"`: run only every n-th cell, beginning with the i-th; for several machines with one folder.
        finish: Run nothing, and write the page from the cells that are there.
        dry_run: Write the plan, and run nothing.
        workers: Processes that prepare the folds, as in `write_tfrecords`.
        progress: `None`, or a callable that gets lines of text.
        **changes: Fields of `Recipe` that differ from `recipe`, as `batch_size=4`.

    Returns:
        A `Comparison`: `print` it, or open its `report_path`. `None` for a shard or a dry run, which write no page.

    Raises:
        UsageError: An unknown loss, axis or measure, a number out of range, other settings than those of the folder, a
            cell's folder of other settings, a sweep that leaves one value.
        CaseError: More folds than patients, or a file that is not as it was when WORK was prepared.
        OutputExistsError: `out` holds something else.
        RecordError: `work` holds no records, or damaged ones.
        BusyError: Another process prepares or finishes a comparison in this folder.
        TrainingInterrupted: SIGINT or SIGTERM, after the state was saved.
        RunError: There is no cell to make a page of.

    Example:

    >>> compare_losses("work", "out", losses=("mcc", "dice"), steps=100, minutes_per_cell=4)
    Traceback (most recent call last):
    mcc_keras.errors.UsageError: Give one of `steps` and `minutes_per_cell`. Received: steps=100, minutes_per_cell=4.

    References:
        Christodoulou et al., False Promises in Medical Imaging AI?, 2025, arXiv 2505.04720.
    """
    steps, minutes_per_cell = check_length(steps, minutes_per_cell)
    check_jobs(jobs)
    shard_of((), shard)
    say = progress or (lambda text: None)
    manifest = read_manifest(work)
    arms = build_arms(losses=losses, vary=vary, recipe=recipe, num_classes=manifest.task.num_classes, **changes)
    cases = read_sources(manifest)
    refuse_folder(out, work=work, cases=cases)
    splits = split_folds(cases, folds=folds, protocol=protocol, split_seed=split_seed, stratify=stratify)
    design = normalized(
        Design(
            work=str(Path(work).resolve()),
            manifest_sha256=manifest.sha256,
            arms=arms,
            folds=len(splits),
            seeds=_check_seeds(seeds),
            protocol=protocol,
            split_seed=check_seed(split_seed),
            stratify=stratify,
            steps=steps,
            minutes_per_cell=minutes_per_cell,
            sweep=check_sweep(sweep, arms),
            measure=check_measure(measure),
            reference=_check_reference(reference, arms),
        )
    )
    _refuse_seen(design.trained, cases)
    known = None if earlier is None else _read_deviation(earlier)
    if finish:
        return _finish(out, design)
    options = {"workers": workers, "say": say, "jobs": jobs, "wait": shard is not None, "dry_run": dry_run}
    plan, recipes = _begin(manifest, cases, splits, design, out, known, **options)
    if dry_run:
        return None
    cells = shard_of(list_cells(plan, out, recipes=recipes, works=_works(out, plan)), shard)
    _run(cells, plan, jobs=jobs, say=say)
    if shard is not None:
        say("next      the other shards; then the same call that finishes in place of its shard writes the page")
        return None
    return _finish(out, design)


def _begin(manifest, cases, splits, design, out, known, *, workers, say, jobs, wait, dry_run):
    """Return the `Plan` and the `Recipe` of each arm, everything before the first cell done; one process at a time."""
    Path(out).mkdir(parents=True, exist_ok=True)
    with _owned(out, wait=wait, say=say):
        earlier = read_plan(out)
        if earlier is not None:
            refuse_other_design(out, earlier.design, design)
        works = prepare_folds(manifest, cases, splits, Path(out) / "folds", workers=workers, progress=say)
        plan = earlier or _make_plan(design, cases, splits, works, out)
        results = _read_results(plan, out)
        deviation = deviation_of(plan, results) or known
        for line in describe_plan(plan, done=len(results), deviation=deviation, jobs=jobs or 1):
            say(line)
        if dry_run:
            return plan, None
        recipes = chosen_recipes(plan, choose_values(plan, out, works[0], progress=say))
        _refuse_other_cells(list_cells(plan, out, recipes=recipes, works=works))
        return plan, recipes


def _make_plan(design, cases, splits, works, out):
    paces = {arm.name: time_arm(works[0], arm) for arm in design.trained}
    plan = Plan(
        design=design,
        splits=tuple(splits),
        ratio=patient_ratio(cases, splits),
        paces=paces,
        steps=steps_of_arms(design.trained, paces, steps=design.steps, minutes_per_cell=design.minutes_per_cell),
        processor=find_processor()[0],
    )
    write_plan(plan, out)
    return plan


def _run(cells, plan, *, jobs, say):
    left = [cell for cell in cells if read_result(cell) is None]
    peak = max(pace.peak_memory for pace in plan.paces.values())
    jobs, text = fitting_jobs(jobs, peak)
    if text:
        say(text)
    for number, result in enumerate(run_cells(left, jobs=jobs), start=len(cells) - len(left) + 1):
        name = f"cell {number:>4} of {len(cells)}: {result.arm}, fold {result.fold}, seed {result.seed}"
        score = cell_score(result, plan.design.measure)
        if result.state == FINISHED:
            shown = "–" if score is None else f"{score:.3f}"
            say(f"{name}: {plan.design.measure} {shown}, {result.seconds / 60:.1f} min")
        else:
            say(f"{name}: {'another process trains it' if result.state == BUSY else result.state}. {result.problem}")


def _finish(out, design):
    plan = read_plan(out)
    if plan is None:
        raise RunError(out, "expected a comparison, found none", "Run its cells first.")
    refuse_other_design(out, plan.design, design)
    results = _read_results(plan, out)
    if not any(result.state == FINISHED for result in results.values()):
        found = next((result.problem for result in results.values() if result.state == FAILED), "")
        problem = f"expected a cell that is finished, found none{f' ({found})' if found else ''}"
        raise RunError(out, problem, "The same call runs them again.")
    comparison = Comparison(Path(out), plan, results, analyze(plan, results))
    with _owned(out, wait=False):
        write_comparison(comparison)
    return comparison


def _read_results(plan, out):
    """Return (arm name, fold, seed) → `CellResult` of the cells that have one."""
    recipes = {arm.name: arm.recipe for arm in plan.design.trained}
    cells = list_cells(plan, out, recipes=recipes, works=_works(out, plan))
    found = {(cell.arm.name, cell.fold, cell.seed): read_any_result(cell) for cell in cells}
    return {key: result for key, result in found.items() if result is not None}


def _works(out, plan):
    return [fold_work(Path(out) / "folds", number) for number in range(plan.design.folds)]


def _read_deviation(folder):
    plan = read_plan(folder)
    if plan is None:
        raise RunError(folder, "expected a comparison, found none", "Leave out `earlier`.")
    return deviation_of(plan, _read_results(plan, folder))


@contextlib.contextmanager
def _owned(out, *, wait, say=lambda text: None):
    """Be the only process that prepares or finishes; a shard waits for another one instead of giving up."""
    said = False
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(owned(Path(out) / LOCK, out))
                break
            except BusyError:
                if not wait:
                    raise
                if not said:
                    say(f"waiting   another shard prepares {out}")
                said = True
                time.sleep(POLL_SECONDS)
        yield


def _check_seeds(seeds):
    seeds = tuple(check_seed(seed) for seed in ((seeds,) if isinstance(seeds, int) else seeds))
    if not seeds or len(set(seeds)) < len(seeds):
        raise UsageError(f"`seeds` must be one seed or more, each once. Received: seeds={seeds!r}.")
    return seeds


def _check_reference(reference, arms):
    names = [arm.name for arm in arms]
    if reference is not None and reference not in names:
        raise UsageError(f"`reference` must be one of {', '.join(names)}. Received: reference={reference!r}.")
    return reference or names[0]


def _refuse_seen(arms, cases):
    """Refuse arms that begin with the weights of a run that has seen a case: it would be scored as unseen."""
    for init in {arm.recipe.init for arm in arms if arm.recipe.init}:
        seen = [name for name, each in find_seen(cases, read_run(init).data).items() if each.kind]
        if seen:
            raise UsageError(
                f"`init` must be a run that has seen none of the cases. Received: init={init}, which has seen {seen[0]}"
                f" and {len(seen) - 1} more."
            )


def _refuse_other_cells(cells):
    """Refuse a cell whose folder holds a training of other settings or records."""
    for cell in cells:
        recipe, data = (Path(cell.folder) / name for name in (RECIPE, DATA))
        if not recipe.is_file():
            continue
        way_out = "Move the folder away: the same call trains it again."
        read = {"error": RunError, "way_out": way_out}
        differing = differences(read_document(recipe, Recipe, schema=recipes.SCHEMA, **read), cell.recipe)
        if data.is_file():
            seen = read_document(data, RunData, schema=DATA_SCHEMA, **read).manifest_sha256
            if seen != read_manifest(cell.work, verify=False).sha256:
                differing.append(f"records other than those of {cell.work}")
        if differing:
            raise UsageError(
                f"{cell.folder}: the folder of a cell must hold a training of its own settings. Received others: "
                f"{'; '.join(differing)}. {way_out}"
            )
