"""The whole way on synthetic volumes, in minutes on a laptop: what each stage of the package does, on real files.

data/               synthetic scans and masks as NIfTI, cases.csv
check.html          what the data doctor says about them
work/               records for training
run/                the trained network; run/test/report.html shows how good it is
served/organ/1/     the SavedModel
new_scan.nii.gz     a scan that none of this has seen, and new_scan_mask.nii.gz, the SavedModel's mask of it
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcc_keras.checks import check_cases
from mcc_keras.datasets.cases import find_cases
from mcc_keras.datasets.phantom import random_volume
from mcc_keras.datasets.synthetic import write_synthetic
from mcc_keras.errors import OutputExistsError
from mcc_keras.evaluation.evaluate import evaluate
from mcc_keras.evaluation.measures import MEASURES, Comparison
from mcc_keras.evaluation.scores import Scores
from mcc_keras.listing import find_files, read_listing, remove_listed, write_listing
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.write import write_tfrecords
from mcc_keras.training.train import train
from mcc_keras.volumes import read_volume, write_mask, write_volume

COMMAND = "demo"
FOLDERS = ("data/", "work/", "run/", "served/")
NUM_CASES = 64  # about 39 to train on, 9 to choose the epoch, 16 to score: 13 or 14 with the organ, 2 or 3 without
SIZE = (64, 64, 32)  # close to the grid of a scan, so that little of the surface is lost
EPOCHS = 45  # of 19 or 20 steps: about three minutes on two cores; then the validation Dice has settled
BATCH_SIZE = 2


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
    competes for the cores (see `train`).

    Args:
        folder: Where everything is written; empty or not there yet.
        seed: Integer seed of the scans, the split and the training.
        overwrite: Replace an earlier demo in this folder; a folder of anything else is refused all the same.
        progress: None, or a callable that gets a line of text as each stage begins.

    Returns:
        A `DemoResult`.

    Raises:
        OutputExistsError: The folder is not empty.

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "thesis.txt").write_text("mine")
    ...     run_demo(folder)
    Traceback (most recent call last):
    mcc_keras.errors.OutputExistsError: ...: expected a free name, found a folder that is not empty...
    """
    folder = _start(folder, overwrite=overwrite)
    stages = _Stages(folder, progress)
    try:
        return _walk(folder, stages, seed=seed, quiet=progress is None)
    finally:
        stages.end()


def _walk(folder, stages, *, seed, quiet):
    from mcc_keras.serving.export import export_saved_model  # here, so that no refusal waits for TensorFlow

    stages.begin("write", f"writing {NUM_CASES} synthetic scans to {folder / 'data'}")
    source = write_synthetic(folder / "data", num_cases=NUM_CASES, seed=seed)
    cases = find_cases(source)

    stages.begin("check", "checking every scan and mask")
    report = check_cases(cases, workers=1)
    report.write_html(folder / "check.html")
    report.raise_for_errors()

    stages.begin("prepare", f"preparing records of {'×'.join(map(str, SIZE))} voxels")
    preprocessing = Preprocessing(size=SIZE)
    write_tfrecords(cases, folder / "work", preprocessing=preprocessing, seed=seed, workers=1)

    stages.begin("train", "training Dense V-Net with the MCC loss")
    verbose = 0 if quiet else "auto"
    run = train(folder / "work", folder / "run", epochs=EPOCHS, batch_size=BATCH_SIZE, seed=seed, verbose=verbose)

    stages.begin("evaluate", "scoring the test part on the scans' own grids")
    scores = evaluate(run, part="test")

    stages.begin("export", f"exporting the SavedModel to {folder / 'served' / 'organ'}")
    saved_model = export_saved_model(run, folder / "served" / "organ")

    stages.begin("segment", "segmenting a new scan with the SavedModel")
    scan, mask, new_dice = _segment_new_scan(folder, saved_model, seed=seed)
    return DemoResult(scores, saved_model, scan, mask, new_dice, stages.end())


def _start(folder, *, overwrite):
    """Make the folder ready: empty, or holding only files that no demo wrote."""
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        listing = read_listing(folder, command=COMMAND)
        if listing is None or not overwrite:
            found = "a folder that is not empty" if listing is None else "an earlier demo"
            way_out = "Choose another folder" + ("." if listing is None else ", or allow overwriting.")
            raise OutputExistsError(folder, found, way_out)
        left = [name for name in remove_listed(folder, listing) if name.startswith(FOLDERS)]
        if left:
            problem = f"files that the demo has not listed: {', '.join(left[:5])}"
            raise OutputExistsError(folder, problem, "Move them away, or choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _segment_new_scan(folder, saved_model, *, seed):
    import tensorflow as tf

    from mcc_keras.serving.export import SIGNATURE

    new = random_volume([seed, NUM_CASES])
    scan = write_volume(new.image[..., 0], folder / "new_scan.nii.gz", affine=new.affine)
    volume = read_volume(scan)
    served = tf.saved_model.load(str(saved_model)).signatures[SIGNATURE]
    image, affine = volume.array[..., None].astype(np.float32), volume.affine.astype(np.float32)
    mask = served(image=tf.constant(image), affine=tf.constant(affine))["mask"].numpy()
    dice = MEASURES["dice"].value(Comparison(new.mask > 0, mask > 0))
    return scan, write_mask(mask, folder / "new_scan_mask.nii.gz", like=volume), dice


class _Stages:
    """Reports each stage as it begins, keeps its duration, and lists the files that the demo has written."""

    def __init__(self, folder, progress):
        self.folder, self.progress, self.seconds, self.name, self.begun = folder, progress, {}, None, time.monotonic()
        self.others = set(find_files(folder))

    def begin(self, name, text):
        self.end()
        self.name, self.begun = name, time.monotonic()
        if self.progress is not None:
            self.progress(text)

    def end(self):
        if self.name is not None:
            self.seconds[self.name] = time.monotonic() - self.begun
        write_listing(self.folder, command=COMMAND, files=sorted(set(find_files(self.folder)) - self.others))
        return self.seconds
