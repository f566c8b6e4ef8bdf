"""The line that scans pass: read ahead, segmented, written behind, in this process or in several."""

import contextlib
import dataclasses
import math

import joblib
import nibabel
import numpy as np

from mcc_keras.datasets.cases import read_image
from mcc_keras.errors import EnvironmentFailure, MCCKerasError, MemoryFailure, OutputExistsError, UsageError
from mcc_keras.segmentation import bids
from mcc_keras.segmentation.beside import WriteBehind, read_ahead
from mcc_keras.segmentation.cleaning import clean
from mcc_keras.segmentation.origin import hash_inputs
from mcc_keras.segmentation.segment import predict

_MOST = 16  # scans that a process takes at a time: their results are seen when all of them are done
_PARTS = 4  # parts of the work for each process, so that none waits long for another at the end


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

        workers = joblib.effective_n_jobs(workers)
        if workers == 1:
            _segment_here(jobs, runs, origin, done, loading=loading)
        else:
            _segment_elsewhere(jobs, runs, origin, done, loading=loading, workers=workers)
    return written, problems


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

    def ended(job, future):
        problem = future.exception()
        if problem is not None:
            _raise_of_disk(problem)
        done(job.outputs.mask, problem)

    nibabel.Nifti1Header  # noqa: B018, loads a lazy module, which two threads cannot do at once
    with read_ahead(_read, jobs) as found, WriteBehind(ended) as writer:
        segmenter = load_segmenter(runs, **loading)
        for job, future in found:
            try:
                inputs, volume = future.result()
                folder = job.outputs.mask.parent if job.outputs.probability else None
                mask, voxels = predict(segmenter, volume, folder=folder)
            except MCCKerasError as problem:
                _raise_of_disk(problem)
                done(job.outputs.mask, problem)
                continue
            made = dataclasses.replace(origin, inputs=inputs)
            like, task = _without_voxels(volume), runs[0].task
            writer.add(job, _write, job, mask, voxels, like, origin=made, task=task)
            del future, volume  # before the next one is read


def _raise_of_disk(problem):
    """Raise what the next scan would meet as well: a disk that is full or cannot be written, and any bug."""
    disk = isinstance(problem, EnvironmentFailure) and isinstance(problem.__cause__, OSError)
    if disk or not isinstance(problem, MCCKerasError):
        raise problem


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


def _without_voxels(volume):
    """Return a `Volume` with the shape and the geometry of another, and none of its memory."""
    return dataclasses.replace(volume, array=np.broadcast_to(np.float32(0), volume.array.shape))


def _write(job, mask, voxels, volume, *, origin, task):
    cleaning = {name: origin.options[name] for name in ("largest_component", "smallest_mm3")}
    with _memory_for(job):
        mask = clean(mask, **cleaning, spacing_mm=volume.spacing_mm)
        job.outputs.write(mask, voxels, like=volume, origin=origin, overwrite=job.overwrite)
    if voxels is not None and job.outputs.probability.name.endswith(bids.PROBABILITY):
        bids.write_class_names(job.outputs, task)


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
