"""A model of Triton's Python backend: it answers from the SavedModel in `saved_model`, beside this file."""

from pathlib import Path

import tensorflow as tf
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args):
        self.loaded = tf.saved_model.load(str(Path(__file__).with_name("saved_model")))

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        files = triton.get_input_tensor_by_name(request, "scan_bytes").as_numpy()
        try:
            found = self.loaded.signatures["serving_bytes"](scan_bytes=tf.constant(files, tf.string))
        except tf.errors.InvalidArgumentError as error:
            return triton.InferenceResponse(error=triton.TritonError(str(error), triton.TritonError.INVALID_ARG))
        return triton.InferenceResponse([triton.Tensor(name, each.numpy()) for name, each in found.items()])
