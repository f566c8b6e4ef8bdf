"""The run folder: what a training leaves behind, and how later stages read it.

recipe.json          `Recipe`: the settings of the training
data.json            `RunData`: the records, the task, and the cases of each part with the hashes of their files
preprocessing.json   `Preprocessing`: what is done to a scan before the network sees it
model.keras          the epoch with the best validation Dice
history.csv          one row per epoch
report.html          `RunPage`: curves, recipe and worst cases on one page, rewritten after epochs
logs/                TensorBoard
generations/         what the training needs to go on, if it is stopped
run.json             `RunResult`, written last: a folder with it is a finished run
segmenter.json       `StoredOptions`: how probabilities become masks, where `evaluate --try` has found something better
fingerprint.json     the model's fingerprint (`mcc_keras.segmentation.fingerprint`), absent from earlier runs
failed.json          `Failure` instead, where a loss or a weight became NaN
"""

import csv
import dataclasses
import functools
from pathlib import Path

from mcc_keras.documents import read_document, to_text, write_document
from mcc_keras.errors import RunError, UsageError
from mcc_keras.files import write_text
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.runs import recipe as recipes
from mcc_keras.runs.data import RunData
from mcc_keras.runs.mask_options import read_mask_options
from mcc_keras.runs.recipe import Recipe

MODEL, RESULT, PREPROCESSING, HISTORY, LOGS = "model.keras", "run.json", "preprocessing.json", "history.csv", "logs"
RECIPE, DATA, FAILED, LOCK = "recipe.json", "data.json", "failed.json", ".lock"
PAGE, GENERATIONS = "report.html", "generations"
RESULT_SCHEMA, DATA_SCHEMA, FAILURE_SCHEMA = 2, 1, 1
AGAIN = "Train again."


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunResult:
    """What came out of a training.

    Args:
        best_epoch: The epoch that was kept, from 1.
        best_value: Its validation Dice; `None` without a validation part.
        steps: Updates of the weights.
        seconds: Duration of the epochs.
        saving_seconds: How long of it the state was saved, so that the training can go on after a stop.
        parameters: Weights of the network.
        speed: Measured rates of the pipeline, as `Throughput.to_dict` gives them.
        versions: Package → version.
    """

    best_epoch: int
    best_value: float | None
    steps: int
    seconds: float
    parameters: int
    speed: dict[str, float]
    versions: dict[str, str]
    saving_seconds: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a training ended without a result.

    Args:
        epoch: Epoch, from 1.
        step: Step of the epoch, from 1.
        cases: Ids of the cases in the batch.
        first: What was not finite first: `"input"`, `"loss"` or `"gradient"`.
    """

    epoch: int
    step: int
    cases: tuple[str, ...]
    first: str

    @property
    def reason(self):
        """One sentence."""
        cases = ", ".join(self.cases)
        return f"the {self.first} was not finite in epoch {self.epoch}, step {self.step}, cases {cases}"


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        folder: The run folder.
        recipe: `Recipe`.
        data: `RunData`.
        preprocessing: The `Preprocessing` that the network was trained with.
        result: `RunResult`.
    """

    folder: Path
    recipe: Recipe
    data: RunData
    preprocessing: Preprocessing
    result: RunResult

    @property
    def task(self):
        """The `Task`."""
        return self.data.task

    @functools.cached_property
    def mask_options(self):
        """The `MaskOptions`, with the flips of the training where no others were found."""
        options = read_mask_options(self.folder)
        if options.flip_axes is not None:
            return options
        return dataclasses.replace(options, flip_axes=self.recipe.flip_axes)

    @functools.cached_property
    def history(self):
        """One dict of numbers per epoch, read when it is first asked for."""
        return read_history(self.folder / HISTORY)


def start_run(folder, *, recipe, data, preprocessing):
    """Create a run folder with the settings and the data of the training; return its path.

    The files of a training that was stopped are left as they are; those of a call that was killed before it had written
    all of them may be of other settings, and are replaced.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        DATA: to_text(data, schema=DATA_SCHEMA),
        PREPROCESSING: preprocessing.to_json(),
        RECIPE: recipe.to_json(),  # last: a folder with it is a run
    }
    begun = (folder / RECIPE).is_file()
    for name, text in texts.items():
        if not (begun and (folder / name).is_file()):
            write_text(folder / name, text)
    return folder


def finish_run(folder, result):
    """Write `run.json`, the last file of a run, and return the `Run`."""
    write_document(result, Path(folder) / RESULT, schema=RESULT_SCHEMA)
    return read_run(folder)


def read_run(run):
    """Return the `Run` of a folder; a `Run` comes back as it is.

    Raises:
        RunError: The folder is missing, holds no finished run, or one of its files is damaged.
    """
    if isinstance(run, Run):
        return run
    folder = Path(run)
    refuse_failed_run(folder)
    missing = [name for name in (RESULT, RECIPE, DATA, MODEL, PREPROCESSING) if not (folder / name).is_file()]
    if missing:
        raise RunError(folder, f"expected a finished run, found no {', '.join(missing)}", "Train it with `train`.")

    def read(name, kind, schema):
        return read_document(folder / name, kind, schema=schema, error=RunError, way_out=AGAIN)

    return Run(
        folder=folder,
        recipe=read(RECIPE, Recipe, recipes.SCHEMA),
        data=read(DATA, RunData, DATA_SCHEMA),
        preprocessing=Preprocessing.from_json((folder / PREPROCESSING).read_bytes(), path=folder / PREPROCESSING),
        result=read(RESULT, RunResult, RESULT_SCHEMA),
    )


def read_runs(runs):
    """Return the `Run`s of one folder or `Run`, or of a list of them.

    Raises:
        RunError: As `read_run`.
        UsageError: Runs of other labels or channels.
    """
    given = [runs] if isinstance(runs, str | Path | Run) else list(runs)
    if not given:
        raise UsageError("`run` must be a run folder or a list of them. Received: none.")
    found = [read_run(run) for run in given]
    for name in ("labels", "background", "channel_names"):
        values = {str(getattr(run.task, name)): run for run in found}
        if len(values) > 1:
            (one, first), (other, second) = list(values.items())[:2]
            raise UsageError(
                f"All runs must have the same {name.replace('_', ' ')}. Received: {one} in {first.folder}, {other} in"
                f" {second.folder}."
            )
    return found


def refuse_failed_run(folder):
    """Refuse a run whose training failed.

    Raises:
        RunError: With the reason.
    """
    folder = Path(folder)
    if (folder / FAILED).is_file():
        failure = read_document(folder / FAILED, Failure, schema=FAILURE_SCHEMA, error=RunError)
        way_out = "Train into another folder with a smaller learning rate, or look at these cases with `check`."
        raise RunError(folder, f"expected a finished run, found a failed one: {failure.reason}", way_out)


def read_history(path):
    """Return the rows of `history.csv` as dicts of numbers.

    Raises:
        RunError: The file is missing or damaged.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise RunError(path, f"expected numbers in columns, found: {error}", AGAIN) from error
