"""The client against the in-process fixture: the mask that `segment` writes, and clear words when there is none."""

import importlib.util
import socket
import sys
from pathlib import Path

import keras
import nibabel as nib
import numpy as np
import pytest
import tensorflow as tf

from mcc_keras import errors
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.segmentation.segment import segment
from mcc_keras.serving import client
from mcc_keras.serving.export import export_saved_model
from mcc_keras.volumes import Volume

pytest.importorskip("grpc", reason="needs the extra `serving`")
pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")

specification = importlib.util.spec_from_file_location(
    "serving_fixture", Path(__file__).with_name("serving_fixture.py")
)
serving_fixture = importlib.util.module_from_spec(specification)
specification.loader.exec_module(serving_fixture)

AFFINE = np.array([[0, -0.9, 0.3, 10], [1.2, 0, 0, -20], [0, 0.4, 2.5, 5], [0, 0, 0, 1.0]])


def network(channels):
    keras.utils.set_random_seed(5)
    layers = keras.layers
    inside = layers.Conv3D(4, 3, padding="same", activation="tanh")
    return keras.Sequential(
        [
            keras.Input((16, 16, 16, channels)),
            inside,
            layers.Conv3D(1, 3, padding="same", activation="sigmoid"),
        ]
    )


@pytest.fixture(scope="module")
def run(write_run, tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "one", network(1), Preprocessing(size=16)).folder


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    return export_saved_model(run, tmp_path_factory.mktemp("served") / "organ").parent


@pytest.fixture(scope="module")
def address(exported):
    with serving_fixture.served(exported) as address:
        yield address


def write_scan(path, shape=(13, 10, 7), seed=1):
    voxels = np.random.default_rng(seed).normal(100, 30, shape)
    scan = nib.Nifti1Image(voxels.astype(np.int16), AFFINE)
    nib.save(scan, path)
    return path


def test_the_served_mask_is_the_mask_that_segment_writes_bit_for_bit(run, address, tmp_path):
    scan = write_scan(tmp_path / "scan.nii.gz")
    there = nib.load(client.segment_remote(address, scan, tmp_path / "there.nii.gz"))
    here = nib.load(segment(run, scan, tmp_path / "here.nii.gz"))
    np.testing.assert_array_equal(np.asarray(there.dataobj), np.asarray(here.dataobj))
    assert there.header.binaryblock == here.header.binaryblock
    assert there.get_data_dtype() == np.uint8 and set(np.unique(there.dataobj)) == {0, 1}
    np.testing.assert_allclose(there.affine, AFFINE, rtol=0, atol=1e-5)


def test_a_volume_of_more_than_4_mib_passes_both_ways(address, tmp_path):
    scan = write_scan(tmp_path / "scan.nii", shape=(210, 200, 105))
    mask = client.segment_remote(address, scan, tmp_path / "mask.nii")
    assert nib.load(mask).shape == (210, 200, 105) and mask.stat().st_size > 4 * 2**20


def test_two_channels_come_from_two_files_or_from_one(write_run, tmp_path):
    run = write_run(tmp_path / "run", network(2), Preprocessing(size=16)).folder
    files = [write_scan(tmp_path / f"{name}.nii.gz", seed=seed) for seed, name in enumerate(("flair", "t1c"))]
    both = np.stack([np.asarray(nib.load(path).dataobj) for path in files], axis=-1)
    nib.save(nib.Nifti1Image(both, AFFINE), tmp_path / "both.nii.gz")
    with serving_fixture.served(export_saved_model(run, tmp_path / "served").parent, model_name="brain") as address:
        one = client.segment_remote(address, tmp_path / "both.nii.gz", tmp_path / "one.nii.gz", model_name="brain")
        two = client.segment_remote(address, files, tmp_path / "two.nii.gz", model_name="brain")
        with pytest.raises(errors.UsageError, match="Expected 2 files, one per channel .*Received 3"):
            client.segment_remote(address, [*files, files[0]], tmp_path / "three.nii.gz", model_name="brain")
    expected = np.asarray(nib.load(segment(run, files, tmp_path / "here.nii.gz")).dataobj)
    np.testing.assert_array_equal(np.asarray(nib.load(one).dataobj), expected)
    np.testing.assert_array_equal(np.asarray(nib.load(two).dataobj), expected)


def test_a_scan_of_another_rank_than_the_model_takes_is_a_volume_error(address, tmp_path):
    scan = write_scan(tmp_path / "series.nii.gz", shape=(6, 5, 4, 3))
    with pytest.raises(errors.VolumeError, match=r"series.nii.gz: expected a volume \(x, y, z\), found shape"):
        client.segment_remote(address, scan, tmp_path / "mask.nii.gz")


def test_what_the_server_refuses_is_a_data_error_with_its_words(tmp_path):
    @tf.function(
        input_signature=(
            tf.TensorSpec((None, None, None, 1), tf.float32, name="image"),
            tf.TensorSpec((4, 4), tf.float32, name="affine"),
        )
    )
    def segment_head(image, affine):
        with tf.control_dependencies([tf.debugging.assert_greater(tf.shape(image)[2], 30, "a head has more slices")]):
            return {"mask": tf.cast(image[..., 0] > affine[0, 0], tf.uint8)}

    tf.saved_model.save(tf.Module(), str(tmp_path / "1"), signatures={"serving_default": segment_head})
    scan = write_scan(tmp_path / "scan.nii.gz")
    with (
        serving_fixture.served(tmp_path) as address,
        pytest.raises(errors.DataError, match=f"server at {address} refuses the scan: .*a head has more slices"),
    ):
        client.segment_remote(address, scan, tmp_path / "mask.nii.gz")


@pytest.mark.parametrize("shape", [(6, 5, 4), (1, 6, 5, 4, 1), (6, 5, 4, 2)])
def test_the_served_graph_refuses_another_rank_or_other_channels(address, shape):
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "segmenter"
    request.inputs["image"].CopyFrom(tf.make_tensor_proto(np.ones(shape, np.float32)))
    request.inputs["affine"].CopyFrom(tf.make_tensor_proto(np.eye(4, dtype=np.float32)))
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as refused:
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "not compatible with expected shape [?,?,?,1]" in refused.value.details()


def test_voxels_travel_as_raw_bytes_in_c_order_and_only_the_mask_is_asked_for():
    _, apis, tensorflow = client._protocol()
    array = np.asfortranarray(np.arange(24, dtype=np.float32).reshape(2, 3, 4, 1))
    request = client._predict_request(Volume(array, np.eye(4)), apis, tensorflow)
    assert request.inputs["image"].tensor_content == np.arange(24, dtype="<f4").tobytes()
    assert list(request.output_filter) == ["mask"]


def test_a_scan_beyond_the_largest_message_is_refused_before_memory_is_taken_for_it():
    _, apis, tensorflow = client._protocol()
    huge = Volume(np.broadcast_to(np.float32(0), (1024, 1024, 512, 1)), np.eye(4), Path("huge.nii"))
    with pytest.raises(errors.VolumeError, match="huge.nii: expected less than 2 GiB"):
        client._predict_request(huge, apis, tensorflow)


def test_an_unknown_model_names_the_model_and_the_address(address, tmp_path):
    scan = write_scan(tmp_path / "scan.nii.gz")
    with pytest.raises(errors.EnvironmentFailure, match=f"{address}: the server has no model 'liver'"):
        client.segment_remote(address, scan, tmp_path / "mask.nii.gz", model_name="liver")


def test_a_port_where_nobody_listens_is_an_environment_failure(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(errors.EnvironmentFailure, match=f"{address}: no model server answers"):
        client.segment_remote(address, write_scan(tmp_path / "scan.nii.gz"), tmp_path / "mask.nii.gz")


def test_a_server_that_takes_too_long_is_an_environment_failure(exported, tmp_path):
    scan = write_scan(tmp_path / "scan.nii.gz")
    with (
        serving_fixture.served(exported, delay_seconds=2) as address,
        pytest.raises(errors.EnvironmentFailure, match="no answer within 0.5 s. Raise timeout_seconds"),
    ):
        client.segment_remote(address, scan, tmp_path / "mask.nii.gz", timeout_seconds=0.5)
    assert not (tmp_path / "mask.nii.gz").exists()


def test_a_mask_that_is_there_is_not_overwritten_unless_told_to(address, tmp_path):
    scan, mask = write_scan(tmp_path / "scan.nii.gz"), tmp_path / "mask.nii.gz"
    mask.write_bytes(b"mine")
    with pytest.raises(errors.OutputExistsError):
        client.segment_remote(address, scan, mask)
    assert mask.read_bytes() == b"mine"
    client.segment_remote(address, scan, mask, overwrite=True)
    assert nib.load(mask).shape == (13, 10, 7)


def test_without_the_extra_the_error_names_the_pip_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(errors.EnvironmentFailure, match=r"found no grpc.* pip install 'mcc_keras\[serving\]'"):
        client.segment_remote("localhost:8500", "scan.nii.gz", tmp_path / "mask.nii.gz")


@pytest.mark.parametrize("address", ["localhost", "http://localhost:8501", "localhost:", ":8500", "grpc://h:85/x"])
def test_an_address_that_is_none_is_a_usage_error(address, tmp_path):
    with pytest.raises(errors.UsageError, match="`address` must be HOST:PORT"):
        client.segment_remote(address, "scan.nii.gz", tmp_path / "mask.nii.gz")


def test_a_timeout_must_be_positive(tmp_path):
    with pytest.raises(errors.UsageError, match="timeout_seconds=0"):
        client.segment_remote("localhost:8500", "scan.nii.gz", tmp_path / "mask.nii.gz", timeout_seconds=0)


def answer_of(**tensors):
    """A Predict response that holds tensors as they come, whether they are right or not."""
    from tensorflow_serving.apis import predict_pb2

    response = predict_pb2.PredictResponse()
    for name, tensor in tensors.items():
        response.outputs[name].CopyFrom(tensor)
    return response


def tensor_of(shape, dtype=tf.uint8, **fields):
    from tensorflow.core.framework.tensor_pb2 import TensorProto

    return TensorProto(dtype=dtype.as_datatype_enum, tensor_shape=tf.TensorShape(shape).as_proto(), **fields)


HOSTILE = {
    "one value for a shape of 2 TiB": {"mask": tensor_of((2**14, 2**14, 2**13), int_val=[1])},
    "another shape": {"mask": tensor_of((4, 3, 1), int_val=[1])},
    "floats": {"mask": tensor_of((4, 3, 2), tf.float32, float_val=[0.5])},
    "strings": {"mask": tensor_of((4, 3, 2), tf.string, string_val=[b"x"])},
    "bytes that do not fill it": {"mask": tensor_of((4, 3, 2), tensor_content=b"123")},
    "nothing": {},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_answer_that_is_no_mask_of_the_scan_is_refused_before_memory_is_taken(name):
    volume = Volume(np.zeros((4, 3, 2, 1), np.float32), np.eye(4))
    with pytest.raises(errors.EnvironmentFailure, match="host:1: expected a mask"):
        client._mask(answer_of(**HOSTILE[name]), volume, "host:1", tf)


@pytest.mark.parametrize("value", [b"\xff\xff", b""])
def test_metadata_that_is_none_is_refused(value):
    _, apis, _ = client._protocol()
    response = apis.get_model_metadata_pb2.GetModelMetadataResponse()
    response.metadata["signature_def"].value = value
    with pytest.raises(errors.EnvironmentFailure, match="host:1: expected"):
        client._channels(response, apis, "host:1")


def test_a_claim_of_a_billion_channels_is_refused():
    _, apis, _ = client._protocol()
    signatures = apis.get_model_metadata_pb2.SignatureDefMap()
    signature = signatures.signature_def["serving_default"]
    signature.inputs["image"].tensor_shape.CopyFrom(tf.TensorShape((1, 1, 1, 10**9)).as_proto())
    signature.inputs["affine"].name = signature.outputs["mask"].name = "x"
    response = apis.get_model_metadata_pb2.GetModelMetadataResponse()
    response.metadata["signature_def"].Pack(signatures)
    with pytest.raises(errors.EnvironmentFailure, match="another signature"):
        client._channels(response, apis, "host:1")


def test_an_answer_larger_than_any_mask_of_the_scan_is_not_received(tmp_path):
    @tf.function(
        input_signature=(
            tf.TensorSpec((None, None, None, 1), tf.float32, name="image"),
            tf.TensorSpec((4, 4), tf.float32, name="affine"),
        )
    )
    def swell(image, affine):
        return {"mask": tf.tile(tf.cast(image[..., 0] > affine[0, 0], tf.uint8), (20, 20, 20))}

    tf.saved_model.save(tf.Module(), str(tmp_path / "1"), signatures={"serving_default": swell})
    with (
        serving_fixture.served(tmp_path) as address,
        pytest.raises(errors.EnvironmentFailure, match=r"RESOURCE_EXHAUSTED: .*larger than max"),
    ):
        client.segment_remote(address, write_scan(tmp_path / "scan.nii.gz"), tmp_path / "mask.nii.gz")


def test_the_scan_is_never_replaced_by_its_mask(tmp_path):
    scan = write_scan(tmp_path / "scan.nii.gz")
    before = scan.read_bytes()
    with pytest.raises(errors.UsageError, match="must not be an input"):
        client.segment_remote("localhost:8500", scan, scan, overwrite=True)
    assert scan.read_bytes() == before
