"""The page of a run, `report.html`: a callback that rewrites it after epochs, at the finish and when it stops."""

import sys
import time
import warnings

import keras

from mcc_keras.errors import RunError, TrainingInterrupted
from mcc_keras.reporting.html import write_page
from mcc_keras.runs.run import MODEL, PAGE
from mcc_keras.training.keeper import COST_FACTOR, is_due
from mcc_keras.training.mean_mask import score_mean_mask
from mcc_keras.training.report import build_run_page
from mcc_keras.training.worst import find_worst, weights_of


class RunPage(keras.callbacks.Callback):
    """Rewrites the page of a run; a page that cannot be drawn is a warning, once, and no end of the training.

    It must come after the callbacks whose state it shows.

    Args:
        run: Run folder.
        manifest: `Manifest` of the records.
        recipe: `Recipe`.
        schedule: `Schedule`.
        best: `BestModel`.
        history: `HistoryFile`.
    """

    def __init__(self, run, manifest, recipe, *, schedule, best, history):
        super().__init__()
        self.run, self.manifest, self.recipe, self.schedule, self.best = run, manifest, recipe, schedule, best
        self.history, self.baseline, self.cases, self.case_count = history, None, (), 0
        self.state, self.cost, self.written, self.warned = "", 0.0, None, False
        self.has_validation = bool(manifest.counts.get("validation"))

    def on_epoch_end(self, epoch, logs=None):
        if self.written is None and self.has_validation:
            self._without_stopping(self._measure_baseline)
        if self.written is None or is_due(self.written, self.cost):
            self._without_stopping(self._write)

    def finish(self):
        """Add the worst validation cases of the kept epoch, and write the page for the last time."""
        self.state = "finished"
        if self.has_validation:
            self._without_stopping(self._find_cases)
        self._without_stopping(self._write)

    def close(self):
        """Say so on the page where the training ends before its time."""
        cause = sys.exception()
        if isinstance(cause, TrainingInterrupted):
            self.state = f"stopped by {cause.cause}; the same command goes on"
        elif isinstance(cause, RunError):
            self.state = f"failed: {cause.problem}"
        else:
            return
        self._without_stopping(self._write)

    def _measure_baseline(self):
        self.baseline = score_mean_mask(self.manifest)

    def _find_cases(self):
        limits = {"batch_size": self.recipe.batch_size, "seconds": self.schedule.stopwatch.seconds() / COST_FACTOR}
        with weights_of(self.model, self.run / MODEL):
            self.cases, self.case_count = find_worst(self.model, self.manifest, window=self.recipe.window, **limits)

    def _write(self):
        begun = time.monotonic()
        write_page(build_run_page(self), self.run / PAGE)
        self.written = time.monotonic()
        self.cost = self.written - begun

    def _without_stopping(self, act):
        try:
            act()
        except Exception as problem:
            if not self.warned:
                self.warned = True
                text = f"{self.run / PAGE}: not complete ({type(problem).__name__}: {problem}). The training goes on."
                warnings.warn(text, stacklevel=3)
