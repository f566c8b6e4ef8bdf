"""The run folder: what a training leaves behind, and how later stages read it.

model.keras          the epoch with the best validation Dice
run.json             every setting, the versions, the best epoch; written last: a folder with it is a finished run
preprocessing.json   what is done to a scan before the network sees it
history.csv          one row an epoch
logs/                TensorBoard
"""

import csv
import dataclasses
import json
from pathlib import Path

from mcc_keras.errors import OutputExistsError, RunError
from mcc_keras.files import write_text
from mcc_keras.preprocessing import Preprocessing

MODEL, SETTINGS, PREPROCESSING, HISTORY, LOGS = "model.keras", "run.json", "preprocessing.json", "history.csv", "logs"


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        folder: The run folder.
        settings: What `run.json` holds: every setting of the training, label values, versions, the best epoch.
        preprocessing: The `Preprocessing` that the network was trained with.
        history: One dict of numbers an epoch.
    """

    folder: Path
    settings: dict
    preprocessing: Preprocessing
    history: list

    @property
    def labels(self):
        """Mask labels of each foreground class."""
        return tuple(tuple(group) for group in self.settings["labels"])


def start_run(folder):
    """Create a run folder and return its path; a folder that is not empty is refused."""
    folder = refuse_used_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def refuse_used_folder(folder):
    """Return the path of a run folder that may be written: a new or an empty one.

    Raises:
        OutputExistsError: The folder is not empty, or a file.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        finished = (folder / SETTINGS).exists()
        found = "a finished run" if finished else "a folder that is not empty"
        raise OutputExistsError(folder, found, "Choose another run folder, or move this one away.")
    return folder


def finish_run(folder, settings):
    """Write `run.json`, the last file of a run, and return the `Run`."""
    write_text(Path(folder) / SETTINGS, json.dumps(settings, indent=2) + "\n")
    return read_run(folder)


def read_run(run):
    """Return the `Run` of a folder; a `Run` comes back as it is.

    Raises:
        RunError: The folder is missing or holds no finished run.
    """
    if isinstance(run, Run):
        return run
    folder = Path(run)
    missing = [name for name in (SETTINGS, MODEL, PREPROCESSING, HISTORY) if not (folder / name).is_file()]
    if missing:
        raise RunError(folder, f"expected a finished run, found no {', '.join(missing)}", "Train it with `train`.")
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(folder / SETTINGS, f"expected JSON, found something else ({error})") from error
    text = (folder / PREPROCESSING).read_text(encoding="utf-8")
    preprocessing = Preprocessing.from_json(text, path=folder / PREPROCESSING)
    return Run(folder, settings, preprocessing, read_history(folder / HISTORY))


def read_history(path):
    """Return the rows of `history.csv` as dicts of numbers."""
    with open(path, newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
