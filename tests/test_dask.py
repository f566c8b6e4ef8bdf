"""`check`, `prepare` and `segment_many` on a Dask cluster of two local workers: the way beyond one machine."""

import sys

import joblib
import keras
import nibabel as nib
import numpy as np
import pytest

import mcc_keras as mk
from mcc_keras.errors import VolumeError
from mcc_keras.segmentation.fingerprint import fingerprint_run

distributed = pytest.importorskip("distributed", reason="needs the extra `test`")


@pytest.fixture(scope="module")
def cluster():
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        distributed.LocalCluster(**options) as local,
        distributed.Client(local) as client,
        joblib.parallel_config(backend="dask"),
    ):
        yield client


def have_worked(client, module):
    """Whether a module was imported on each worker, where nothing else would import it."""
    return list(client.run(lambda: module in sys.modules).values())


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_check_and_prepare_give_what_one_process_gives(cluster, write_pairs, tmp_path):
    cases = mk.find_cases(write_pairs(count=6))
    box = mk.Preprocessing(size=16)
    assert have_worked(cluster, "mcc_keras.checks.case") == [False, False]
    report = mk.check_cases(cases)
    mk.write_tfrecords(cases, tmp_path / "cluster", preprocessing=box, workers=2, command="prepare")
    assert any(have_worked(cluster, "mcc_keras.checks.case"))
    assert any(have_worked(cluster, "mcc_keras.records.shards"))
    with joblib.parallel_config(backend="loky"):
        assert mk.check_cases(cases, workers=1).rows == report.rows
        mk.write_tfrecords(cases, tmp_path / "here", preprocessing=box, workers=1, command="prepare")
    assert files_of(tmp_path / "cluster" / "sets") == files_of(tmp_path / "here" / "sets")


def test_each_worker_segments_a_part_of_the_scans(cluster, write_run, write_pairs, tmp_path):
    inputs = keras.Input((None, None, None, 1))
    model = keras.Model(inputs, keras.layers.Conv3D(1, 1, activation="sigmoid")(inputs))
    run = write_run(tmp_path / "run", model, mk.Preprocessing(size=16)).folder
    scans = write_pairs(count=7)
    (scans / "case3.nii.gz").write_bytes(b"no scan")
    assert have_worked(cluster, "mcc_keras.segmentation.segmenter") == [False, False]
    reported = []
    done = mk.segment_many(run, scans, tmp_path / "out", report=reported.append)
    assert have_worked(cluster, "mcc_keras.segmentation.segmenter") == [True, True]
    assert (len(done.written), done.exit_code, reported) == (6, 3, list(done.problems))
    assert isinstance(done.problems[0], VolumeError) and "case3" in str(done.problems[0])
    with joblib.parallel_config(backend="loky"):
        again = mk.segment_many(run, scans, tmp_path / "out")
        alone = mk.segment(run, scans / "case0.nii.gz", tmp_path / "alone.nii.gz")
    assert len(again.skipped) == 6
    assert nib.load(alone).header["descrip"].item().decode().endswith(fingerprint_run(run))
    assert np.array_equal(nib.load(alone).dataobj, nib.load(tmp_path / "out" / "case0.nii.gz").dataobj)
