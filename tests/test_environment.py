"""The description of the environment agrees with what the libraries themselves report."""

import dataclasses
import json
import os
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import mcc_keras as mk
from mcc_keras.environment import _missing_of_extras

BENCHMARKS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.fixture(scope="module")
def environment():
    return mk.describe_environment()


def test_the_versions_are_those_of_the_loaded_libraries(environment):
    expected = {"mcc_keras": mk.__version__, "keras": keras.__version__, "tensorflow": tf.__version__}
    expected["numpy"] = np.__version__
    assert {name: environment.versions[name] for name in expected} == expected


def test_onednn_threads_and_devices_are_those_of_this_process(environment):
    from tensorflow.python.framework import test_util

    assert (environment.onednn == "on") == test_util.IsMklEnabled()
    assert 1 <= environment.cores <= environment.threads <= os.cpu_count()
    assert len(environment.devices) == len(tf.config.list_physical_devices())


def test_the_variables_that_change_speed_are_listed(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert mk.describe_environment().variables["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    assert "ONEDNN_MAX_CPU_ISA" not in mk.describe_environment().variables


def test_an_extra_lists_what_it_lacks():
    requirements = ["numpy>=2.0", 'no-such-package>=1; extra == "serving"', "keras>=3; extra == 'serving'"]
    requirements.append('numpy; extra == "peers"')
    assert _missing_of_extras(requirements) == {"serving": ("no-such-package",), "peers": ()}


def test_the_json_holds_every_field_and_the_text_begins_with_the_header(environment):
    found = json.loads(environment.to_json())
    assert set(found) == {field.name for field in dataclasses.fields(environment)}
    assert str(environment).startswith(environment.header() + "\n")
    assert environment.processor in environment.header()


def test_every_benchmark_prints_the_header():
    lacking = [path.name for path in BENCHMARKS if "describe_environment().header()" not in path.read_text("utf-8")]
    assert BENCHMARKS and lacking == []


def test_the_extras_are_those_of_the_package(environment):
    setup = (Path(__file__).parents[1] / "setup.cfg").read_text("utf-8")
    extras = re.findall(r"^(\w+) =$", setup.partition("[options.extras_require]")[2].partition("\n[")[0], re.MULTILINE)
    assert set(environment.missing) == set(extras)
