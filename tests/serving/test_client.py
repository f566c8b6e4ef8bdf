"""The client against the in-process fixture: the mask that `segment` writes, and clear words when there is none."""

import gzip
import importlib.util
import os
import shutil
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import tensorflow as tf
from served_model import network

from mcc_keras import errors
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.segmentation.explain import explain
from mcc_keras.segmentation.fingerprint import fingerprint_run
from mcc_keras.segmentation.segment import segment
from mcc_keras.serving import client, over_grpc, refusals, remote, scan_bytes
from mcc_keras.serving.answers import checked_labels, mask_of_file
from mcc_keras.serving.export import export_saved_model
from mcc_keras.volumes import Volume, read_volume, write_mask

pytest.importorskip("grpc", reason="needs the extra `serving`")
pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")

specification = importlib.util.spec_from_file_location(
    "serving_fixture", Path(__file__).with_name("serving_fixture.py")
)
serving_fixture = importlib.util.module_from_spec(specification)
specification.loader.exec_module(serving_fixture)

AFFINE = np.array([[0, -0.9, 0.3, 10], [1.2, 0, 0, -20], [0, 0.4, 2.5, 5], [0, 0, 0, 1.0]])


@pytest.fixture(autouse=True, scope="module")
def patience():
    """Wait for a machine that runs other tests beside; a first answer is optimized for seconds on a quiet one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(client.segment_remote.__kwdefaults__, "timeout_seconds", 600)
        yield


def write_scan(path, shape=(13, 10, 7), seed=1):
    voxels = np.random.default_rng(seed).normal(100, 30, shape)
    scan = nib.Nifti1Image(voxels.astype(np.int16), AFFINE)
    nib.save(scan, path)
    return path


@pytest.fixture(scope="module")
def url(exported):
    with serving_fixture.served_over_rest(exported) as url:
        yield url


def assert_same_file(path, other):
    there, here = nib.load(path), nib.load(other)
    np.testing.assert_array_equal(np.asarray(there.dataobj), np.asarray(here.dataobj))
    assert there.header.binaryblock == here.header.binaryblock


@pytest.mark.skipif(
    "MCC_KERAS_TF_SERVING" not in os.environ,
    reason="MCC_KERAS_TF_SERVING names no HOST:PORT where TensorFlow Serving serves, over gRPC and as `segmenter`, the"
    " model that `python tests/helpers/served_model.py FOLDER` writes",
)
def test_the_real_server_serves_the_model_of_these_tests(run, address, tmp_path):
    """All tests here and in test_many.py that ask `address` ask the real server, where there is one."""
    assert address == os.environ["MCC_KERAS_TF_SERVING"]
    mask = client.segment_remote(address, write_scan(tmp_path / "scan.nii"), tmp_path / "mask.nii")
    assert explain(mask).origin.fingerprint == fingerprint_run(run)


@pytest.mark.parametrize("interface", ["address", "url"])
def test_the_served_mask_is_the_mask_that_segment_writes_bit_for_bit(run, interface, tmp_path, request):
    scan = write_scan(tmp_path / "scan.nii.gz")
    server = request.getfixturevalue(interface)
    there = client.segment_remote(server, scan, tmp_path / "there.nii.gz")
    assert_same_file(there, segment(run, scan, tmp_path / "here.nii.gz"))
    assert nib.load(there).get_data_dtype() == np.uint8 and set(np.unique(nib.load(there).dataobj)) == {0, 1}
    np.testing.assert_allclose(nib.load(there).affine, AFFINE, rtol=0, atol=1e-5)


def test_a_scan_that_the_graph_cannot_read_is_converted(run, address, tmp_path):
    plain = write_scan(tmp_path / "scan.nii")
    volume = read_volume(plain)
    data = plain.read_bytes()
    (tmp_path / "members.nii.gz").write_bytes(gzip.compress(data[:400]) + gzip.compress(data[400:]))
    image = sitk.GetImageFromArray(volume.array.T)
    image.SetSpacing((0.8, 1.1, 2.2))
    sitk.WriteImage(image, str(tmp_path / "scan.nrrd"))
    for name in ("members.nii.gz", "scan.nrrd"):
        here = segment(run, tmp_path / name, tmp_path / "here.nii", overwrite=True)
        there = client.segment_remote(address, tmp_path / name, tmp_path / "there.nii", overwrite=True)
        assert_same_file(there, here)
    assert scan_bytes.served_as_stored(plain) and not scan_bytes.served_as_stored(tmp_path / "members.nii.gz")


def test_beside_the_mask_stands_where_it_comes_from(run, address, tmp_path):
    scan, mask = write_scan(tmp_path / "scan.nii"), tmp_path / "mask.nii.gz"
    client.segment_remote(address, scan, mask, largest_component=True)
    origin = explain(mask).origin
    assert (origin.fingerprint, origin.runs) == (fingerprint_run(run), {})
    assert origin.options == {"affine": None, "nonfinite": None, "largest_component": True}
    (tmp_path / "other.nii.json").write_text("mine")
    with pytest.raises(errors.OutputExistsError, match=r"other\.nii\.json"):
        client.segment_remote(address, scan, tmp_path / "other.nii")


def test_a_choice_of_the_client_is_its_own(run, address, tmp_path):
    scan = nib.load(write_scan(tmp_path / "a.nii"))
    moved = AFFINE.copy()
    moved[0, 3] += 5
    scan.header.set_qform(moved, 1)
    scan.header.set_sform(AFFINE, 1)
    nib.save(scan, tmp_path / "scan.nii")
    with pytest.raises(errors.GeometryError):
        client.segment_remote(address, tmp_path / "scan.nii", tmp_path / "there.nii")
    there = client.segment_remote(address, tmp_path / "scan.nii", tmp_path / "there.nii", affine="qform")
    assert_same_file(there, segment(run, tmp_path / "scan.nii", tmp_path / "here.nii", affine="qform"))


@pytest.mark.parametrize("serve, most", [("served", 1.05), ("served_over_rest", 1.4)])
def test_a_request_is_hardly_larger_than_the_file(exported, serve, most, tmp_path):
    scan = write_scan(tmp_path / "scan.nii.gz", shape=(40, 40, 30))
    model = serving_fixture.ServedModel(exported)
    with getattr(serving_fixture, serve)(model) as server:
        client.segment_remote(server, scan, tmp_path / "mask.nii.gz")
    assert scan.stat().st_size < model.received <= most * scan.stat().st_size


def test_the_largest_component_alone_is_kept_on_request(run, address, tmp_path):
    scan = write_scan(tmp_path / "scan.nii.gz")
    there = client.segment_remote(address, scan, tmp_path / "there.nii", largest_component=True)
    assert_same_file(there, segment(run, scan, tmp_path / "here.nii", largest_component=True))


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
    _, apis, tensorflow = over_grpc.load_protocol()
    array = np.asfortranarray(np.arange(24, dtype=np.float32).reshape(2, 3, 4, 1))
    request = over_grpc.voxel_request(Volume(array, np.eye(4)), apis, tensorflow)
    assert request.inputs["image"].tensor_content == np.arange(24, dtype="<f4").tobytes()
    assert list(request.output_filter) == ["mask"]


def test_a_scan_beyond_the_largest_message_is_refused_before_memory_is_taken_for_it():
    huge = Volume(np.broadcast_to(np.float32(0), (1024, 1024, 512, 1)), np.eye(4), Path("huge.nii"))
    with pytest.raises(errors.VolumeError, match="huge.nii: expected less than 2 GiB"):
        scan_bytes.refuse_large(huge)


def test_an_unknown_model_names_the_model_and_the_address(address, tmp_path):
    scan = write_scan(tmp_path / "scan.nii.gz")
    with pytest.raises(errors.EnvironmentFailure, match=f"{address}: the server has no model 'liver'"):
        client.segment_remote(address, scan, tmp_path / "mask.nii.gz", model_name="liver")


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_a_port_where_nobody_listens_is_an_environment_failure(tmp_path, scheme, monkeypatch):
    monkeypatch.setattr(refusals, "WAITS", (0.01,))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    scan = write_scan(tmp_path / "scan.nii.gz")
    with pytest.raises(errors.EnvironmentFailure, match=f"{address}: no model server answers"):
        client.segment_remote(scheme + address, scan, tmp_path / "mask.nii.gz")


@pytest.mark.parametrize("serve", ["served", "served_over_rest"])
def test_a_full_queue_is_waited_for(exported, serve, tmp_path):
    scan, model = write_scan(tmp_path / "scan.nii.gz"), serving_fixture.ServedModel(exported, busy=1)
    with getattr(serving_fixture, serve)(model) as server:
        client.segment_remote(server, scan, tmp_path / "mask.nii.gz")
    assert model.asked == 2


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


@pytest.mark.parametrize(
    "address", ["localhost", "ftp://localhost:21", "localhost:", ":8500", "grpc://h:85/x", "a:99999"]
)
def test_an_address_that_is_none_is_a_usage_error(address, tmp_path):
    with pytest.raises(errors.UsageError, match="`server` must be HOST:PORT"):
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
    with pytest.raises(errors.EnvironmentFailure, match="host:1: expected a mask"):
        over_grpc.mask_of_tensor(answer_of(**HOSTILE[name]), tf, shape=(4, 3, 2), address="host:1")


def mask_file(tmp_path, array, change=lambda header: None):
    path = write_mask(array, tmp_path / "m.nii", like=Volume(array, np.eye(4)), overwrite=True)
    data = path.read_bytes()
    header = nib.Nifti1Header(data[:348], check=False)
    change(header)
    return header.binaryblock + data[348:]


def test_a_file_that_is_no_mask_of_the_scan_is_refused(tmp_path):
    mask = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
    whole = mask_file(tmp_path, mask)
    np.testing.assert_array_equal(mask_of_file(whole, shape=(4, 3, 2), address="host:1"), mask)
    changes = {
        "shape": lambda header: header.set_data_shape((4, 3, 1)),
        "type": lambda header: header.set_data_dtype(np.int16),
        "scaling": lambda header: header.set_slope_inter(2, 0),
        "offset": lambda header: header.__setitem__("vox_offset", 368),
        "huge": lambda header: header.set_data_shape((30000, 30000, 30000)),
    }
    wrong = {name: mask_file(tmp_path, mask, change) for name, change in changes.items()}
    wrong |= {"nothing": b"", "short": whole[:-1], "long": whole + b"1", "noise": bytes(400)}
    for data in wrong.values():
        with pytest.raises(errors.EnvironmentFailure, match="host:1: expected a mask"):
            mask_of_file(data, shape=(4, 3, 2), address="host:1")


def test_more_labels_than_a_model_has_are_refused():
    with pytest.raises(errors.EnvironmentFailure, match="at most 256 labels, found 512"):
        checked_labels(np.arange(512, dtype=np.uint16).reshape(8, 8, 8), address="host:1")


@pytest.mark.parametrize("value", [b"\xff\xff", b""])
def test_metadata_that_is_none_is_refused(value, monkeypatch):
    _, apis, _ = over_grpc.load_protocol()
    response = apis.get_model_metadata_pb2.GetModelMetadataResponse()
    response.metadata["signature_def"].value = value
    server = over_grpc.GrpcServer("host:1", None, model_name="m")
    monkeypatch.setattr(server, "_ask", lambda *_, **__: response)
    with pytest.raises(errors.EnvironmentFailure, match="host:1: expected"):
        remote.served_model(server.signatures(1), "host:1")


def test_a_claim_of_a_billion_channels_is_refused():
    signature = {"inputs": {"image": [1, 1, 1, 10**9], "affine": [4, 4]}, "outputs": ["mask"]}
    with pytest.raises(errors.EnvironmentFailure, match="another signature"):
        remote.served_model({"serving_default": signature}, "host:1")


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
        pytest.raises(errors.EnvironmentFailure, match="a message is larger than its receiver takes .*larger than max"),
    ):
        client.segment_remote(address, write_scan(tmp_path / "scan.nii.gz"), tmp_path / "mask.nii.gz")


def test_the_scan_is_never_replaced_by_its_mask(tmp_path):
    scan = write_scan(tmp_path / "scan.nii.gz")
    before = scan.read_bytes()
    with pytest.raises(errors.UsageError, match="must not be an input"):
        client.segment_remote("localhost:8500", scan, scan, overwrite=True)
    assert scan.read_bytes() == before


# ---- TLS and tokens -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Return the paths of an authority's certificate, and of a certificate with its key for localhost."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make certificates")
    folder = tmp_path_factory.mktemp("keys")
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n"
    (folder / "names").write_text(names)
    for line in (
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=test",
        "req -newkey rsa:2048 -nodes -keyout own.key -out own.csr -subj /CN=localhost",
        "x509 -req -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out own.pem -days 2 -extfile names",
    ):
        subprocess.run(["openssl", *line.split()], cwd=folder, check=True, capture_output=True)
    return [folder / name for name in ("ca.pem", "own.pem", "own.key")]


def test_grpc_with_tls_and_a_client_certificate(exported, keys, tmp_path):
    ca, certificate, key = keys
    scan = write_scan(tmp_path / "scan.nii.gz")
    shown = {"ca": ca, "certificate": certificate, "key": key, "overwrite": True}
    with serving_fixture.served(exported, keys=[path.read_bytes() for path in keys]) as address:
        assert client.segment_remote(address, scan, tmp_path / "mask.nii", **shown).exists()
        for missing in ({"certificate": None, "key": None}, {"ca": None}):
            server = f"grpcs://{address}"
            with pytest.raises(errors.EnvironmentFailure, match="TLS fails|no model server answers|no answer within"):
                client.segment_remote(server, scan, tmp_path / "no.nii", **{**shown, **missing}, timeout_seconds=1)


def test_rest_with_tls_and_a_token(exported, keys, tmp_path):
    ca, certificate, key = keys
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    scan, token = write_scan(tmp_path / "scan.nii.gz"), tmp_path / "token"
    token.write_text("secret\n")
    with serving_fixture.served_over_rest(exported, context=context, token="Bearer secret") as url:
        assert client.segment_remote(url, scan, tmp_path / "mask.nii", ca=ca, token_file=token).exists()
        with pytest.raises(errors.EnvironmentFailure, match="asks who you are .*token_file=FILE"):
            client.segment_remote(url, scan, tmp_path / "no.nii", ca=ca)
        with pytest.raises(errors.EnvironmentFailure, match="TLS fails .*ca=FILE"):
            client.segment_remote(url, scan, tmp_path / "no.nii", timeout_seconds=1)


def test_a_token_does_not_travel_unencrypted_to_another_machine(tmp_path):
    (tmp_path / "token").write_text("secret")
    with pytest.raises(errors.UsageError, match="must not travel unencrypted"):
        client.segment_remote("far:8500", "scan.nii.gz", tmp_path / "m.nii", token_file=tmp_path / "token")


def test_a_certificate_needs_its_key(tmp_path):
    with pytest.raises(errors.UsageError, match="`certificate` and `key` must be given together"):
        client.segment_remote("far:8500", "scan.nii.gz", tmp_path / "m.nii", certificate=tmp_path / "c.pem")
