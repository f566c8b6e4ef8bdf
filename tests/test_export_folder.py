"""What stands in export/: the configuration agrees with itself, the example and an independent client get the mask."""

import ast
import importlib.util
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import nibabel as nib
import numpy as np
import pytest

from mcc_keras.preprocessing import Preprocessing
from mcc_keras.processors import ONEDNN
from mcc_keras.segmentation.segmenter import Segmenter
from mcc_keras.serving.client import segment_remote
from mcc_keras.serving.export import export_saved_model

EXPORT = Path(__file__).parents[1] / "export"
AFFINE = np.array([[-0.8, 0, 0.2, 30], [0, 1.1, 0, -20], [0.1, 0, 2.0, 5], [0, 0, 0, 1.0]])
MODEL_NAME = inspect.signature(segment_remote).parameters["model_name"].default


def read_yaml(name):
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    return list(yaml.safe_load_all((EXPORT / name).read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def segmenter():
    keras.utils.set_random_seed(5)
    layers = keras.layers
    inside = layers.Conv3D(4, 3, padding="same", activation="tanh")
    outside = layers.Conv3D(1, 3, padding="same", activation="sigmoid")
    return Segmenter(keras.Sequential([keras.Input((16, 16, 16, 1)), inside, outside]), Preprocessing(size=16))


@pytest.fixture(scope="module")
def serving_fixture():
    path = Path(__file__).with_name("serving") / "serving_fixture.py"
    specification = importlib.util.spec_from_file_location("serving_fixture", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model(serving_fixture, segmenter, tmp_path_factory):
    return serving_fixture.ServedModel(export_saved_model(segmenter, tmp_path_factory.mktemp("served")).parent)


@pytest.fixture(scope="module")
def address(serving_fixture, model):
    with serving_fixture.served(model) as address:
        yield address


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(3).normal(100, 30, (12, 11, 9, 1)).astype(np.float32)


@pytest.fixture
def scan(image, tmp_path):
    nib.save(nib.Nifti1Image(image[..., 0], AFFINE), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def assert_mask(path, segmenter, image, scan):
    mask, stored_affine = nib.load(path), nib.load(scan).affine
    expected = segmenter.segment(image, stored_affine.astype(np.float32))["mask"].numpy()
    assert mask.get_data_dtype() == np.uint8 and set(np.unique(expected)) == {0, 1}
    np.testing.assert_array_equal(np.asarray(mask.dataobj), expected)
    np.testing.assert_array_equal(mask.affine, stored_affine)


def test_the_example_gets_the_mask_with_the_protocol_alone(segmenter, address, image, scan, tmp_path):
    command = [sys.executable, EXPORT / "segment_over_grpc.py", address, scan, tmp_path / "mask.nii"]
    done = subprocess.run(list(map(str, command)), check=True, cwd=tmp_path, capture_output=True, text=True)
    assert_mask(tmp_path / "mask.nii", segmenter, image, scan)
    assert done.stdout.startswith("mcc_keras ")


def test_the_curl_lines_of_the_readme_get_the_mask(serving_fixture, model, segmenter, image, scan, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    lines = re.findall(r"^    (\{ printf .*|curl .*|python3 -c .*)$", (EXPORT / "README.md").read_text(), re.MULTILINE)
    assert len(lines) == 3
    with serving_fixture.served_over_rest(model) as url:
        text = "\n".join(lines).replace("http://localhost:8501", url).replace("python3", sys.executable)
        subprocess.run(["bash", "-euc", text], check=True, cwd=tmp_path)
    assert_mask(tmp_path / "mask.nii", segmenter, image, scan)


def test_the_example_does_not_import_mcc_keras():
    tree = ast.parse((EXPORT / "segment_over_grpc.py").read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"argparse", "grpc", "pathlib", "tensorflow", "tensorflow_serving.apis"}


def test_an_independent_client_gets_the_same_mask(segmenter, address, image, tmp_path):
    if importlib.util.find_spec("ovmsclient") is None:
        pytest.skip("needs ovmsclient, an independent client: pip install ovmsclient")
    np.savez(tmp_path / "scan.npz", image=image, affine=AFFINE.astype(np.float32))
    # A process of its own: it brings its own copies of the same protocol buffers.
    program = """
import sys
import numpy as np
from ovmsclient import make_grpc_client
with np.load(sys.argv[2]) as scan:
    np.savez(sys.argv[3], mask=make_grpc_client(sys.argv[1]).predict(dict(scan), "segmenter", 1))
"""
    command = [sys.executable, "-c", program, address, str(tmp_path / "scan.npz"), str(tmp_path / "answer.npz")]
    subprocess.run(command, check=True)
    expected = segmenter.segment(image, AFFINE.astype(np.float32))
    with np.load(tmp_path / "answer.npz") as answer:
        np.testing.assert_array_equal(answer["mask"], expected["mask"])


def test_the_list_of_models_is_one_that_tensorflow_serving_reads():
    schema = pytest.importorskip(
        "tensorflow_serving.config.model_server_config_pb2", reason="needs the extra `serving`"
    )
    from google.protobuf import text_format

    text = (EXPORT / "models.config").read_text(encoding="utf-8")
    (model,) = text_format.Parse(text, schema.ModelServerConfig()).model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == (MODEL_NAME, f"/models/{MODEL_NAME}", "tensorflow")


def test_compose_mounts_the_model_where_the_list_says():
    (compose,) = read_yaml("docker-compose.yml")
    service = compose["services"]["segmenter"]
    assert service["image"].startswith("tensorflow/serving")
    assert any(volume.endswith(f":/models/{MODEL_NAME}:ro") for volume in service["volumes"])
    assert {port.split(":")[-1] for port in service["ports"]} == {"8500", "8501"}


def test_every_way_to_start_the_server_enables_onednn():
    (compose,), (deployment, *_) = read_yaml("docker-compose.yml"), read_yaml("kubernetes.yml")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert compose["services"]["segmenter"]["environment"] == {ONEDNN: "1"}
    assert {variable["name"]: variable["value"] for variable in container["env"]} == {ONEDNN: "1"}
    (line,) = re.findall(r"docker run .*", (EXPORT / "README.md").read_text(encoding="utf-8"))
    assert f"-e {ONEDNN}=1" in line
    assert f"    export {ONEDNN}=1\n" in (EXPORT / "kserve" / "segmenter.py").read_text(encoding="utf-8")


def test_kubernetes_mounts_the_model_where_the_list_says():
    deployment, service, _ = read_yaml("kubernetes.yml")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert f"/models/{MODEL_NAME}" in {mount["mountPath"] for mount in container["volumeMounts"]}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": 8500, "rest": 8501} == {port["name"]: port["port"] for port in service["spec"]["ports"]}


def test_the_autoscaler_names_the_deployment():
    deployment, _, scaler = read_yaml("kubernetes.yml")
    named = {"kind": deployment["kind"], "name": deployment["metadata"]["name"]}
    assert scaler["spec"]["scaleTargetRef"] == {"apiVersion": deployment["apiVersion"], **named}
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert "cpu" in container["resources"]["requests"]  # utilization is counted in it


def test_monitoring_is_found_where_kubernetes_says():
    if importlib.util.find_spec("ovmsclient") is None:
        pytest.skip("needs ovmsclient, which brings the schema: pip install ovmsclient")
    # A process of its own: it brings its own copies of protocol buffers.
    program = """
import sys
from google.protobuf import json_format, text_format
from ovmsclient.tfs_compat.protos.tensorflow_serving.config.monitoring_config_pb2 import MonitoringConfig
print(json_format.MessageToJson(text_format.Parse(open(sys.argv[1]).read(), MonitoringConfig())))
"""
    command = [sys.executable, "-c", program, str(EXPORT / "monitoring.config")]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["prometheusConfig"]
    (compose,), (deployment, *_) = read_yaml("docker-compose.yml"), read_yaml("kubernetes.yml")
    template = deployment["spec"]["template"]
    assert found["enable"] and found["path"] == template["metadata"]["annotations"]["prometheus.io/path"]
    for arguments in (compose["services"]["segmenter"]["command"], template["spec"]["containers"][0]["args"]):
        assert "--monitoring_config_file=/config/monitoring.config" in arguments


def test_the_readme_names_every_file_and_the_line_that_serves():
    text = (EXPORT / "README.md").read_text(encoding="utf-8")
    for path in EXPORT.iterdir():
        name = f"{path.name}/" if path.is_dir() else path.name
        assert name == "README.md" or name.startswith("__") or f"`{name}`" in text
    (line,) = re.findall(r"docker run .*", text)
    assert f":/models/{MODEL_NAME}:ro" in line and f"MODEL_NAME={MODEL_NAME}" in line and "8500:8500" in line


def test_what_the_readme_shows_of_the_list_of_models_is_what_tensorflow_serving_reads():
    schema = pytest.importorskip(
        "tensorflow_serving.config.model_server_config_pb2", reason="needs the extra `serving`"
    )
    from google.protobuf import text_format

    text = (EXPORT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"`((?:model_version_policy|specific|version_labels|config) \{.*?\})`", text.replace("\n", " "))
    assert len(shown) == 4
    for line in shown:
        line = f"model_version_policy {{ {line} }}" if line.startswith("specific") else line
        block = line if line.startswith("config") else f'config {{ name: "segmenter" {line} }}'
        found = text_format.Parse(f"model_config_list {{ {block} {block} }}", schema.ModelServerConfig())
        assert len(found.model_config_list.config) == 2
