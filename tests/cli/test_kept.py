"""What a command finds it keeps: the folder of a run, a mask."""

import keras
import pytest

import mcc_keras as mk


@pytest.fixture(scope="module")
def finished(tmp_path_factory, write_run):
    inputs = keras.Input((16, 16, 16, 1))
    model = keras.Model(inputs, keras.layers.Conv3D(1, 1, activation="sigmoid")(inputs))
    return write_run(tmp_path_factory.mktemp("finished") / "run", model, mk.Preprocessing(size=16)).folder


def test_a_run_folder_that_is_full_is_refused_and_kept(prepared, finished, complaints):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    code, lines = complaints("train", prepared / "work", finished, "--epochs", 1)
    assert (code, len(lines)) == (2, 1)
    assert str(finished) in lines[0]
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_a_mask_that_exists_is_kept_and_a_missing_scan_is_named(prepared, finished, tmp_path, complaints):
    kept, other = tmp_path / "kept.nii.gz", tmp_path / "other.nii"
    kept.write_bytes(b"mine")
    scan = mk.find_cases(prepared / "pairs")[0].images[0]
    code, lines = complaints("segment", "--run", finished, scan, "-o", kept)
    assert (code, len(lines), kept.read_bytes()) == (2, 1, b"mine")
    code, lines = complaints("segment", "--run", finished, tmp_path / "no.nii.gz", "-o", other)
    assert (code, len(lines)) == (3, 1)
    assert "no.nii.gz" in lines[0]
    assert not other.exists()
