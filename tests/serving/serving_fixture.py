"""A fixture, not a model server: the PredictionService of TensorFlow Serving in this process, for tests only.

It speaks the same protocol buffers and answers from an exported SavedModel, with the real server's habits that a client
must cope with: answers as protocol fields and not as raw bytes, its codes and words for an unknown model and for inputs
that do not match, messages of any size. The real server is TensorFlow Serving (export/README.md).
"""

import contextlib
import time
from concurrent import futures

import pytest

grpc = pytest.importorskip("grpc", reason="needs the extra `serving`")
pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")

import tensorflow as tf  # noqa: E402
from tensorflow.core.framework.tensor_pb2 import TensorProto  # noqa: E402
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel  # noqa: E402
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc  # noqa: E402


@contextlib.contextmanager
def served(folder, *, model_name="segmenter", delay_seconds=0.0):
    """Serve the highest version in `folder` on a free port of this machine; yields HOST:PORT.

    `delay_seconds` is added to every Predict.
    """
    fixture = PredictionServiceFixture(folder, model_name=model_name, delay_seconds=delay_seconds)
    unlimited = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2), options=unlimited)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(fixture, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait()


class PredictionServiceFixture(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers Predict and GetModelMetadata for one model."""

    def __init__(self, folder, *, model_name, delay_seconds):
        version = max((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
        self.model_name, self.version, self.delay_seconds = model_name, int(version.name), delay_seconds
        self.signature = tf.saved_model.load(str(version)).signatures["serving_default"]
        self.definition = SavedModel.FromString((version / "saved_model.pb").read_bytes()).meta_graphs[0].signature_def

    def Predict(self, request, context):
        self._find(request.model_spec, context)
        time.sleep(self.delay_seconds)
        expected = self.definition["serving_default"].inputs
        if set(request.inputs) != set(expected):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "request inputs do not match required inputs")
        for name, tensor in request.inputs.items():
            if tensor.dtype != expected[name].dtype:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"input {name} has the wrong dtype")
        try:
            outputs = self.signature(**{name: tf.constant(tf.make_ndarray(t)) for name, t in request.inputs.items()})
        except (tf.errors.InvalidArgumentError, ValueError, TypeError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        wanted = set(request.output_filter) or set(outputs)
        if not wanted <= set(outputs):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "output tensor alias not found in signature")
        response = predict_pb2.PredictResponse()
        response.model_spec.CopyFrom(request.model_spec)
        response.model_spec.version.value = self.version
        for name in wanted:
            response.outputs[name].CopyFrom(_as_proto_fields(outputs[name].numpy()))
        return response

    def GetModelMetadata(self, request, context):
        self._find(request.model_spec, context)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in self.definition.items():
            signatures.signature_def[name].CopyFrom(definition)
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=request.model_spec)
        response.metadata["signature_def"].Pack(signatures)
        return response

    def _find(self, spec, context):
        name, asked = spec.name, spec.HasField("version")
        if name != self.model_name or (asked and spec.version.value != self.version):
            wanted = f"Specific({name}, {spec.version.value})" if asked else f"Latest({name})"
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {wanted}")


def _as_proto_fields(array):
    tensor = TensorProto(dtype=tf.as_dtype(array.dtype).as_datatype_enum)
    tensor.tensor_shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
    field = tensor.int_val if array.dtype.kind in "ui" else tensor.float_val
    field.extend(array.ravel().tolist())
    return tensor
