"""Which operations a traced TensorFlow graph runs, and which of them a GPU would not run, or not deterministically."""

import contextlib

import pytest

# Operations without a GPU kernel that are meant to run on the host, each with the reason. None of the losses, metrics
# and networks needs one; decoding bytes, say, belongs here, when a graph that holds it is looked at.
HOST = {}
# What TensorFlow 2.21 refuses on a GPU under `tf.config.experimental.enable_op_determinism()`. Its documentation has no
# list; these are the operations whose kernels hold the message "Determinism is not yet supported" or "A deterministic
# GPU implementation of … is not currently available" in the library of that version.
REFUSED = {
    "AdjustContrast",
    "AdjustContrastv2",
    "Bincount",
    "CropAndResizeGradBoxes",
    "CropAndResizeGradImage",
    "DebugNumericSummaryV2",
    "DenseBincount",
    "Dilation2DBackpropFilter",
    "Dilation2DBackpropInput",
    "FakeQuantWithMinMaxVarsGradient",
    "FakeQuantWithMinMaxVarsPerChannelGradient",
    "MaxPoolGradWithArgmax",
    "ResizeNearestNeighborGrad",
    "ScatterAdd",
    "ScatterDiv",
    "ScatterMax",
    "ScatterMin",
    "ScatterMul",
    "ScatterSub",
    "ScatterUpdate",
    "SegmentProd",
    "SegmentSum",
    "SoftmaxCrossEntropyWithLogits",
    "SparseSoftmaxCrossEntropyWithLogits",
    "SparseTensorDenseMatMul",
    "Timestamp",
}
# Their result depends on the order in which threads come by, and on the seed that a process happened to draw.
RANDOM = {"RandomUniform", "RandomStandardNormal", "RandomShuffle", "TruncatedNormal", "Multinomial"}


@contextlib.contextmanager
def deterministic():
    """Trace as with `enable_op_determinism`: TensorFlow's Python functions then choose other operations."""
    from tensorflow.python.framework import config

    before = config.is_op_determinism_enabled()
    config.enable_op_determinism()
    try:
        yield
    finally:
        if not before:
            config.disable_op_determinism()


def operations(function):
    """Return the types of all operations of a concrete function and of the functions that it calls."""
    graph = function.graph.as_graph_def(add_shapes=False)
    nodes = [*graph.node, *(node for inner in graph.library.function for node in inner.node_def)]
    return {node.op for node in nodes} - {inner.signature.name for inner in graph.library.function}


def without_gpu_kernel(names):
    """Return the operations that have no GPU kernel in TensorFlow's registry, but for those of `HOST`."""
    return sorted(name for name in set(names) - set(HOST) if not {"GPU", "DEFAULT"} & devices(name))


def refused_by_determinism(names):
    """Return the operations that raise, or draw at random, where TensorFlow is to be deterministic on a GPU."""
    return sorted(set(names) & (REFUSED | RANDOM))


def devices(name):
    """Return the types of device that have a kernel of an operation; those of every device are "DEFAULT"."""
    from tensorflow.python.framework import kernels

    return {kernel.device_type for kernel in kernels.get_registered_kernels_for_op(name).kernel}


def skip_without_gpu_kernels():
    """Skip a test where TensorFlow was built without GPU kernels, as for macOS or as `tensorflow-cpu`."""
    if "GPU" not in devices("Conv3D"):
        pytest.skip("this build of TensorFlow registers no GPU kernels")
