"""What every test may use: a quiet and fast TensorFlow, seeds, and a tiny data set on disk."""

import locale
import os
import random

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")  # gradients are added in one order, whatever else is running

import mcc_keras  # noqa: F401, I001  before keras and tensorflow, which the tests import in alphabetical order

import hypothesis
import numpy as np
import pytest

# The same examples in every run, however slow the machine is.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None)
hypothesis.settings.load_profile("suite")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Seed what draws without a seed of its own; before any fixture, whatever its scope.

    Keras takes the seeds of layers from Python. TensorFlow's own seed stays: setting it empties the cache of compiled
    functions that tests share.
    """
    random.seed(0)
    np.random.seed(0)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    """Undo what some readers of SimpleITK leave behind: the locale C, in which Python's text files are ASCII."""
    locale.setlocale(locale.LC_CTYPE, "")


@pytest.fixture
def write_pairs(tmp_path):
    """Return a function that writes a folder of pairs: bright cubes of 6³ voxels in noise, in volumes of 16³."""

    def write(folder=tmp_path / "pairs", *, count=5):
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            rng = np.random.default_rng(index)
            start = rng.integers(2, 8, 3)
            mask = np.zeros((16, 16, 16), np.uint8)
            mask[tuple(slice(n, n + 6) for n in start)] = 1
            image = (rng.normal(100, 10, mask.shape) + 100 * mask).astype(np.int16)
            save(image, folder / f"case{index}.nii.gz")
            save(mask, folder / f"case{index}_mask.nii.gz")
        return folder

    return write


def save(array, path):
    # Here, since the environments of other backends, which run the losses' tests, need no nibabel.
    import nibabel as nib

    nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0])), path)


@pytest.fixture(scope="session")
def write_run():
    """Return a function that writes a finished run of any Keras model, without training it."""

    def write(folder, model, preprocessing, *, task=None, work="nowhere", augment="default", cases=None):
        import mcc_keras as mk
        from mcc_keras.runs.data import RunData
        from mcc_keras.runs.run import HISTORY, MODEL, RunResult, finish_run, start_run

        task = task or mk.Task(channel_names=tuple(f"image{i}" for i in range(model.input_shape[-1])))
        shape = (*preprocessing.size, model.input_shape[-1])
        data = RunData(work=str(work), manifest_sha256="0" * 64, task=task, image_shape=shape, cases=cases or {})
        start_run(folder, recipe=mk.Recipe(epochs=2, augment=augment), data=data, preprocessing=preprocessing)
        model.save(folder / MODEL)
        history = "epoch,loss,dice,val_loss,val_dice\n1,0.9,0.1,0.8,0.2\n2,0.7,0.3,0.6,0.4\n"
        (folder / HISTORY).write_text(history)
        numbers = {"best_epoch": 2, "best_value": 0.4, "steps": 4, "seconds": 1.5, "parameters": model.count_params()}
        return finish_run(folder, RunResult(**numbers, speed={}, versions={}))

    return write
