"""A fixture, not a model server: TensorFlow Serving's gRPC and REST interfaces in this process, for tests only.

It speaks the same protocol buffers and JSON and answers from an exported SavedModel, with the real server's habits that
a client must cope with: answers as protocol fields and not as raw bytes, its codes and words for an unknown model and
for inputs that do not match, messages of any size, base64 where a name ends in _bytes. The real server is TensorFlow
Serving (export/README.md).
"""

import base64
import contextlib
import http.server
import json
import re
import threading
import time
from concurrent import futures

import pytest

grpc = pytest.importorskip("grpc", reason="needs the extra `serving`")
pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")

import tensorflow as tf  # noqa: E402
from google.protobuf import json_format  # noqa: E402
from tensorflow.core.framework.tensor_pb2 import TensorProto  # noqa: E402
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel  # noqa: E402
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc  # noqa: E402

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
STATUS = {INVALID: 400, NOT_FOUND: 404}


class Failure(Exception):
    """A status code and words."""


class ServedModel:
    """The highest version in a folder, and how it behaves.

    Args:
        folder: The served model's folder.
        model_name: Its name.
        delay_seconds: Added to every prediction.
        busy: How many predictions are refused first, as by a full queue.
    """

    def __init__(self, folder, *, model_name="segmenter", delay_seconds=0.0, busy=0):
        version = max((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
        self.model_name, self.version, self.delay_seconds = model_name, int(version.name), delay_seconds
        self.busy, self.asked, self.received = busy, 0, 0
        self.loaded = tf.saved_model.load(str(version))
        self.definition = SavedModel.FromString((version / "saved_model.pb").read_bytes()).meta_graphs[0].signature_def

    def predict(self, inputs, signature):
        """Return the outputs of a dict of tensors."""
        time.sleep(self.delay_seconds)
        signature = signature or "serving_default"
        if signature not in self.definition:
            raise Failure(INVALID, f'Serving signature name: "{signature}" not found in signature def')
        expected = self.definition[signature].inputs
        if set(inputs) != set(expected):
            raise Failure(INVALID, "request inputs do not match required inputs")
        for name, tensor in inputs.items():
            if tensor.dtype.as_datatype_enum != expected[name].dtype:
                raise Failure(INVALID, f"input {name} has the wrong dtype")
        try:
            return self.loaded.signatures[signature](**inputs)
        except (tf.errors.InvalidArgumentError, ValueError, TypeError) as error:
            raise Failure(INVALID, str(error)) from None

    def is_busy(self):
        """Count a prediction, and return whether it is refused."""
        self.asked += 1
        return self.asked <= self.busy

    def signatures(self):
        found = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in self.definition.items():
            found.signature_def[name].CopyFrom(definition)
        return found


@contextlib.contextmanager
def served(folder, *, keys=None, workers=2, **behaviour):
    """Serve the highest version in `folder` over gRPC on a free port of this machine; yields HOST:PORT.

    Args:
        folder: The served model's folder, or a `ServedModel`.
        workers: How many requests are answered at a time.
        keys: (certificates of authorities, certificate, private key) for TLS that asks for a client's certificate.
        behaviour: Of `ServedModel`.
    """
    model = folder if isinstance(folder, ServedModel) else ServedModel(folder, **behaviour)
    unlimited = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=workers), options=unlimited)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionServiceFixture(model), server)
    if keys:
        ca, certificate, key = keys
        secret = grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True)
        port = server.add_secure_port("127.0.0.1:0", secret)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"{'localhost' if keys else '127.0.0.1'}:{port}"
    finally:
        server.stop(grace=None).wait()


@contextlib.contextmanager
def served_over_rest(folder, *, context=None, token=None, **behaviour):
    """Serve a model over REST; yields its URL.

    Args:
        folder: The served model's folder, or a `ServedModel`.
        context: `ssl.SSLContext` for TLS, or None.
        token: The value that `authorization` must have, or None.
        behaviour: Of `ServedModel`.
    """
    model = folder if isinstance(folder, ServedModel) else ServedModel(folder, **behaviour)
    handler = type("Handler", (RestFixture,), {"model": model, "token": token})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"{'https://localhost' if context else 'http://127.0.0.1'}:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class PredictionServiceFixture(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers Predict and GetModelMetadata for one model."""

    def __init__(self, model):
        self.model = model

    def Predict(self, request, context):
        self._find(request.model_spec, context)
        self.model.received = request.ByteSize()
        if self.model.is_busy():
            context.abort(
                grpc.StatusCode.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full"
            )
        try:
            inputs = {name: _as_tensor(name, tensor) for name, tensor in request.inputs.items()}
            outputs = self.model.predict(inputs, request.model_spec.signature_name)
        except Failure as failure:
            context.abort(*failure.args)
        wanted = set(request.output_filter) or set(outputs)
        if not wanted <= set(outputs):
            context.abort(INVALID, "output tensor alias not found in signature")
        response = predict_pb2.PredictResponse()
        response.model_spec.CopyFrom(request.model_spec)
        response.model_spec.version.value = self.model.version
        for name in wanted:
            response.outputs[name].CopyFrom(_as_proto_fields(outputs[name].numpy()))
        return response

    def GetModelMetadata(self, request, context):
        self._find(request.model_spec, context)
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=request.model_spec)
        response.metadata["signature_def"].Pack(self.model.signatures())
        return response

    def _find(self, spec, context):
        name, asked = spec.name, spec.HasField("version")
        if name != self.model.model_name or (asked and spec.version.value != self.model.version):
            wanted = f"Specific({name}, {spec.version.value})" if asked else f"Latest({name})"
            context.abort(NOT_FOUND, f"Servable not found for request: {wanted}")


class RestFixture(http.server.BaseHTTPRequestHandler):
    """Answers metadata and :predict for one model."""

    def do_GET(self):
        if self._may_ask() and self._find("/metadata"):
            found = json_format.MessageToDict(
                self.model.signatures(), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
            self._answer(200, {"model_spec": {"name": self.model.model_name}, "metadata": {"signature_def": found}})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.model.received = len(body)
        if not (self._may_ask() and self._find(":predict")):
            return
        if self.model.is_busy():
            self._answer(503, {"error": "the queue is full"}, {"Retry-After": "1"})
            return
        try:
            request = json.loads(body)
            inputs = {name: self._tensor(name, value, request) for name, value in request["inputs"].items()}
            outputs = self.model.predict(inputs, request.get("signature_name"))
        except Failure as failure:
            self._answer(STATUS[failure.args[0]], {"error": failure.args[1]})
            return
        values = {name: _as_json(name, tensor.numpy().tolist()) for name, tensor in outputs.items()}
        self._answer(200, {"outputs": values if len(values) > 1 else next(iter(values.values()))})

    def _tensor(self, name, value, request):
        inputs = self.model.definition[request.get("signature_name", "serving_default")].inputs
        return tf.constant(_decoded(value), tf.as_dtype(inputs[name].dtype))

    def _may_ask(self):
        allowed = self.token in (None, self.headers.get("authorization"))
        if not allowed:
            self._answer(401, {"error": "a token is needed"})
        return allowed

    def _find(self, action):
        found = re.fullmatch(rf"/v1/models/([^/:]+){re.escape(action)}", self.path)
        if not found or found[1] != self.model.model_name:
            self._answer(404, {"error": f"Servable not found for request: Latest({found and found[1]})"})
            return False
        return True

    def _answer(self, status, answer, headers=()):
        body = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **dict(headers),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


def _as_tensor(name, tensor):
    try:
        return tf.constant(tf.make_ndarray(tensor))
    except (ValueError, TypeError, OverflowError) as error:
        raise Failure(INVALID, f"tensor parsing error: {name} ({error})") from None


def _as_proto_fields(array):
    tensor = TensorProto(dtype=tf.as_dtype(array.dtype).as_datatype_enum)
    tensor.tensor_shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
    field = {"u": tensor.int_val, "i": tensor.int_val, "O": tensor.string_val}.get(array.dtype.kind, tensor.float_val)
    field.extend(array.ravel().tolist())
    return tensor


def _as_json(name, value):
    if isinstance(value, list):
        return [_as_json(name, each) for each in value]
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()} if name.endswith("_bytes") else value.decode()
    return value


def _decoded(value):
    if isinstance(value, list):
        return [_decoded(each) for each in value]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value
