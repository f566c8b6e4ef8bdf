"""Serve an exported model with KServe.

    pip install -r export/kserve/requirements.txt
    export TF_ENABLE_ONEDNN_OPTS=1
    python export/kserve/segmenter.py --model_dir served/prostate --http_port 8501 --grpc_port 8500

Version 1 of its protocol (REST) is TensorFlow Serving's, with every signature of the model. Version 2 (REST and gRPC)
takes files: `scan_bytes` in, `mask_bytes` out. `--help` lists the options of KServe.
"""

import argparse
import asyncio
import base64
import json
from pathlib import Path

import kserve
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from kserve import model_server
from kserve.errors import InvalidInput
from kserve.utils.numpy_codec import from_np_dtype
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel


class Segmenter(kserve.Model):
    """The highest version in a folder that `mcc-keras export` wrote."""

    def __init__(self, name, folder):
        super().__init__(name)
        versions = [path for path in Path(folder).iterdir() if path.name.isdecimal()]
        version = max(versions, key=lambda path: int(path.name))
        self.loaded = tf.saved_model.load(str(version))
        self.definitions = SavedModel.FromString((version / "saved_model.pb").read_bytes()).meta_graphs[0].signature_def
        self.ready = True

    async def predict(self, payload, headers=None):
        answer = self.answer_v2 if isinstance(payload, kserve.InferRequest) else self.answer_v1
        try:
            return await asyncio.to_thread(answer, payload)
        except (tf.errors.InvalidArgumentError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise InvalidInput(str(error)) from error  # status 400, INVALID_ARGUMENT

    def answer_v1(self, request):
        request = json.loads(request) if isinstance(request, bytes) else request  # bytes: curl names no type of content
        found = self.run(request.get("signature_name", "serving_default"), decoded(request.get("inputs")))
        outputs = {name: encoded(name, array.tolist()) for name, array in found.items()}
        return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}

    def answer_v2(self, request):
        found = self.run("serving_bytes", {each.name: each.as_numpy() for each in request.inputs})
        outputs = [kserve.InferOutput(name, list(a.shape), from_np_dtype(a.dtype)) for name, a in found.items()]
        for output in outputs:
            output.set_data_from_numpy(found[output.name])
        return kserve.InferResponse(request.id or "", self.name, outputs)

    def run(self, signature, inputs):
        if signature not in self.loaded.signatures or not isinstance(inputs, dict):
            raise InvalidInput(f'expected "inputs" by name, and a signature of {", ".join(self.loaded.signatures)}')
        function = self.loaded.signatures[signature]
        specs = function.structured_input_signature[1]
        answer = function(**{name: tf.constant(value, specs[name].dtype) for name, value in inputs.items()})
        return {name: tensor.numpy() for name, tensor in answer.items()}

    def metadata(self):
        kept = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}
        found = {name: MessageToDict(each, **kept) for name, each in self.definitions.items()}
        return {"model_spec": {"name": self.name}, "metadata": {"signature_def": {"signature_def": found}}}


def decoded(value):
    if isinstance(value, dict) and set(value) == {"b64"}:
        return base64.b64decode(value["b64"], validate=True)
    if isinstance(value, dict):
        return {name: decoded(each) for name, each in value.items()}
    return [decoded(each) for each in value] if isinstance(value, list) else value


def encoded(name, value):
    if isinstance(value, list):
        return [encoded(name, each) for each in value]
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()} if name.endswith("_bytes") else value.decode()
    return value


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[model_server.parser])
    parser.add_argument("--model_dir", required=True, help="The folder with the versions 1, 2, …")
    parser.set_defaults(model_name="segmenter")
    arguments = parser.parse_args()
    segmenter = Segmenter(arguments.model_name, arguments.model_dir)
    model_server.app.add_api_route(f"/v1/models/{segmenter.name}/metadata", segmenter.metadata)
    # A scan is larger than the 8 MB that KServe takes by default.
    model_server.args.grpc_max_send_message_length = model_server.args.grpc_max_receive_message_length = -1
    kserve.ModelServer().start([segmenter])
