"""Segment one NIfTI scan with TensorFlow Serving, without mcc_keras.

    pip install nibabel tensorflow-serving-api
    python segment_over_grpc.py localhost:8500 scan.nii.gz mask.nii.gz

The scan is (x, y, z), or (x, y, z, channels) for a model with several channels; the mask is written on the same grid.
`mcc-keras segment --server` does the same, reads more formats and several files, and explains errors.
"""

import argparse

import grpc
import nibabel as nib
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("address", metavar="HOST:PORT")
parser.add_argument("scan")
parser.add_argument("mask")
parser.add_argument("--model-name", default="segmenter")
parser.add_argument("--timeout-seconds", type=float, default=60)
arguments = parser.parse_args()

scan = nib.load(arguments.scan)
image = scan.get_fdata(dtype=np.float32)  # scl_slope and scl_inter applied, voxels in the order of the file
if image.ndim == 3:
    image = image[..., np.newaxis]

request = predict_pb2.PredictRequest(output_filter=["mask"])  # otherwise the probabilities are sent as well
request.model_spec.name = arguments.model_name
request.model_spec.signature_name = "serving_default"
request.inputs["image"].CopyFrom(tf.make_tensor_proto(image))
request.inputs["affine"].CopyFrom(tf.make_tensor_proto(scan.affine.astype(np.float32)))

# By default a gRPC client accepts answers of up to 4 MiB.
options = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
with grpc.insecure_channel(arguments.address, options=options) as channel:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    answer = stub.Predict(request, timeout=arguments.timeout_seconds)

mask = tf.make_ndarray(answer.outputs["mask"])
nib.save(nib.Nifti1Image(mask, scan.affine), arguments.mask)
