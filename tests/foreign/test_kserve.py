"""The real KServe answers from an export by `export/kserve/segmenter.py`: client, curl lines and an independent client.

MCC_KERAS_KSERVE_PYTHON names an interpreter with kserve, tritonclient[grpc] and the TensorFlow of this environment, and
nothing of mcc_keras (make test-foreign).
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import nibabel as nib
import numpy as np
import pytest
from nifti_files import save
from servers import ASK_OVER_GRPC, FOREIGN, PATIENCE_SECONDS, free_ports, started

from mcc_keras.errors import EnvironmentFailure
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.segmentation.segment import segment
from mcc_keras.serving.address import Credentials, parse_address
from mcc_keras.serving.client import segment_remote
from mcc_keras.serving.export import export_saved_model
from mcc_keras.serving.over_rest import RestServer
from mcc_keras.serving.refusals import Refusal

PYTHON = os.environ.get("MCC_KERAS_KSERVE_PYTHON")
pytestmark = pytest.mark.skipif(not PYTHON, reason="MCC_KERAS_KSERVE_PYTHON names no kserve: make test-foreign")
EXPORT = Path(__file__).parents[2] / "export"
MORE_THAN_KSERVE_TAKES = 8 << 20  # bytes, by default


@pytest.fixture(scope="module")
def run(write_run, tmp_path_factory):
    keras.utils.set_random_seed(5)
    layers = keras.layers
    inside = layers.Conv3D(4, 3, padding="same", activation="tanh")
    outside = layers.Conv3D(1, 3, padding="same", activation="sigmoid")
    network = keras.Sequential([keras.Input((16, 16, 16, 1)), inside, outside])
    return write_run(tmp_path_factory.mktemp("runs") / "one", network, Preprocessing(size=16)).folder


@pytest.fixture(scope="module")
def ports(run, tmp_path_factory):
    """Yield the ports of a server: REST, gRPC."""
    folder = tmp_path_factory.mktemp("kserve")
    export_saved_model(run, folder / "served")
    rest, grpc = free_ports(2)
    program = [PYTHON, EXPORT / "kserve" / "segmenter.py", "--model_dir", folder / "served"]
    command = [*program, "--http_port", rest, "--grpc_port", grpc]
    environment = os.environ | FOREIGN
    with started(command, port=rest, path="/v1/models/segmenter", folder=folder, environment=environment):
        yield rest, grpc


@pytest.fixture
def scan(tmp_path):
    voxels = np.random.default_rng(1).normal(100, 30, (13, 10, 7))
    return save(tmp_path / "scan.nii.gz", voxels.astype(np.int16))


@pytest.fixture
def url(ports):
    return f"http://localhost:{ports[0]}"


def assert_same_file(path, other):
    there, here = nib.load(path), nib.load(other)
    np.testing.assert_array_equal(np.asarray(there.dataobj), np.asarray(here.dataobj))
    assert there.header.binaryblock == here.header.binaryblock


def test_the_client_gets_the_mask_of_segment(run, url, scan, tmp_path):
    there = segment_remote(url, scan, tmp_path / "there.nii.gz", timeout_seconds=PATIENCE_SECONDS)
    assert_same_file(there, segment(run, scan, tmp_path / "here.nii.gz"))
    assert set(np.unique(nib.load(there).dataobj)) == {0, 1}


def test_the_curl_lines_of_the_readme_get_the_mask_of_segment(run, url, scan, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    lines = re.findall(r"^    (\{ printf .*|curl .*|python3 -c .*)$", (EXPORT / "README.md").read_text(), re.MULTILINE)
    text = "\n".join(lines).replace("http://localhost:8501", url).replace("python3", sys.executable)
    subprocess.run(["bash", "-euc", text], check=True, cwd=tmp_path)
    assert_same_file(tmp_path / "mask.nii", segment(run, scan, tmp_path / "here.nii"))


def test_an_independent_client_gets_a_mask_of_more_than_8_mb_over_grpc(run, ports, tmp_path):
    voxels = np.random.default_rng(2).integers(0, 200, (256, 256, 132)).astype(np.uint8)
    scan = save(tmp_path / "scan.nii", voxels)
    command = [PYTHON, "-c", ASK_OVER_GRPC, f"localhost:{ports[1]}", scan, tmp_path / "there.nii"]
    subprocess.run(list(map(str, command)), check=True, cwd=tmp_path, env=os.environ | FOREIGN)
    assert (tmp_path / "there.nii").stat().st_size > MORE_THAN_KSERVE_TAKES
    assert_same_file(tmp_path / "there.nii", segment(run, scan, tmp_path / "here.nii"))


def test_a_bad_scan_and_an_unknown_model_have_clear_errors(url, scan, tmp_path):
    server = RestServer(parse_address(url), Credentials(), model_name="segmenter")
    with pytest.raises(Refusal, match="INVALID_ARGUMENT.*expected a gzip stream"):
        server.segment_bytes([scan.read_bytes()[:-9]], PATIENCE_SECONDS, largest_mask=1000)
    with pytest.raises(EnvironmentFailure, match="the server has no model 'liver'"):
        segment_remote(url, scan, tmp_path / "mask.nii", model_name="liver")
