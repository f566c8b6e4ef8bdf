"""The whole way on synthetic volumes, in minutes on a laptop: what each stage of the package does, on real files.

data/               synthetic scans and masks as NIfTI, cases.csv
check.html          what the data doctor says about them
work/               records for training
run/                the trained network; run/test/report.html shows how good it is
served/organ/1/     the SavedModel
new_scan.nii.gz     a scan that none of this has seen, and new_scan_mask.nii.gz, the SavedModel's mask of it
.unfinished.json    `Unfinished`, as long as the demo is not at its end: the same call goes on
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mcc_keras.checks import check_cases
from mcc_keras.datasets.cases import find_cases
from mcc_keras.datasets.phantom import random_volume
from mcc_keras.datasets.synthetic import write_synthetic
from mcc_keras.documents import read_document, write_document
from mcc_keras.errors import DataError, OutputExistsError
from mcc_keras.evaluation.evaluate import evaluate
from mcc_keras.evaluation.measures import MEASURES, Comparison
from mcc_keras.evaluation.scores import Scores
from mcc_keras.files import is_leftover, remove_leftovers, written_aside
from mcc_keras.listing import LISTING, Listing, find_files, read_listing, remove_listed, write_listing
from mcc_keras.locks import owned
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.write import write_tfrecords
from mcc_keras.training.train import train
from mcc_keras.volumes import read_volume, write_mask, write_volume

COMMAND = "demo"
FOLDERS = ("data/", "work/", "run/", "served/")
FILES = ("check.html", "new_scan.nii.gz", "new_scan_mask.nii.gz")
UNFINISHED, LOCK = ".unfinished.json", ".lock"
SCHEMA = 1
NUM_CASES = 64  # about 39 to train on, 9 to choose the epoch, 16 to score: 13 or 14 with the organ, 2 or 3 without
SIZE = (64, 64, 32)  # close to the grid of a scan, so that little of the surface is lost
EPOCHS = 45  # of 19 or 20 steps: about three minutes on two cores; then the validation Dice has settled
BATCH_SIZE = 2


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """A demo that has begun.

    Args:
        seed: Its seed.
        earlier: `Listing` of an earlier demo whose files are to be removed first.
    """

    seed: int
    earlier: Listing | None = None


@dataclass(frozen=True, eq=False)
class DemoResult:
    """What the demo made; `str(result)` says where it lies and how good it is.

    Args:
        scores: `Scores` of the test part.
        saved_model: Folder of the exported version.
        scan: A new scan.
        mask: The SavedModel's mask of it.
        new_dice: Dice of that mask.
        seconds: Mapping of stage to its duration.
    """

    scores: Scores
    saved_model: Path
    scan: Path
    mask: Path
    new_dice: float
    seconds: dict

    def __str__(self):
        """Return the table of scores and the paths of what was made."""
        return "\n".join(
            [
                str(self.scores),
                "",
                f"new scan    {self.scan}",
                f"its mask    {self.mask} (by the SavedModel, Dice {self.new_dice:.3f})",
                f"SavedModel  {self.saved_model}",
                f"report      {self.scores.report_path}",
            ]
        )


def run_demo(folder, *, seed=7, overwrite=False, progress=None):
    """Walk the whole way on synthetic volumes: write, check, prepare, train, evaluate, export, segment a new scan.

    The same seed gives the same scores on the same machine with the same number of threads, if nothing else
    competes for the cores (see `train`). The same call again goes on with a demo that was stopped.

    Args:
        folder: Where everything is written: empty, not there yet, or of a demo with the same seed that was stopped.
        seed: Integer seed of the scans, the split and the training.
        overwrite: Replace an earlier demo in this folder, and no other file; a folder of anything else is refused all
            the same.
        progress: None, or a callable that gets a line of text as each stage begins.

    Returns:
        A `DemoResult`.

    Raises:
        OutputExistsError: The folder is not empty, or holds a demo of another seed that was stopped.
        BusyError: Another process runs the demo in this folder.

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "thesis.txt").write_text("mine")
    ...     run_demo(folder)
    Traceback (most recent call last):
    mcc_keras.errors.OutputExistsError: ...: expected a free name, found a folder that is not empty...
    """
    folder = Path(folder)
    if _read_unfinished(folder) is None:  # one that has begun may be alive
        _refuse_other(folder, seed=seed, overwrite=overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    with owned(folder / LOCK, folder):
        _refuse_other(folder, seed=seed, overwrite=overwrite)
        remove_leftovers(folder)
        _begin(folder, seed=seed)
        result = _walk(folder, _Stages(progress), seed=seed, quiet=progress is None)
        write_listing(folder, command=COMMAND, files=_find_own(folder))
        (folder / UNFINISHED).unlink()
    return result


def _walk(folder, stages, *, seed, quiet):
    """Go through the stages, each of which does nothing, or the same again, where a killed call has ended it."""
    from mcc_keras.serving.export import export_saved_model  # here, so that no refusal waits for TensorFlow

    stages.begin("write", f"writing {NUM_CASES} synthetic scans to {folder / 'data'}")
    cases = find_cases(_write_scans(folder / "data", seed=seed))

    stages.begin("check", "checking every scan and mask")
    report = check_cases(cases, workers=1)
    report.write_html(folder / "check.html", overwrite=True)
    report.raise_for_errors()

    stages.begin("prepare", f"preparing records of {'×'.join(map(str, SIZE))} voxels")
    preprocessing = Preprocessing(size=SIZE)
    write_tfrecords(cases, folder / "work", preprocessing=preprocessing, seed=seed, workers=1, overwrite=True)

    stages.begin("train", "training Dense V-Net with the MCC loss")
    verbose = 0 if quiet else "auto"
    run = train(folder / "work", folder / "run", epochs=EPOCHS, batch_size=BATCH_SIZE, seed=seed, verbose=verbose)

    stages.begin("evaluate", "scoring the test part on the scans' own grids")
    scores = evaluate(run, part="test", overwrite=True)

    served = folder / "served" / "organ"
    stages.begin("export", f"exporting the SavedModel to {served}")
    saved_model = served / "1" if (served / "1").is_dir() else export_saved_model(run, served)

    stages.begin("segment", "segmenting a new scan with the SavedModel")
    scan, mask, new_dice = _segment_new_scan(folder, saved_model, seed=seed)
    return DemoResult(scores, saved_model, scan, mask, new_dice, stages.end())


def _refuse_other(folder, *, seed, overwrite):
    """Refuse a folder that is neither empty nor of a demo with this seed that was stopped, nor may be overwritten.

    Raises:
        OutputExistsError: With the way out.
    """
    if not folder.exists() or all(path.name == LOCK or is_leftover(path) for path in folder.iterdir()):
        return
    begun = _read_unfinished(folder)
    if begun is not None:
        if begun.seed != seed:
            way_out = f"Go on with it with seed={begun.seed}, or choose another folder."
            raise OutputExistsError(folder, f"a demo of seed={begun.seed} that was stopped", way_out)
        return
    listing = read_listing(folder, command=COMMAND)
    if listing is None:
        raise OutputExistsError(folder, "a folder that is not empty", "Choose another folder.")
    if not overwrite:
        raise OutputExistsError(folder, "an earlier demo", "Choose another folder, or allow overwriting.")
    others = sorted(set(_find_where_it_writes(folder)) - set(listing.files))
    if others:
        problem = f"files that the demo has not listed: {', '.join(others[:5])}"
        raise OutputExistsError(folder, problem, "Move them away, or choose another folder.")


def _begin(folder, *, seed):
    """Mark the folder, also where a stopped call has marked it, and remove the files of an earlier demo."""
    begun = _read_unfinished(folder)
    if begun is None:
        begun = Unfinished(seed=seed, earlier=read_listing(folder, command=COMMAND))
        write_document(begun, folder / UNFINISHED, schema=SCHEMA)
    if begun.earlier is not None:
        (folder / LISTING).unlink(missing_ok=True)
        remove_listed(folder, begun.earlier)
        write_document(replace(begun, earlier=None), folder / UNFINISHED, schema=SCHEMA)


def _read_unfinished(folder):
    """Return the `Unfinished` of a demo that was stopped; `None` where there is none, or another program's file."""
    try:
        return read_document(folder / UNFINISHED, Unfinished, schema=SCHEMA)
    except DataError:
        return None


def _find_own(folder):
    """Return the files that the demo has written, as paths relative to the folder."""
    scans = {f"data/{name}" for name in (LISTING, *read_listing(folder / "data", command=COMMAND).files)}
    return [name for name in _find_where_it_writes(folder) if name in scans or not name.startswith("data/")]


def _find_where_it_writes(folder):
    return [name for name in find_files(folder) if name.startswith(FOLDERS) or name in FILES]


def _write_scans(folder, *, seed):
    """Write the scans in one step, unless they are there; return their table."""
    if read_listing(folder, command=COMMAND) is None:
        if folder.exists() and any(folder.iterdir()):
            raise OutputExistsError(folder, "something that the demo did not write", "Move it away.")
        with written_aside(folder) as aside:
            write_synthetic(aside, num_cases=NUM_CASES, seed=seed)
            write_listing(aside, command=COMMAND)
    return folder / "cases.csv"


def _segment_new_scan(folder, saved_model, *, seed):
    new = random_volume([seed, NUM_CASES])
    scan = write_volume(new.image[..., 0], folder / "new_scan.nii.gz", affine=new.affine, overwrite=True)
    volume = read_volume(scan)
    mask = _served_mask(saved_model, volume)
    dice = MEASURES["dice"].value(Comparison(new.mask > 0, mask > 0))
    return scan, write_mask(mask, folder / "new_scan_mask.nii.gz", like=volume, overwrite=True), dice


def _served_mask(saved_model, volume):
    import tensorflow as tf

    from mcc_keras.serving.export import SIGNATURE

    served = tf.saved_model.load(str(saved_model)).signatures[SIGNATURE]
    image, affine = volume.array[..., None].astype(np.float32), volume.affine.astype(np.float32)
    return served(image=tf.constant(image), affine=tf.constant(affine))["mask"].numpy()


class _Stages:
    """Reports each stage as it begins, and keeps its duration."""

    def __init__(self, progress):
        self.progress, self.seconds, self.name, self.begun = progress, {}, None, time.monotonic()

    def begin(self, name, text):
        self.end()
        self.name, self.begun = name, time.monotonic()
        if self.progress is not None:
            self.progress(text)

    def end(self):
        if self.name is not None:
            self.seconds[self.name] = time.monotonic() - self.begun
        return self.seconds
