"""A model server over gRPC: the PredictionService of TensorFlow Serving."""

import numpy as np

from mcc_keras.errors import EnvironmentFailure
from mcc_keras.serving.answers import OTHER, ROOM, refuse_other_mask
from mcc_keras.serving.export import BYTES, SIGNATURE
from mcc_keras.serving.refusals import Refusal

_RETRY = ("retry-after", "grpc-retry-pushback-ms")


class GrpcServer:
    """One model of a server.

    Args:
        address: `Address`.
        credentials: `Credentials`.
        model_name: The server's name for the model.

    Raises:
        EnvironmentFailure: The extra `serving` is not installed.
    """

    def __init__(self, address, credentials, *, model_name):
        self.grpc, self.apis, self.tensorflow = load_protocol()
        self.address, self.credentials, self.model_name = address, credentials, model_name

    def signatures(self, seconds):
        """Return the model's signatures: name to `{"inputs": {name: sizes}, "outputs": names}`."""
        from google.protobuf.message import DecodeError

        request = self.apis.get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        answer = self._ask("GetModelMetadata", request, seconds, largest_answer=ROOM)
        try:
            found = self.apis.get_model_metadata_pb2.SignatureDefMap.FromString(answer.metadata["signature_def"].value)
        except DecodeError as error:
            raise EnvironmentFailure(
                f"{self.address}: expected signatures, found bytes that are none. {OTHER}"
            ) from error
        return {name: _described(signature) for name, signature in found.signature_def.items()}

    def segment_bytes(self, files, seconds, *, largest_mask):
        """Return the bytes of the mask of a scan whose files are sent, and what the server says of its model.

        Args:
            files: Bytes of each file.
            seconds: How long to wait.
            largest_mask: Bytes of the largest mask to receive.
        """
        request = self._bytes_request([files], ["mask_bytes", "fingerprint"])
        outputs = self._ask("Predict", request, seconds, largest_answer=largest_mask + ROOM).outputs
        answer = outputs["mask_bytes"]
        if answer.dtype != request.inputs["scan_bytes"].dtype or len(answer.string_val) != 1:
            raise EnvironmentFailure(f"{self.address}: expected the bytes of one mask, found none. {OTHER}")
        return answer.string_val[0], _text(outputs["fingerprint"])

    def name_model(self, seconds):
        """Return what the server says of its model; without a scan: two empty files are refused, each by itself."""
        request = self._bytes_request([[b""], [b""]], ["fingerprint"])
        return _text(self._ask("Predict", request, seconds, largest_answer=ROOM).outputs["fingerprint"])

    def _bytes_request(self, scans, outputs):
        from tensorflow.core.framework.tensor_pb2 import TensorProto

        request = self.apis.predict_pb2.PredictRequest(output_filter=outputs)
        request.model_spec.signature_name = BYTES
        files = [data for scan in scans for data in scan]
        tensor = TensorProto(dtype=self.tensorflow.string.as_datatype_enum, string_val=files)
        tensor.tensor_shape.CopyFrom(self.tensorflow.TensorShape((len(scans), len(scans[0]))).as_proto())
        request.inputs["scan_bytes"].CopyFrom(tensor)
        return request

    def segment_voxels(self, volume, seconds, *, largest_mask):
        """Return the mask (x, y, z) of a `Volume` whose voxels are sent."""
        request = voxel_request(volume, self.apis, self.tensorflow)
        answer = self._ask("Predict", request, seconds, largest_answer=largest_mask + ROOM)
        return mask_of_tensor(answer, self.tensorflow, shape=volume.shape, address=self.address)

    def _ask(self, method, request, seconds, *, largest_answer):
        request.model_spec.name = self.model_name
        header = self.credentials.header
        with self._channel(largest_answer) as channel:
            stub = self.apis.prediction_service_pb2_grpc.PredictionServiceStub(channel)
            try:
                return getattr(stub, method)(request, timeout=seconds, metadata=(header,) if header else None)
            except self.grpc.RpcError as error:
                raise Refusal(error.code().name, error.details(), _pause(error)) from error

    def _channel(self, largest_answer):
        # A request is as large as the scan: the limit of 4 MiB is lifted for it, and set for the answer.
        options = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", largest_answer))
        if not self.address.is_encrypted:
            return self.grpc.insecure_channel(str(self.address), options=options)
        shown = self.credentials
        keys = self.grpc.ssl_channel_credentials(shown.ca, shown.key, shown.certificate)
        return self.grpc.secure_channel(str(self.address), keys, options=options)


def load_protocol():
    """Return the modules of gRPC and of TensorFlow Serving's messages, and TensorFlow."""
    try:
        import grpc
        from tensorflow_serving import apis
        from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc  # noqa: F401
    except ImportError as error:
        raise EnvironmentFailure(
            f"The client needs gRPC and TensorFlow Serving's protocol, found no {error.name}. Install them with"
            " pip install 'mcc_keras[serving]', or ask the server's REST port, such as http://localhost:8501."
        ) from error
    import tensorflow  # last, so that a missing extra is reported without waiting for it

    return grpc, apis, tensorflow


def voxel_request(volume, apis, tensorflow):
    """Return the request of the signature that takes voxels."""
    request = apis.predict_pb2.PredictRequest(output_filter=["mask"])
    request.model_spec.signature_name = SIGNATURE
    for name, array in (("image", volume.array), ("affine", volume.affine)):
        request.inputs[name].CopyFrom(tensorflow.make_tensor_proto(np.asarray(array, np.float32)))
    return request


def mask_of_tensor(answer, tensorflow, *, shape, address):
    """Return the mask in an answer: its type and shape are checked before memory is taken for it."""
    tensor = answer.outputs["mask"]
    names = {getattr(tensorflow, name).as_datatype_enum: name for name in ("uint8", "uint16")}
    dtype = names.get(tensor.dtype, f"a tensor of type {tensor.dtype}")
    refuse_other_mask(dtype, [each.size for each in tensor.tensor_shape.dim], shape=shape, address=address)
    try:
        return tensorflow.make_ndarray(tensor)
    except (ValueError, TypeError, OverflowError) as error:
        raise EnvironmentFailure(f"{address}: expected a mask, found values that do not fill it. {OTHER}") from error


def _text(tensor):
    return tensor.string_val[0].decode("ascii", "replace") if tensor.string_val else None


def _described(signature):
    inputs = {name: [each.size for each in tensor.tensor_shape.dim] for name, tensor in signature.inputs.items()}
    return {"inputs": inputs, "outputs": list(signature.outputs)}


def _pause(error):
    """Return how many seconds a server asks to wait, or None."""
    found = {key: value for key, value in (error.trailing_metadata() or ()) if key in _RETRY}
    for key, per_second in zip(_RETRY, (1, 1000), strict=True):
        if str(found.get(key, "")).isdecimal():
            return int(found[key]) / per_second
    return None
