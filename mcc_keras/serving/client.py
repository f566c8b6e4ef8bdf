"""Segment a scan with a model server: TensorFlow Serving, or anything that speaks its gRPC protocol.

    mask = segment_remote("localhost:8500", "scan.nii.gz", "scan_seg.nii.gz")

The server runs the exported graph, preprocessing included: the request holds the stored voxels and the affine,
the response the mask on the same grid, identical to that of `segment`.
"""

import math
from pathlib import Path

import numpy as np

from mcc_keras.datasets.scan import files_of, read_scan
from mcc_keras.errors import DataError, EnvironmentFailure, UsageError, VolumeError
from mcc_keras.files import refuse_output_that_is_input
from mcc_keras.serving.export import SIGNATURE
from mcc_keras.volumes import refuse_mask_path, write_mask

LARGEST_MESSAGE = 2**31 - 2**20  # bytes: a protocol buffer ends at 2 GiB, names and affine included
LARGEST_CHANNELS = 64  # per scan; larger sizes in a response are refused before memory is allocated
ROOM = 2**20  # bytes of names, types and signatures in an answer
LABEL_BYTES = 3  # of a uint16 label, where the server answers in protocol fields
LONGEST_DETAILS = 500  # characters of a server's words in an error
_OTHER = "Serve a model that export_saved_model wrote."


def segment_remote(
    address,
    images,
    output,
    *,
    model_name="segmenter",
    affine=None,
    nonfinite="error",
    timeout_seconds=60,
    overwrite=False,
):
    """Send a scan to a model server and write the mask that it returns.

    Nothing that the server answers is trusted: its size is bounded by the scan's, its type and shape are checked.

    Args:
        address: `HOST:PORT` of the gRPC service (TensorFlow Serving: 8500; 8501 is its REST port).
        images: Path of the scan; for several channels a list, one file per channel in the order of the training, or a
            case folder.
        output: Mask to write, on the grid of the scan: `.nii.gz`, `.nii`, `.nrrd`, `.mha` or `.mhd`.
        model_name: The name under which the server knows the model.
        affine: `"sform"` or `"qform"`, where a NIfTI file holds two that disagree.
        nonfinite: `"error"` refuses NaN and infinite voxels, `"zero"` reads them as 0.
        timeout_seconds: How long to wait for an answer, > 0; the first request to a cold server takes longest.
        overwrite: Replace `output` if it exists.

    Returns:
        Path of the mask.

    Raises:
        OutputExistsError: `output` exists and `overwrite` is false.
        UsageError: `output` is one of the images, the model has another number of channels, or the address is invalid.
        VolumeError: A file cannot be read, or has other channels than the model.
        DataError: The server refuses the scan.
        EnvironmentFailure: The extra `serving` is not installed, no server answers in time, it has no such model, or
            its answer is no mask of the scan.

    Example:

    >>> segment_remote("http://localhost:8501", "scan.nii.gz", "scan_seg.nii.gz")
    Traceback (most recent call last):
    mcc_keras.errors.UsageError: `address` must be HOST:PORT, such as localhost:8500. Received: address='http://local...
    """
    _check_arguments(address, output, timeout_seconds, overwrite)
    refuse_output_that_is_input(output, files_of(images))
    grpc, apis, tensorflow = _protocol()

    def ask(method, request, *, largest_answer):
        request.model_spec.name = model_name
        # A request is as large as the scan: the limit of 4 MiB is lifted for it, and set for the answer.
        options = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", largest_answer))
        with grpc.insecure_channel(address, options=options) as channel:
            stub = apis.prediction_service_pb2_grpc.PredictionServiceStub(channel)
            try:
                return getattr(stub, method)(request, timeout=timeout_seconds)
            except grpc.RpcError as error:
                raise _explained(error, address, model_name, timeout_seconds, images) from error

    metadata = ask("GetModelMetadata", _metadata_request(apis), largest_answer=ROOM)
    names = tuple(f"image {number}" for number in range(1, _channels(metadata, apis, address) + 1))
    volume = read_scan(images, names, affine=affine, nonfinite=nonfinite)
    request = _predict_request(volume, apis, tensorflow)
    answer = ask("Predict", request, largest_answer=LABEL_BYTES * math.prod(volume.shape) + ROOM)
    return write_mask(_mask(answer, volume, address, tensorflow), output, like=volume, overwrite=overwrite)


def _check_arguments(address, output, timeout_seconds, overwrite):
    host, _, port = str(address).rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise UsageError(f"`address` must be HOST:PORT, such as localhost:8500. Received: address={address!r}.")
    if not timeout_seconds > 0:
        raise UsageError(f"`timeout_seconds` must be positive. Received: timeout_seconds={timeout_seconds}.")
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
    from google.protobuf.message import DecodeError

    try:
        signatures = apis.get_model_metadata_pb2.SignatureDefMap.FromString(answer.metadata["signature_def"].value)
    except DecodeError as error:
        raise EnvironmentFailure(f"{address}: expected signatures, found bytes that are none. {_OTHER}") from error
    signature = signatures.signature_def[SIGNATURE]
    sizes = [dimension.size for dimension in signature.inputs["image"].tensor_shape.dim]
    known = len(sizes) == 4 and 1 <= sizes[-1] <= LARGEST_CHANNELS
    if not known or "affine" not in signature.inputs or "mask" not in signature.outputs:
        raise EnvironmentFailure(
            f"{address}: expected a model with inputs image (x, y, z, channels) and affine and output mask, found"
            f" another signature. {_OTHER}"
        )
    return sizes[-1]


def _mask(answer, volume, address, tensorflow):
    """Return the mask in an answer: its type and shape are checked before memory is taken for it."""
    tensor = answer.outputs["mask"]
    dtype = {tensorflow.uint8.as_datatype_enum: "uint8", tensorflow.uint16.as_datatype_enum: "uint16"}.get(tensor.dtype)
    shape = tuple(dimension.size for dimension in tensor.tensor_shape.dim)
    if dtype is None or shape != volume.shape:
        found = dtype or f"a tensor of type {tensor.dtype}"
        raise EnvironmentFailure(
            f"{address}: expected a mask of uint8 or uint16 and shape {volume.shape}, found {found} and shape {shape}."
            f" {_OTHER}"
        )
    try:
        return tensorflow.make_ndarray(tensor)
    except (ValueError, TypeError, OverflowError) as error:
        raise EnvironmentFailure(f"{address}: expected a mask, found values that do not fill it. {_OTHER}") from error


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
    code, details = error.code().name, " ".join((error.details() or "no reason given").split())[:LONGEST_DETAILS]
    if code == "INVALID_ARGUMENT":
        scan = images if isinstance(images, str | Path) else ", ".join(map(str, images))
        return DataError(scan, f"the model server at {address} refuses the scan: {details}")
    problem = {
        "UNAVAILABLE": f"no model server answers ({details}). Is it running, and is this its gRPC port (usually 8500)?",
        "NOT_FOUND": f"the server has no model {model_name!r} ({details}). Give the name it was started with.",
        "DEADLINE_EXCEEDED": f"no answer within {timeout_seconds:g} s. Raise timeout_seconds, or ask a faster server.",
    }.get(code, f"the server answers {code}: {details}")
    return EnvironmentFailure(f"{address}: {problem}")
