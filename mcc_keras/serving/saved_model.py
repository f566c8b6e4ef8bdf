"""Everything of an export that needs TensorFlow: written aside, checked, renamed; what a graph may hold stands here."""

import json

import keras
import msgspec
import numpy as np
import tensorflow as tf

import mcc_keras
from mcc_keras.errors import EnvironmentFailure, MCCKerasError, RunError
from mcc_keras.models.model_file import refuse_nonfinite
from mcc_keras.runs.run import read_runs
from mcc_keras.segmentation.fingerprint import combine_fingerprints, fingerprint_runs, fingerprint_segmenter
from mcc_keras.segmentation.segment import choose_cleaning, choose_reading
from mcc_keras.segmentation.segmenter import Ensemble, Segmenter, load_segmenter
from mcc_keras.serving.answers import mask_of_file
from mcc_keras.serving.bytes_signature import more_signatures
from mcc_keras.serving.export import BYTES, PROBABILITY_SIGNATURE, SIGNATURE
from mcc_keras.serving.scan_bytes import as_nifti
from mcc_keras.serving.versions import next_version
from mcc_keras.volumes import Volume

TOLERANCE = 1e-6
EXTRA = "assets.extra"  # TensorFlow Serving's name for files that the graph itself does not read
ABOUT, WARM_UP = "mcc_keras.json", "tf_serving_warmup_requests"

# Operations that compute: none of them reads or writes files, runs Python or loads code. Those on bits, and the counts
# of keys below a fixed size, are the percentiles of the preprocessing. Empty, InplaceAdd and InplaceUpdate make and
# fill the buffers of windows and masks, which belong to one call and whose rows are counted modulo their number.
_COMPUTING = """
Abs AddN AddV2 All Any ArgMax ArgMin Assert AvgPool3D BatchMatMulV2 BatchMatMulV3 BatchToSpaceND BiasAdd Bitcast
BitwiseAnd BitwiseXor BroadcastArgs BroadcastTo Cast Ceil CheckNumerics ClipByValue ConcatV2 Const Conv2D Conv3D
Conv3DBackpropInputV2 Cumsum DenseBincount DepthToSpace Div DivNoNan Einsum Elu Empty EnsureShape Equal Erf Exp
ExpandDims Expm1 Fill Floor FloorDiv FloorMod FusedBatchNormV3 GatherNd GatherV2 Greater GreaterEqual Identity
IdentityN If InplaceAdd InplaceUpdate InvertPermutation IsFinite IsInf IsNan L2Loss LeakyRelu Less LessEqual LinSpace
Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul MatrixInverse Max MaxPool3D Maximum Mean Min Minimum
MirrorPad Mul MulNoNan Neg NoOp NotEqual OneHot OnesLike Pack Pad PadV2 PartitionedCall Placeholder
PlaceholderWithDefault Pow PreventGradient Prod Range Rank ReadVariableOp RealDiv Reciprocal Relu Relu6 Reshape
ResizeBilinear ResizeNearestNeighbor ResourceGather Reverse ReverseV2 RightShift Rint Round Rsqrt ScatterNd Select
SelectV2 Selu Shape ShapeN Sigmoid Sign Size Slice Softmax Softplus Softsign SpaceToBatchND SpaceToDepth Split SplitV
Sqrt Square SquaredDifference Squeeze StatefulPartitionedCall StatelessIf StatelessWhile StopGradient StridedSlice
Sub Sum Svd Tan Tanh TensorScatterUpdate Tile TopKV2 Transpose Unpack UpperBound VarHandleOp Where While ZerosLike
"""
# Those of `serving_bytes`, on texts, lists and bytes in memory. `MapDataset` and `ReduceDataset` call functions of this
# graph only, and their data set is one tensor (`TensorDataset`): it is how a damaged stream is no failure of the graph.
_BYTES = """
Case Cross DecodeCompressed DecodeRaw IgnoreErrorsDataset MapDataset MatrixDiagPartV3 MatrixDiagV3 ReduceDataset
SerializeTensor StatelessCase StringFormat StringJoin StringLength Substr TensorDataset TensorListFromTensor
TensorListGetItem TensorListReserve TensorListSetItem TensorListStack
"""
# Operations that TensorFlow adds to read and write the variables beside the graph; allowed in those two functions only.
_CHECKPOINTING = """
AssignVariableOp DisableCopyOnRead MergeV2Checkpoints RestoreV2 SaveV2 ShardedFilename StaticRegexFullMatch
"""
COMPUTING, CHECKPOINTING = frozenset((_COMPUTING + _BYTES).split()), frozenset(_CHECKPOINTING.split())
_CHECKPOINT_FUNCTIONS = ("__inference__traced_save", "__inference__traced_restore")


def publish(run, folder, *, flip_axes=None):
    """Write the next version of a served model; see `export_saved_model`.

    Args:
        run: `Run`s, a `Segmenter` or an `Ensemble`.
        folder: The served model's folder, a `Path`.
        flip_axes: Axes to flip and average; `None`: those of each run.

    Example:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from mcc_keras.preprocessing import Preprocessing
    >>> network = keras.Sequential([keras.Input((8, 8, 8, 1)), keras.layers.Conv3D(1, 1, activation="sigmoid")])
    >>> segmenter = Segmenter(network, Preprocessing(size=8))
    >>> folder = Path(tempfile.mkdtemp()) / "prostate"
    >>> [publish(segmenter, folder).name for _ in range(2)]
    ['1', '2']
    """
    runs = [] if isinstance(run, Segmenter | Ensemble) else read_runs(run)
    segmenter = _with_variables(load_segmenter(runs, flip_axes=flip_axes) if runs else run)
    about = _about(segmenter, runs, as_run=flip_axes is None)
    reading = choose_reading(runs, affine=None, nonfinite=None) if runs else {}
    more = more_signatures(segmenter, reading=reading, fingerprint=about["fingerprint"])
    volume = awkward_volume(segmenter.channels)
    live = segmenter.answer(*volume)
    try:
        with next_version(folder) as (aside, version):
            _write(segmenter, aside, volume, name=folder.name, about=about, more=more)
            _check_operations(aside, folder)
            _check_reloaded(aside, volume, live)
    except MCCKerasError:
        raise
    except (OSError, tf.errors.OpError) as error:
        raise EnvironmentFailure(
            f"{folder}: expected to write a SavedModel, found: {str(error).splitlines()[0]}. Nothing was published;"
            " free space there or choose another folder."
        ) from error
    return version


def awkward_volume(channels):
    """Return a seeded image (19, 14, 11, channels) and an oblique, flipped, anisotropic affine (4, 4), both float32."""
    image = np.random.default_rng(0).normal(100, 30, (19, 14, 11, channels)).astype(np.float32)
    turn, tilt = 0.3, 0.2
    around_z = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    around_x = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    stored_axes_mm = np.array([[0, 0, 2.2], [-0.8, 0, 0], [0, -1.1, 0]])
    affine = np.eye(4, dtype=np.float32)
    affine[:3, :3] = around_z @ around_x @ stored_axes_mm
    affine[:3, 3] = 12.5, -40, 7
    return image, affine


def _with_variables(segmenter):
    """Return the same segmenter with weights that are saved beside the graph: constants inside it end at 2 GiB."""
    if len(segmenter.members) > 1:
        return Ensemble(map(_with_variables, segmenter.members))
    own = {id(variable): value for variable, value in segmenter.weights}
    weights = [(v, tf.Variable(own.get(id(v), v.value), trainable=False)) for v in segmenter.model.variables]
    refuse_nonfinite(weights, segmenter.model.name, error=RunError)
    names = ("task", "flip_axes", "window", "threshold")
    settings = {name: getattr(segmenter, name) for name in names}
    return Segmenter(segmenter.model, segmenter.preprocessing, weights=weights, **settings)


def _write(segmenter, path, volume, *, name, about, more):
    served = tf.Module(name="segmenter")
    served.weights = [value for member in segmenter.members for _, value in member.weights]
    functions = {SIGNATURE: segmenter.segment, PROBABILITY_SIGNATURE: segmenter.answer, **more}
    signatures = {name: function.get_concrete_function() for name, function in functions.items()}
    tf.saved_model.save(served, str(path), signatures=signatures)
    extra = path / EXTRA
    extra.mkdir()
    (extra / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    _write_warm_up(extra / WARM_UP, volume, name=name)


def _about(segmenter, runs, *, as_run):
    if runs and as_run:
        fingerprint = combine_fingerprints(fingerprint_runs(runs).values())
    else:
        fingerprint = fingerprint_segmenter(segmenter)
    return {
        "fingerprint": fingerprint,
        "task": msgspec.to_builtins(segmenter.task),
        "threshold": segmenter.threshold,
        "not_in_the_graph": choose_cleaning(runs) if runs else {},
        "members": [
            {
                "preprocessing": json.loads(member.preprocessing.to_json()),
                "flip_axes": list(member.flip_axes),
                "window": msgspec.to_builtins(member.window),
                "threshold": member.threshold,
            }
            for member in segmenter.members
        ],
        "versions": {"mcc_keras": mcc_keras.__version__, "keras": keras.__version__, "tensorflow": tf.__version__},
    }


def _write_warm_up(path, volume, *, name):
    try:
        from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
    except ImportError:  # the extra `serving` is not installed; the model serves without
        return
    requests = {
        SIGNATURE: dict(zip(("image", "affine"), volume, strict=True)),
        BYTES: {"scan_bytes": [[as_nifti(Volume(*volume))]]},
    }
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests.items():
            log = PredictionLog()
            request = log.predict_log.request
            request.model_spec.name, request.model_spec.signature_name = name, signature
            for key, value in inputs.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            writer.write(log.SerializeToString())


def _check_operations(path, name):
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    graph = SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def
    found = {node.op for node in graph.node}
    for function in graph.library.function:
        checkpoint = function.signature.name.startswith(_CHECKPOINT_FUNCTIONS)
        found |= {node.op for node in function.node_def} - (CHECKPOINTING if checkpoint else frozenset())
    unknown = found - COMPUTING - {function.signature.name for function in graph.library.function}
    if unknown:
        raise RunError(
            name,
            f"expected a graph of known operations, found {', '.join(sorted(unknown))}",
            "Build the network of Keras' own layers, without Python functions or files inside.",
        )


def _check_reloaded(path, volume, live):
    image, affine = (tf.constant(array) for array in volume)
    loaded = tf.saved_model.load(str(path)).signatures
    reloaded, probable = loaded[SIGNATURE], loaded[PROBABILITY_SIGNATURE](image=image, affine=affine)
    served = reloaded(image=image, affine=affine)
    file = loaded[BYTES](scan_bytes=tf.constant([[as_nifti(Volume(*volume))]]))["mask_bytes"].numpy()[0]
    written = mask_of_file(file, shape=image.shape[:3], address=path)
    masks = (served["mask"].numpy(), probable["mask"].numpy(), written)
    differing = sum(int(np.count_nonzero(live["mask"].numpy() != mask)) for mask in masks)
    apart = float(np.max(np.abs(live["probability"].numpy() - probable["probability"].numpy())))
    if differing or not apart <= TOLERANCE:
        raise MCCKerasError(
            f"The reloaded SavedModel must equal the live model. Found {differing} voxels of the mask that differ, and"
            f" probabilities {apart:.1e} apart (allowed: {TOLERANCE}). Nothing was published."
        )
    for wrong in (image[..., 0], image[None]):
        try:
            reloaded(image=wrong, affine=affine)
        except (tf.errors.InvalidArgumentError, ValueError, TypeError):
            continue
        raise MCCKerasError(
            f"The SavedModel must refuse an image of shape {wrong.shape}; it does not. Nothing published."
        )
