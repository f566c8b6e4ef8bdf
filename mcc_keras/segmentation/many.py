"""`segment_many`: one process, one network, many scans; reading and writing run beside the network.

    found ─ find_scans ─ take_shard ─ plan: skipped, refused or to do ─ read ─ network ─ write

What exists is compared before TensorFlow is loaded. A bad scan costs nothing but itself.
"""

import dataclasses
from pathlib import Path

from mcc_keras.errors import MCCKerasError, OutputExistsError, printable, raise_all
from mcc_keras.runs.mask_options import parse_flips
from mcc_keras.runs.run import read_runs
from mcc_keras.segmentation import bids
from mcc_keras.segmentation.fingerprint import fingerprint_runs
from mcc_keras.segmentation.jobs import find_jobs, plan_jobs, refuse_folder
from mcc_keras.segmentation.line import segment_jobs
from mcc_keras.segmentation.origin import describe_call
from mcc_keras.segmentation.segment import choose_cleaning, choose_reading, name_choices, parse_window

_NAMES = 10


@dataclasses.dataclass(frozen=True)
class ManyMasks:
    """What a call for many scans did; `str(result)` is one line, and another one for scans without a mask.

    Args:
        folder: The output folder.
        written: Paths of the masks that it wrote.
        skipped: Paths of masks that were there already, of the same scans, model and options.
        problems: `MCCKerasError`s, one for each scan without a mask of this call.
    """

    folder: Path
    written: tuple[Path, ...]
    skipped: tuple[Path, ...]
    problems: tuple[MCCKerasError, ...]

    @property
    def exit_code(self):
        """0; 3 with a bad scan; 2 if masks that exist were refused and nothing else went wrong."""
        if not self.problems:
            return 0
        return 2 if all(isinstance(problem, OutputExistsError) for problem in self.problems) else 3

    def raise_for_problems(self):
        """Raise the problem if there is one, `DataErrors` if there are several; return the result if there is none."""
        raise_all(self.problems)
        return self

    def __str__(self):
        """Return how many masks were written, and the scans without one."""
        skipped = f", {len(self.skipped)} there already" if self.skipped else ""
        text = printable(f"{self.folder}: {len(self.written)} masks written{skipped}")
        if not self.problems:
            return text
        names = [str(getattr(problem, "path", None) or problem) for problem in self.problems]
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        return printable(f"{text}, {len(names)} not: {', '.join(names[:_NAMES])}{more}")


def segment_many(
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
    bids_names=False,
    shard=None,
    workers=None,
    overwrite=False,
    progress=False,
    report=None,
):
    """Segment many scans with a trained run and write their masks into a folder.

    The next scans are read and the last masks are written while the network works; at most three scans are in memory. A
    scan that cannot be read or segmented is a problem of the result, and the others go on. A mask that exists is
    skipped if the file beside it names the same scan, model and options; any other is refused or, with `overwrite`,
    replaced. Each mask is written whole, so that the same call goes on where an interrupted one has stopped.

    Args:
        run: Run folder, or a list of them, whose probabilities are averaged.
        images: Path of a source or a list of them: a scan's file, the folder of a DICOM series, a data set in any
            layout that `find_cases` knows, whose masks are not read, or a `.txt` file with the path of a scan in each
            line (of its channels, with tabs between).
        output: Folder for `<name>.nii.gz` of each scan and the file about it, made if it is missing. The name is that
            of the scan's file without its suffix, or the id of the case in its data set.
        affine: As for `segment`.
        nonfinite: As for `segment`.
        flips: As for `segment`.
        window_size: As for `segment`.
        largest_component: As for `segment`.
        probability: As for `segment`.
        bids_names: Write a BIDS derivative: its names, `dataset_description.json` and names of the labels.
        shard: (k, n): take every n-th scan from the k-th on, so that n processes or machines share the work.
        workers: Processes that each load the network and take a part of the scans; `None`: this process alone, or as
            many as `joblib.parallel_config` says, as on a `dask.distributed` cluster with the files on a shared disk.
        overwrite: Replace masks that exist and are not those of this call.
        progress: Show a bar with scans per minute on a terminal.
        report: `None`, or a callable that gets each problem when it is met.

    Returns:
        `ManyMasks`.

    Raises:
        UsageError: `output` is a folder of the images or holds one, two scans have one name, an invalid shard, or
            windows as for `segment`.
        OutputExistsError: `output` is a file, or holds another data set than a derivative by mcc_keras.
        RunError: The run is not finished, or its files are damaged.
        CaseError: There is no scan.
        EnvironmentFailure: The folder cannot be written, or the disk is full.

    Example:

    >>> segment_many("run", ["scans"], "scans")
    Traceback (most recent call last):
    mcc_keras.errors.RunError: run: expected a finished run, found no run.json, ...
    """
    refuse_folder(output, bids_names=bids_names)
    runs, flip_axes = read_runs(run), parse_flips(flips)
    loading = {"flip_axes": flip_axes, "window_size": parse_window(runs, window_size)}
    task = runs[0].task
    reading = choose_reading(runs, affine=affine, nonfinite=nonfinite)
    names = {"probability": probability, "bids_names": bids_names}
    jobs, problems = find_jobs(images, output, task.channel_names, reading=reading, shard=shard, **names)
    chosen = {**name_choices(**loading), **choose_cleaning(runs, largest_component=largest_component)}
    origin = describe_call(fingerprint_runs(runs), {**reading, **chosen, "probability": probability})

    def segment_rest(todo, report):
        if bids_names:
            bids.write_description(output, task)
        options = {"workers": workers, "progress": progress, "report": report}
        return segment_jobs(todo, runs, origin, loading=loading, **options)

    return finish(jobs, problems, origin, segment_rest, output=output, overwrite=overwrite, report=report)


def finish(jobs, problems, origin, segment_rest, *, output, overwrite, report):
    """Compare the masks that exist, segment the other scans, and return `ManyMasks`.

    Args:
        jobs: `Job`s.
        problems: What is wrong with other scans.
        origin: `MaskOrigin` of the call, or `None`; see `plan_jobs`.
        segment_rest: Function of the jobs to do and of `report` that returns masks written and problems.
        output: Folder of the masks.
        overwrite: As for `segment_many`.
        report: As for `segment_many`.
    """
    report = report or (lambda problem: None)
    for problem in problems:
        report(problem)
    todo, skipped, refused = plan_jobs(jobs, origin, overwrite=overwrite)
    for problem in refused:
        report(problem)
    written, bad = segment_rest(todo, report)
    return ManyMasks(Path(output), tuple(written), tuple(skipped), (*problems, *refused, *bad))
