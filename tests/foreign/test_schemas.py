"""The files of export/ that other programs read, by the schemas of those programs: Kubernetes and Triton.

MCC_KERAS_KSERVE_PYTHON names an interpreter with kubernetes-validate and tritonclient[grpc] (make test-foreign).
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

PYTHON = os.environ.get("MCC_KERAS_KSERVE_PYTHON")
pytestmark = pytest.mark.skipif(not PYTHON, reason="MCC_KERAS_KSERVE_PYTHON names no schemas: make test-foreign")
EXPORT = Path(__file__).parents[2] / "export"
KUBERNETES = """
import sys, yaml
from kubernetes_validate import latest_version, validate
with open(sys.argv[1]) as stream:
    for resource in yaml.safe_load_all(stream):
        validate(resource, latest_version(), strict=True)
        print(resource["kind"])
"""
TRITON = """
import sys
from google.protobuf import json_format, text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig
with open(sys.argv[1]) as stream:
    print(json_format.MessageToJson(text_format.Parse(stream.read(), ModelConfig())))
"""


def run(program, path):
    command = [PYTHON, "-c", program, str(path)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ""})


def test_kubernetes_accepts_every_resource():
    done = run(KUBERNETES, EXPORT / "kubernetes.yml")
    assert done.stdout.split() == ["Deployment", "Service", "HorizontalPodAutoscaler"], done.stderr


def test_kubernetes_refuses_a_field_that_it_does_not_have(tmp_path):
    text = (EXPORT / "kubernetes.yml").read_text(encoding="utf-8")
    (tmp_path / "wrong.yml").write_text(text.replace("containerPort: 8500", "portOfContainer: 8500"))
    done = run(KUBERNETES, tmp_path / "wrong.yml")
    assert done.returncode and "portOfContainer" in done.stderr


def test_triton_reads_its_configuration():
    done = run(TRITON, EXPORT / "triton" / "segmenter" / "config.pbtxt")
    found = json.loads(done.stdout)
    assert (found["name"], found["backend"]) == ("segmenter", "python")
    assert [each["name"] for each in found["input"]] == ["scan_bytes"]
    assert [each["name"] for each in found["output"]] == ["mask_bytes", "fingerprint", "error"]
