"""One run, exported once, and a server of it for all tests of a client."""

import importlib.util
import os
from pathlib import Path

import pytest
from served_model import network

from mcc_keras.preprocessing import Preprocessing
from mcc_keras.serving.export import export_saved_model


@pytest.fixture(scope="session")
def run(write_run, tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "one", network(), Preprocessing(size=16)).folder


@pytest.fixture(scope="session")
def exported(run, tmp_path_factory):
    return export_saved_model(run, tmp_path_factory.mktemp("served") / "organ").parent


@pytest.fixture(scope="session")
def address(exported):
    """HOST:PORT of the server that MCC_KERAS_TF_SERVING names, or else of the fixture."""
    if "MCC_KERAS_TF_SERVING" in os.environ:
        yield os.environ["MCC_KERAS_TF_SERVING"]
        return
    specification = importlib.util.spec_from_file_location(
        "serving_fixture", Path(__file__).with_name("serving_fixture.py")
    )
    serving_fixture = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(serving_fixture)
    with serving_fixture.served(exported) as address:
        yield address
