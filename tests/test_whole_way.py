"""From scans on disk to a served mask, on tiny synthetic volumes: through Python and through the command line."""

import subprocess
import sys

import nibabel
import numpy as np
import pytest
import SimpleITK

import mcc_keras as mk
from mcc_keras import cli
from mcc_keras.datasets import write_synthetic

SIZE = (16, 16, 8)
# What a program without mcc_keras does with an exported model: plain TensorFlow and nibabel.
SERVE = """
import sys
import nibabel, numpy, tensorflow
model, scan, mask = sys.argv[1:]
image = nibabel.load(scan)
answer = tensorflow.saved_model.load(model).signatures["serving_default"](
    image=tensorflow.constant(image.get_fdata(dtype="float32")[..., None]),
    affine=tensorflow.constant(image.affine.astype("float32")),
)
numpy.save(mask, answer["mask"].numpy())
assert "mcc_keras" not in sys.modules
"""


def served_mask(model, scan, folder):
    # -I: neither the current folder nor the environment can lead to mcc_keras by accident.
    command = [sys.executable, "-I", "-c", SERVE, str(model), str(scan), str(folder / "served.npy")]
    subprocess.run(command, check=True, cwd=folder, capture_output=True, timeout=300)
    return np.load(folder / "served.npy")


def assert_opens_on_top_of(mask, scan):
    mask, scan = (SimpleITK.ReadImage(str(path)) for path in (mask, scan))
    assert mask.GetPixelID() == SimpleITK.sitkUInt8
    assert mask.GetSize() == scan.GetSize()
    for ours, theirs in (
        (mask.GetSpacing(), scan.GetSpacing()),
        (mask.GetOrigin(), scan.GetOrigin()),
        (mask.GetDirection(), scan.GetDirection()),
    ):
        assert np.allclose(ours, theirs, atol=1e-5)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    return write_synthetic(folder, num_cases=6, size=(20, 20, 10), foreground_fraction=0.05, empty_fraction=0.2)


def test_the_whole_way_in_python(source, tmp_path):
    cases = mk.find_cases(source)
    mk.check_cases(cases, workers=1).raise_for_errors()
    preprocessing = mk.Preprocessing(size=SIZE)
    manifest = mk.write_tfrecords(cases, tmp_path / "work", preprocessing=preprocessing, seed=7, workers=1)
    assert sum(manifest.counts.values()) == 6
    run = mk.train(tmp_path / "work", tmp_path / "run", loss="mcc", epochs=2, seed=7, verbose=0)
    assert len(run.history) == 2
    scores = mk.evaluate(tmp_path / "run", part="test")
    assert len(scores.rows) == manifest.counts["test"]
    assert scores.report_path.is_file()
    scan = cases[0].images[0]
    mask = mk.segment(tmp_path / "run", scan, tmp_path / "mask.nii.gz")
    model = mk.export_saved_model(tmp_path / "run", tmp_path / "served" / "organ")
    assert model.name == "1"
    assert np.array_equal(served_mask(model, scan, tmp_path), np.asarray(nibabel.load(mask).dataobj))
    assert_opens_on_top_of(mask, scan)


def test_the_whole_way_on_the_command_line(source, tmp_path, capsys):
    work, run, model = (str(tmp_path / name) for name in ("work", "run", "served"))
    scan, mask = str(source.parent / "images" / "case_001.nii.gz"), str(tmp_path / "mask.nii.gz")
    for line in (
        ["check", str(source), "--workers", "1"],
        ["prepare", str(source), work, "--size", "16,16,8", "--seed", "7", "--workers", "1"],
        ["train", work, run, "--epochs", "2", "--seed", "7", "--model-arguments", "depths=[1,1,1]"],
        ["evaluate", run],
        ["segment", "--run", run, scan, "-o", mask],
        ["export", run, model],
    ):
        assert cli.main(line) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert "mean Dice" in printed
    assert mask in printed
    assert (tmp_path / "run" / "test" / "report.html").is_file()
    assert np.array_equal(served_mask(f"{model}/1", scan, tmp_path), np.asarray(nibabel.load(mask).dataobj))
    assert_opens_on_top_of(mask, scan)
