"""What stands in for a GPU: every operation from scan to mask has a kernel there, also with deterministic kernels."""

import gpu_operations
import keras
import pytest

from mcc_keras.preprocessing import Preprocessing
from mcc_keras.runs.window import Window
from mcc_keras.segmentation.segmenter import Segmenter
from mcc_keras.task import Task

# Counted on the host, since TensorFlow has no deterministic GPU kernel that counts; the counts are whole numbers.
ON_HOST = {"DenseBincount"}


WINDOWS = {"zscore": None, "minmax": Window(size=4)}


@pytest.fixture(scope="module", params=WINDOWS)
def traced(request):
    gpu_operations.skip_without_gpu_kernels()
    inputs = keras.Input((None, None, None, 2))
    network = keras.Model(inputs, keras.layers.Conv3D(3, 1, activation="softmax")(inputs))
    settings = {"ignore_background": True, "crop_margin_mm": 1.0} if request.param == "zscore" else {"spacing_mm": 2.0}
    preprocessing = Preprocessing(size=8, normalize=request.param, **settings)
    chosen = {"flip_axes": (0,), "window": WINDOWS[request.param]}
    segmenter = Segmenter(network, preprocessing, task=Task(labels=((1,), (2,))), **chosen)
    with gpu_operations.deterministic():
        return segmenter.answer.get_concrete_function()


def test_every_operation_has_a_gpu_kernel(traced):
    found = gpu_operations.operations(traced)
    assert {"Conv3D", "Svd", "DenseBincount", "BatchMatMulV2"} <= found
    assert gpu_operations.without_gpu_kernel(found) == []


def test_none_is_refused_where_tensorflow_is_to_be_deterministic(traced):
    assert set(gpu_operations.refused_by_determinism(gpu_operations.operations(traced))) <= ON_HOST


def test_what_must_run_on_the_host_is_placed_there(traced):
    graph = traced.graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert {node.device for node in nodes if node.op in ON_HOST} == {"/device:CPU:0"}
