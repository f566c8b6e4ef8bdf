"""Segment a scan with a model server: TensorFlow Serving, or anything that speaks its gRPC protocol.

    mask = segment_remote("localhost:8500", "scan.nii.gz", "scan_seg.nii.gz")

The server runs the exported graph, preprocessing included: what goes over the wire are the voxels as they stand in the
file and the affine; what comes back is the mask on the same grid, the very one that `segment` writes.
"""

from pathlib import Path

import numpy as np

from mcc_keras.datasets.scan import read_scan
from mcc_keras.errors import DataError, EnvironmentFailure, UsageError, VolumeError
from mcc_keras.volumes import refuse_mask_path, write_mask

SIGNATURE = "serving_default"
LARGEST_MESSAGE = 2**31 - 2**20  # bytes: a protocol buffer ends at 2 GiB, names and affine included
# The client's default of 4 MiB is less than one volume; -1 lifts it.
_CHANNEL_OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))


def segment_remote(address, images, output, *, model_name="segmenter", timeout_seconds=60, overwrite=False):
    """Send a scan to a model server and write the mask that it returns.

    Args:
        address: `HOST:PORT` of the gRPC service (TensorFlow Serving: 8500; 8501 is its REST port).
        images: Path of the scan; for several channels a list, one file a channel in the order of the training, or a
            case folder.
        output: `.nii` or `.nii.gz` for the mask: uint8, on the grid of the scan.
        model_name: The name under which the server knows the model.
        timeout_seconds: How long to wait for an answer, > 0; the first request to a cold server takes longest.
        overwrite: Replace a mask that is there already.

    Returns:
        Path of the mask.

    Raises:
        OutputExistsError: `output` is there and `overwrite` is false.
        UsageError: Another number of files than the model has channels, or an address that is none.
        VolumeError: A file cannot be read, or has other channels than the model.
        DataError: The server refuses the scan.
        EnvironmentFailure: The extra `serving` is not installed, no server answers in time, or it has no such model.

    Example:

    >>> segment_remote("http://localhost:8501", "scan.nii.gz", "scan_seg.nii.gz")
    Traceback (most recent call last):
    mcc_keras.errors.UsageError: Expected HOST:PORT, such as localhost:8500. Received: address='http://localhost:8501'.
    """
    _check_arguments(address, output, timeout_seconds, overwrite)
    grpc, apis, tensorflow = _protocol()
    with grpc.insecure_channel(address, options=_CHANNEL_OPTIONS) as channel:
        stub = apis.prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def ask(method, request):
            request.model_spec.name = model_name
            try:
                return method(request, timeout=timeout_seconds)
            except grpc.RpcError as error:
                raise _explained(error, address, model_name, timeout_seconds, images) from error

        channels = _channels(ask(stub.GetModelMetadata, _metadata_request(apis)), apis, address)
        volume = read_scan(images, tuple(f"image {number}" for number in range(1, channels + 1)))
        answer = ask(stub.Predict, _predict_request(volume, apis, tensorflow))
    mask = tensorflow.make_ndarray(answer.outputs["mask"])
    if mask.shape != volume.shape:
        raise EnvironmentFailure(f"{address}: expected a mask of shape {volume.shape}, found {mask.shape}.")
    return write_mask(mask, output, like=volume, overwrite=overwrite)


def _check_arguments(address, output, timeout_seconds, overwrite):
    host, _, port = str(address).rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise UsageError(f"Expected HOST:PORT, such as localhost:8500. Received: address={address!r}.")
    if not timeout_seconds > 0:
        raise UsageError(f"Expected a positive number of seconds. Received: timeout_seconds={timeout_seconds}.")
    refuse_mask_path(output, overwrite=overwrite)


def _protocol():
    try:
        import grpc
        from tensorflow_serving import apis
        from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc  # noqa: F401
    except ImportError as error:
        raise EnvironmentFailure(
            f"The client needs gRPC and TensorFlow Serving's protocol, found no {error.name}. Install them with"
            " pip install 'mcc_keras[serving]'."
        ) from error
    import tensorflow  # last, so that a missing extra is reported without waiting for it

    return grpc, apis, tensorflow


def _metadata_request(apis):
    return apis.get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])


def _channels(answer, apis, address):
    """Return how many channels the served model takes, from its signature."""
    signatures = apis.get_model_metadata_pb2.SignatureDefMap.FromString(answer.metadata["signature_def"].value)
    signature = signatures.signature_def[SIGNATURE]
    sizes = [dimension.size for dimension in signature.inputs["image"].tensor_shape.dim]
    if len(sizes) != 4 or "affine" not in signature.inputs or "mask" not in signature.outputs:
        raise EnvironmentFailure(
            f"{address}: expected a model with inputs image (x, y, z, channels) and affine and output mask, found"
            " another signature. Serve a model that export_saved_model wrote."
        )
    return sizes[-1]


def _predict_request(volume, apis, tensorflow):
    if 4 * volume.array.size > LARGEST_MESSAGE:
        problem = f"expected less than 2 GiB of float32 voxels to send, found shape {volume.array.shape}"
        raise VolumeError(volume.path, problem, "Segment it on this machine, with segment.")
    request = apis.predict_pb2.PredictRequest(output_filter=["mask"])
    request.model_spec.signature_name = SIGNATURE
    for name, array in (("image", volume.array), ("affine", volume.affine)):
        request.inputs[name].CopyFrom(tensorflow.make_tensor_proto(np.asarray(array, np.float32)))
    return request


def _explained(error, address, model_name, timeout_seconds, images):
    code, details = error.code().name, " ".join((error.details() or "no reason given").split())[:500]
    if code == "INVALID_ARGUMENT":
        scan = images if isinstance(images, str | Path) else ", ".join(map(str, images))
        return DataError(scan, f"the model server at {address} refuses the scan: {details}")
    problem = {
        "UNAVAILABLE": f"no model server answers ({details}). Is it running, and is this its gRPC port (usually 8500)?",
        "NOT_FOUND": f"the server has no model {model_name!r} ({details}). Give the name it was started with.",
        "DEADLINE_EXCEEDED": f"no answer within {timeout_seconds:g} s. Raise timeout_seconds, or ask a faster server.",
    }.get(code, f"the server answers {code}: {details}")
    return EnvironmentFailure(f"{address}: {problem}")
