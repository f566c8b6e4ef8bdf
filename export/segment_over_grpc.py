"""Segment one NIfTI scan with TensorFlow Serving, without mcc_keras and without a library for images.

    pip install tensorflow-serving-api
    python segment_over_grpc.py localhost:8500 scan.nii.gz mask.nii

The scan is one file, or one for each channel; the mask is an uncompressed `.nii` file on the same grid.
`mcc-keras segment --server` does the same, reads more formats, and explains errors.
"""

import argparse
from pathlib import Path

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("address", metavar="HOST:PORT")
parser.add_argument("scan", nargs="+", type=Path)
parser.add_argument("mask", type=Path)
parser.add_argument("--model-name", default="segmenter")
parser.add_argument("--timeout-seconds", type=float, default=60)
arguments = parser.parse_args()

request = predict_pb2.PredictRequest()
request.model_spec.name = arguments.model_name
request.model_spec.signature_name = "serving_bytes"
request.inputs["scan_bytes"].CopyFrom(tf.make_tensor_proto([[path.read_bytes() for path in arguments.scan]]))

# By default a gRPC client accepts answers of up to 4 MiB.
options = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
with grpc.insecure_channel(arguments.address, options=options) as channel:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    answer = stub.Predict(request, timeout=arguments.timeout_seconds)

arguments.mask.write_bytes(answer.outputs["mask_bytes"].string_val[0])
print(answer.outputs["fingerprint"].string_val[0].decode())
