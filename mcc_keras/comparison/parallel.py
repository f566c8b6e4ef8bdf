"""Cells one after another in this process, or several at a time in processes that share cores and memory."""

import os

import joblib

from mcc_keras.comparison.cells import STOPPED, run_cell
from mcc_keras.errors import TrainingInterrupted, UsageError
from mcc_keras.memory import GIB, free_memory

THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")


def check_jobs(jobs):
    """Return a number of processes, `None` for that of `joblib.parallel_config`, or refuse it."""
    if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1):
        raise UsageError(f"`jobs` must be an integer above 0, or None. Received: jobs={jobs!r}.")
    return jobs


def fitting_jobs(jobs, peak_memory):
    """Return (number of processes that memory has room for, a line of text on it or `None`).

    Args:
        jobs: The number that is asked for, or `None`.
        peak_memory: Bytes that one needs.
    """
    if jobs is None or jobs == 1:
        return jobs, None
    room = max(1, int(free_memory() // max(1, peak_memory)))
    if room >= jobs:
        return jobs, None
    return room, f"memory    has room for {room} of {jobs} trainings of {peak_memory / GIB:.1f} GiB at a time"


def run_cells(cells, *, jobs=1):
    """Yield the `CellResult` of each cell as it ends; a cell that fails does not keep the others from running.

    Args:
        cells: `Cell`s.
        jobs: Processes at a time; 1 is this process, `None` what `joblib.parallel_config` says.

    Raises:
        TrainingInterrupted: A training was stopped by a signal, after it was saved.
    """
    if jobs == 1:
        results = map(run_cell, cells)
    else:
        parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
        threads = max(1, joblib.cpu_count() // joblib.effective_n_jobs(jobs))
        results = parallel(joblib.delayed(_run_apart)(cell, threads) for cell in cells)
    for result in results:
        if result.state == STOPPED:
            raise TrainingInterrupted(f"{result.arm}, fold {result.fold}, seed {result.seed}", "a signal")
        yield result


def _run_apart(cell, threads):
    """Run a cell in a worker, which reads these variables when it loads TensorFlow."""
    for name in THREADS:
        os.environ.setdefault(name, str(threads))
    return run_cell(cell)
