"""The real Triton answers from an export by `export/triton/`; the server is the one in the wheel of nvidia-pytriton.

MCC_KERAS_TF220_PYTHON names an interpreter with tensorflow-cpu, NumPy 1 and nvidia-pytriton, MCC_KERAS_KSERVE_PYTHON
one with tritonclient[grpc], an independent client (make test-foreign).
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import keras
import nibabel as nib
import numpy as np
import pytest
from nifti_files import save
from servers import ASK_OVER_GRPC, FOREIGN, free_ports, started

from mcc_keras.preprocessing import Preprocessing
from mcc_keras.segmentation.segmenter import Segmenter
from mcc_keras.serving.export import export_saved_model

PYTHON, CLIENT = os.environ.get("MCC_KERAS_TF220_PYTHON"), os.environ.get("MCC_KERAS_KSERVE_PYTHON")
pytestmark = pytest.mark.skipif(not (PYTHON and CLIENT), reason="no environments with Triton: make test-foreign")
EXAMPLE = Path(__file__).parents[2] / "export" / "triton" / "segmenter"
FIND = """
import importlib.util, json, sys, sysconfig
found = importlib.util.find_spec("pytriton")
version = f"{sys.version_info[0]}.{sys.version_info[1]}"
place = found.submodule_search_locations[0] if found else ""
print(json.dumps([place, version, sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME")]))
"""


@pytest.fixture(scope="module")
def installed():
    """Return the folders of Triton and of its libraries, its starter of Python, and the folder of libpython."""
    found = subprocess.run([PYTHON, "-c", FIND], check=True, capture_output=True, env=os.environ | FOREIGN)
    place, version, libraries, library = json.loads(found.stdout)
    if not place or ".so" not in library or not Path(libraries, library).exists():
        pytest.skip("needs nvidia-pytriton and a Python with a shared library")
    server = Path(place) / "tritonserver"
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    return server, Path(place).parent / "nvidia_pytriton.libs", stub, libraries


@pytest.fixture(scope="module")
def segmenter():
    keras.utils.set_random_seed(5)
    layers = keras.layers
    inside = layers.Conv3D(4, 3, padding="same", activation="tanh")
    outside = layers.Conv3D(1, 3, padding="same", activation="sigmoid")
    return Segmenter(keras.Sequential([keras.Input((16, 16, 16, 1)), inside, outside]), Preprocessing(size=16))


@pytest.fixture(scope="module")
def address(installed, segmenter, tmp_path_factory):
    server, libraries, stub, libpython = installed
    folder = tmp_path_factory.mktemp("triton")
    shutil.copytree(EXAMPLE, folder / "models" / "segmenter", ignore=shutil.ignore_patterns("__pycache__"))
    version = export_saved_model(segmenter, folder / "served")
    shutil.copytree(version, folder / "models" / "segmenter" / "1" / "saved_model")
    shutil.copytree(server / "backends" / "python", folder / "backends" / "python")
    programs = shutil.copy(stub, folder / "backends" / "python"), shutil.copy(server / "bin" / "tritonserver", folder)
    for program in programs:
        os.chmod(program, 0o755)
    rest, grpc, metrics = free_ports(3)
    folders = ["--model-repository", folder / "models", "--backend-directory", folder / "backends"]
    ports = ["--http-port", rest, "--grpc-port", grpc, "--metrics-port", metrics]
    environment = os.environ | FOREIGN
    environment["LD_LIBRARY_PATH"] = f"{libraries}:{libpython}"
    environment["PATH"] = f"{Path(PYTHON).parent}:{os.environ['PATH']}"  # the Python that Triton starts
    command = [folder / "tritonserver", *folders, *ports, "--disable-auto-complete-config"]
    with started(command, port=rest, path="/v2/health/ready", folder=folder, environment=environment):
        yield f"localhost:{grpc}"


def ask(address, scan, mask, **settings):
    command = [CLIENT, "-c", ASK_OVER_GRPC, address, scan, mask]
    environment = os.environ | FOREIGN
    return subprocess.run(list(map(str, command)), env=environment, cwd=mask.parent, **settings)


def test_triton_gives_the_mask(address, segmenter, tmp_path):
    array = np.random.default_rng(1).normal(100, 30, (13, 10, 7)).astype(np.int16)
    scan = save(tmp_path / "scan.nii.gz", array)
    ask(address, scan, tmp_path / "mask.nii", check=True)
    mask, affine = nib.load(tmp_path / "mask.nii"), nib.load(scan).affine.astype(np.float32)
    expected = segmenter.answer(array[..., None].astype(np.float32), affine)
    apart = np.abs(expected["probability"].numpy()[..., 0] - segmenter.threshold) < 1e-5  # another TensorFlow
    assert not ((np.asarray(mask.dataobj) != expected["mask"].numpy()) & ~apart).any()
    assert set(np.unique(mask.dataobj)) == {0, 1}


def test_triton_says_why_a_scan_is_refused(address, tmp_path):
    (tmp_path / "bad.nii").write_bytes(b"no header")
    done = ask(address, tmp_path / "bad.nii", tmp_path / "mask.nii", capture_output=True, text=True)
    assert done.returncode and "INVALID_ARGUMENT" in done.stderr and "assertion failed: [expected" in done.stderr
