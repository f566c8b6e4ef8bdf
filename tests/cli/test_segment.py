"""`mcc-keras segment` with a folder as output: lines, exit codes, and what is written."""

import keras
import nibabel as nib
import numpy as np
import pytest

import mcc_keras as mk
from mcc_keras.cli import main


@pytest.fixture(scope="module")
def run(write_run, tmp_path_factory):
    inputs = keras.Input((None, None, None, 1))
    model = keras.Model(inputs, keras.layers.Conv3D(1, 1, activation="sigmoid")(inputs))
    return write_run(tmp_path_factory.mktemp("cli") / "run", model, mk.Preprocessing(size=8)).folder


@pytest.fixture
def scans(tmp_path):
    (tmp_path / "scans").mkdir()
    for number in range(4):
        voxels = np.random.default_rng(number).integers(0, 200, (8, 8, 8)).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "scans" / f"case{number}.nii.gz")
    return tmp_path / "scans"


def segment(capsys, *arguments):
    """Return the exit code, what is on stdout, and the lines on stderr."""
    code = main(["segment", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err.splitlines()


def test_a_folder_as_output_takes_many_scans(run, scans, tmp_path, capsys):
    out = tmp_path / "masks"
    assert segment(capsys, "--run", run, scans, "-o", out) == (0, f"{out}: 4 masks written\n", [])
    assert len(list(out.glob("*.nii.gz"))) == 4
    assert segment(capsys, "--run", run, scans, "-o", out)[1] == f"{out}: 0 masks written, 4 there already\n"


def test_a_bad_scan_is_a_line_and_the_exit_code_is_that_of_data(run, scans, tmp_path, capsys):
    bad = scans / "case1.nii.gz"
    bad.write_bytes(bad.read_bytes()[:-9])
    code, printed, lines = segment(capsys, "--run", run, scans, "-o", tmp_path / "masks")
    assert (code, len(lines)) == (3, 1)
    assert lines[0].startswith(f"{bad}: expected a whole gzip stream")
    assert printed == f"{tmp_path / 'masks'}: 3 masks written, 1 not: {bad}\n"


def test_masks_of_other_options_are_refused_in_the_words_of_the_command(run, scans, tmp_path, capsys):
    out = ["-o", tmp_path / "masks"]
    segment(capsys, "--run", run, scans, *out, "--largest-component")
    code, _, lines = segment(capsys, "--run", run, scans, *out)
    assert (code, len(lines)) == (2, 4)
    assert "found a mask of other options (--largest-component)" in lines[0]
    (scans / "case2.nii.gz").write_bytes(b"")
    code, _, lines = segment(capsys, "--run", run, scans, *out)
    assert (code, len(lines)) == (2, 4)  # it was not read: its mask is there
    (tmp_path / "masks" / "case2.nii.gz").unlink()
    code, _, lines = segment(capsys, "--run", run, scans, *out)
    assert (code, len(lines)) == (3, 4)
    assert segment(capsys, "--run", run, scans / "case0.nii.gz", *out, "--overwrite")[0] == 0


def test_shards_and_probabilities(run, scans, tmp_path, capsys):
    out = tmp_path / "masks"
    assert segment(capsys, "--run", run, scans, "-o", out, "--shard", "2/3", "--probability")[0] == 0
    assert sorted(path.name for path in out.glob("*.gz")) == ["case1.nii.gz", "case1_probability.nii.gz"]


@pytest.mark.parametrize("name", ["masks", "masks/", "with.dot/", "there.dir"])
def test_what_counts_as_a_folder(run, scans, tmp_path, capsys, name):
    (tmp_path / "there.dir").mkdir()
    code, _, lines = segment(capsys, "--run", run, scans / "case0.nii.gz", "-o", f"{tmp_path}/{name}")
    assert (code, lines) == (0, [])
    assert (tmp_path / name / "case0.nii.gz").is_file()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-o", "mask.png"], "A mask is written as"),
        (["-o", "mask.nii.gz", "--shard", "1/2"], "with a folder as output, take `--shard`."),
        (["-o", "mask.nii.gz", "--bids", "--workers", "2"], "take `--bids` and `--workers`."),
        (["-o", "masks", "--shard", "3/2"], "`--shard` must be"),
        (["-o", "masks", "--segment-codes", "codes.json"], "`--segment-codes` are written to a .dcm mask only"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(run, scans, capsys, arguments, named, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, _, lines = segment(capsys, "--run", run, scans / "case0.nii.gz", *arguments)
    assert (code, len(lines)) == (2, 1)
    assert named in lines[0]
    assert not list(tmp_path.glob("mask*"))


def test_a_shard_that_is_none_is_usage(run, scans, capsys):
    with pytest.raises(SystemExit, match="2"):
        segment(capsys, "--run", run, scans, "-o", "masks", "--shard", "half")
    assert "invalid shard value" in capsys.readouterr().err
