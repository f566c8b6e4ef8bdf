"""Model files that ask for far more than they hold are refused before memory is taken for them."""

import io
import json
import zipfile

import h5py
import keras
import numpy as np
import pytest

from mcc_keras.errors import DataError, RunError
from mcc_keras.models import transfer_weights
from mcc_keras.models.model_file import refuse_large_model
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.runs.run import MODEL
from mcc_keras.segmentation.segmenter import load_segmenter


def write_model(path, *, config=None, weights=b"", compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("config.json", json.dumps(config or {}))
        archive.writestr("model.weights.h5", weights)
    return path


def weights_of(**datasets):
    file = io.BytesIO()
    with h5py.File(file, "w") as weights:
        for name, settings in datasets.items():
            weights.create_dataset(name, **settings)
    return file.getvalue()


def network():
    inputs = keras.Input((4, 4, 4, 1))
    return keras.Model(inputs, keras.layers.Conv3D(1, 1, activation="sigmoid")(inputs))


def test_an_archive_that_inflates_to_many_times_its_size_is_refused(tmp_path):
    path = write_model(tmp_path / "m.keras", weights=bytes(100 << 20), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match=r"expected at most 65 MiB of weights .* found 100 MiB"):
        refuse_large_model(path)


def test_an_array_that_the_file_does_not_store_is_refused(tmp_path):
    sparse = weights_of(kernel={"shape": (10**9,), "dtype": "float32"})
    with pytest.raises(DataError, match="found 3814 MiB"):
        refuse_large_model(write_model(tmp_path / "m.keras", weights=sparse))


def test_an_array_that_is_compressed_in_the_file_is_refused(tmp_path):
    zeros = weights_of(kernel={"data": np.zeros(30 << 20, np.float32), "compression": "gzip"})
    with pytest.raises(DataError, match="found 120 MiB"):
        refuse_large_model(write_model(tmp_path / "m.keras", weights=zeros))


def test_a_layer_of_a_billion_units_is_refused(tmp_path):
    config = {"config": {"layers": [{"config": {"units": 10**9, "seed": 2**60}}]}, "compile_config": {"steps": 10**9}}
    with pytest.raises(DataError, match="found units=1000000000"):
        refuse_large_model(write_model(tmp_path / "m.keras", config=config, weights=weights_of()))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
def test_a_file_that_is_no_archive_is_a_run_error(write_run, tmp_path, content):
    run = write_run(tmp_path / "run", network(), Preprocessing(size=4)).folder
    (run / MODEL).write_bytes(content)
    with pytest.raises(RunError, match="expected a Keras model"):
        load_segmenter(run)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(write_run, tmp_path, value):
    model = network()
    model.layers[-1].bias.assign([value])
    run = write_run(tmp_path / "run", model, Preprocessing(size=4))
    with pytest.raises(RunError, match=r"model.keras: expected finite weights, found NaN or infinite ones in .*bias"):
        load_segmenter(run)


@pytest.fixture(params=[False, True], ids=["safe", "the process allows code"])
def allowed(request):
    """What the process allows Keras for all of its calls."""
    if request.param:
        keras.config.enable_unsafe_deserialization()
    yield
    keras.src.backend.common.global_state.set_global_attribute("safe_mode_saving", None)


def test_code_in_a_model_file_is_never_run(write_run, tmp_path, allowed):
    marker = tmp_path / "was_run"
    inputs = keras.Input((4, 4, 4, 1))
    code = keras.layers.Lambda(eval(f"lambda x: [x, open({str(marker)!r}, 'a').close()][0]"))
    run = write_run(tmp_path / "run", keras.Model(inputs, code(inputs)), Preprocessing(size=4)).folder
    marker.unlink()  # building the network ran it
    with pytest.raises(RunError, match="Lambda"):
        load_segmenter(run)
    with pytest.raises(DataError, match="Lambda"):
        transfer_weights(run / MODEL, network())
    assert not marker.exists()


def test_weights_are_transferred_only_from_files_that_are_checked(tmp_path):
    config = {"config": {"layers": [{"config": {"units": 10**9}}]}}
    with pytest.raises(DataError, match="found units=1000000000"):
        transfer_weights(write_model(tmp_path / "m.keras", config=config, weights=weights_of()), network())
    model = network()
    model.layers[-1].bias.assign([np.nan])
    model.save(tmp_path / "nan.keras")
    with pytest.raises(DataError, match=r"nan.keras: expected finite weights, found NaN .*bias"):
        transfer_weights(tmp_path / "nan.keras", network())
