"""The line that scans pass: read ahead, segmented, written behind, in this process or in several."""

import contextlib
import dataclasses
import functools
import math

import joblib
import nibabel
import numpy as np

from mcc_keras.datasets.cases import read_image
from mcc_keras.errors import EnvironmentFailure, MCCKerasError, MemoryFailure, OutputExistsError, UsageError
from mcc_keras.segmentation import bids
from mcc_keras.segmentation.beside import AHEAD, WriteBehind, read_ahead
from mcc_keras.segmentation.cleaning import clean
from mcc_keras.segmentation.origin import MaskOrigin, hash_inputs
from mcc_keras.segmentation.probability import ProbabilityVoxels
from mcc_keras.segmentation.segment import predict
from mcc_keras.volumes import Volume

_MOST = 16  # scans that a process takes at a time: their results are seen when all of them are done
_PARTS = 4  # parts of the work for each process, so that none waits long for another at the end


@dataclasses.dataclass(frozen=True)
class Segmented:
    """The mask of a scan, to be written.

    Args:
        mask: (x, y, z) labels.
        like: `Volume` of the scan; its voxels are not needed.
        origin: `MaskOrigin` with the hashes of the inputs, or `None` where the model is not known.
        probability: `ProbabilityVoxels`, or `None`.
    """

    mask: np.ndarray
    like: Volume
    origin: MaskOrigin | None
    probability: ProbabilityVoxels | None = None


def segment_jobs(jobs, runs, origin, *, loading, workers, progress, report):
    """Segment the scans of jobs and write their masks.

    Args:
        jobs: `Job`s.
        runs: `Run`s.
        origin: `MaskOrigin` of the call.
        loading: Keywords of `load_segmenter`.
        workers: As for `segment_many`.
        progress: Show a bar on a terminal.
        report: Called with each problem.

    Returns:
        List of the masks written; list of problems.
    """

    def segment(done):
        number = joblib.effective_n_jobs(workers)
        if number == 1:
            _segment_here(jobs, runs, origin, done, loading=loading)
        else:
            _segment_elsewhere(jobs, runs, origin, done, loading=loading, workers=number)

    return collect(jobs, segment, progress=progress, report=report)


def collect(jobs, segment, *, progress, report):
    """Return the masks that `segment(done)` writes, and its problems; `done(mask, problem or None)` is one of them.

    Args:
        jobs: `Job`s; without any, `segment` is not called.
        segment: Function.
        progress: Show a bar on a terminal.
        report: Called with each problem.
    """
    written, problems = [], []
    if not jobs:
        return written, problems
    with _bar(len(jobs)) if progress else contextlib.nullcontext() as bar:

        def done(mask, problem):
            if problem is None:
                written.append(mask)
            else:
                problems.append(problem)
                report(problem)
            if bar is not None:
                bar.update()

        segment(done)
    return written, problems


def pass_line(jobs, done, *, read, segment, write, concerns_all, ahead=AHEAD):
    """Read scans ahead in threads, segment them one after another in this one, and write the masks behind in threads.

    Args:
        jobs: `Job`s.
        done: Called with (mask, problem or `None`) of each job.
        read: Function of a job, called in a thread.
        segment: Function of a job and of what `read` has returned, that returns `Segmented`.
        write: Function of a job and of `Segmented`, called in a thread.
        concerns_all: Function of a problem: whether the next scan would meet it as well. It ends the line.
        ahead: How many scans are read at a time.
    """

    def settle(job, problem):
        if problem is not None and (not isinstance(problem, MCCKerasError) or concerns_all(problem)):
            raise problem
        done(job.outputs.mask, problem)

    def ended(job, future):
        settle(job, future.exception())

    nibabel.Nifti1Header  # noqa: B018, loads a lazy module, which two threads cannot do at once
    with read_ahead(read, jobs, ahead=ahead) as found, WriteBehind(ended) as writer:
        for job, future in found:
            try:
                made = segment(job, future.result())
            except MCCKerasError as problem:
                settle(job, problem)
                continue
            writer.add(job, write, job, made)
            del future, made  # before the next one is read


def _segment_elsewhere(jobs, runs, origin, done, *, loading, workers):
    size = max(1, min(_MOST, math.ceil(len(jobs) / (_PARTS * workers))))
    parts = [jobs[first : first + size] for first in range(0, len(jobs), size)]
    parallel = joblib.Parallel(n_jobs=min(workers, len(parts)), return_as="generator_unordered", batch_size=1)
    results = parallel(joblib.delayed(_segment_part)(part, runs, origin, loading) for part in parts)
    with contextlib.closing(results):
        for found in results:
            for result in found:
                done(*result)


def _segment_part(jobs, runs, origin, loading):
    """Return (mask, problem or `None`) of each job, in a process that keeps its network for the next part."""
    found = []

    def done(mask, problem):
        found.append((mask, _portable(problem)))

    _segment_here(jobs, runs, origin, done, loading=loading)
    return found


def _portable(problem):
    """Return an error that can be sent to another process."""
    return UsageError(str(problem)) if isinstance(problem, OutputExistsError) else problem


def _segment_here(jobs, runs, origin, done, *, loading):
    from mcc_keras.segmentation.segmenter import load_segmenter  # here, so that nothing before waits for TensorFlow

    segmenter = load_segmenter(runs, **loading)

    def segment(job, found):
        inputs, volume = found
        folder = job.outputs.mask.parent if job.outputs.probability else None
        mask, voxels = predict(segmenter, volume, folder=folder)
        return Segmented(mask, without_voxels(volume), dataclasses.replace(origin, inputs=inputs), voxels)

    cleaning = {name: origin.options[name] for name in ("largest_component", "smallest_mm3")}
    write = functools.partial(write_segmented, task=runs[0].task, **cleaning)
    pass_line(jobs, done, read=_read, segment=segment, write=write, concerns_all=is_of_disk)


def is_of_disk(problem):
    """Whether a problem is a disk that is full or cannot be written."""
    return isinstance(problem, EnvironmentFailure) and isinstance(problem.__cause__, OSError)


@contextlib.contextmanager
def _memory_for(job):
    """Name the scan where memory ends in the block, so that the others go on."""
    try:
        yield
    except MemoryError as error:
        problem = "expected memory for the scan and its mask, found too little"
        raise MemoryFailure(job.case.images[0], problem, "Crop it, or use a machine with more memory.") from error


def _read(job):
    with _memory_for(job):
        return hash_inputs(job.case), read_image(job.case)


def without_voxels(volume):
    """Return a `Volume` with the shape and the geometry of another, and none of its memory."""
    return dataclasses.replace(volume, array=np.broadcast_to(np.float32(0), volume.array.shape))


def write_segmented(job, made, *, task=None, **cleaning):
    """Write a mask, cleaned, and what belongs beside it; return its path.

    Args:
        job: `Job`.
        made: `Segmented`.
        task: `Task` of the model, for the names of probabilities.
        cleaning: Keywords of `clean`.
    """
    with _memory_for(job):
        mask = clean(made.mask, **cleaning, spacing_mm=made.like.spacing_mm)
        path = job.outputs.write(mask, made.probability, like=made.like, origin=made.origin, overwrite=job.overwrite)
    if made.probability is not None and job.outputs.probability.name.endswith(bids.PROBABILITY):
        bids.write_class_names(job.outputs, task)
    return path


def _bar(total):
    from tqdm import tqdm

    class Bar(tqdm):
        """A bar with the rate per minute."""

        @property
        def format_dict(self):
            found = super().format_dict
            rate = found["rate"] or (found["n"] / found["elapsed"] if found["elapsed"] else 0)
            return {**found, "per_minute": f"{60 * rate:.3g} scans/min"}

    shown = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {per_minute}]"
    return Bar(total=total, desc="segment", unit="scan", bar_format=shown, disable=None, leave=False)
