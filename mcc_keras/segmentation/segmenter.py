"""`Segmenter`: preprocessing → network → restore → mask as one `tf.function`.

`evaluate`, `segment` and the exported SavedModel all call this graph, so their masks are equal by construction.
"""

import dataclasses
import functools

import keras
import tensorflow as tf

from mcc_keras.errors import RunError, UsageError
from mcc_keras.models.model_file import read_model, refuse_nonfinite
from mcc_keras.runs.mask_options import SEGMENTER, THRESHOLD
from mcc_keras.runs.run import DATA, MODEL, PREPROCESSING, RECIPE, RESULT, read_run, read_runs
from mcc_keras.segmentation.scan_graph import ScanGraph
from mcc_keras.segmentation.sizes import nearest_size, takes
from mcc_keras.segmentation.slabs import Slabs, checked
from mcc_keras.task import Task

DEFAULT_TASK = Task()
_FILES = (MODEL, PREPROCESSING, RECIPE, DATA, RESULT, SEGMENTER)


class Segmenter(tf.Module):
    """A network with its preprocessing: a scan in, the mask on the scan's own grid out.

    Args:
        model: Keras model, (batch, *size, channels) to probabilities (batch, *size, classes); one class is a sigmoid.
        preprocessing: `Preprocessing` with nothing left to fit.
        task: `Task`, whose `label_values` the mask holds.
        flip_axes: Axes of the box (0 is left–right) that are also flipped; the predictions are averaged.
        weights: Pairs (Keras variable, tensor or `tf.Variable`) to take instead of the model's own values.
        window: `Window` in which the network sees the box, or `None`: the whole box at once.
        threshold: Probability from which on a single class is foreground.

    Call `segment(image, affine)`: image float32 (x, y, z, channels) in stored order, affine float32 (4, 4) to RAS+
    millimetres. It returns a dict: `mask` uint8 or uint16 (x, y, z). `answer(image, affine)` returns also `probability`
    float32 (x, y, z, classes), whose memory grows with classes times volume; `slabs(image, affine)` yields both in
    parts.
    """

    def __init__(
        self, model, preprocessing, *, task=DEFAULT_TASK, flip_axes=(), weights=(), window=None, threshold=THRESHOLD
    ):
        super().__init__(name="segmenter")
        if model.output_shape[-1] != task.num_classes:
            raise UsageError(
                f"`task` must have the classes of the model, {model.output_shape[-1]} channels. "
                f"Received: task.num_classes={task.num_classes}."
            )
        self.model, self.preprocessing = model, preprocessing
        self.task, self.flip_axes, self.weights = task, tuple(flip_axes), tuple(weights)
        self.window, self.threshold = window, threshold
        self.members, self.channels = (self,), model.input_shape[-1]
        _add_functions(self)

    def predict(self, box):
        """Return the probabilities (x, y, z, classes) of a box or window (x, y, z, channels), over all flips."""
        views = [box] + [tf.reverse(box, [axis]) for axis in self.flip_axes]
        with keras.StatelessScope(self.weights, initialize_variables=False):
            probability = tf.cast(self.model(tf.stack(views), training=False), tf.float32)
        back = [probability[0]] + [tf.reverse(probability[i + 1], [axis]) for i, axis in enumerate(self.flip_axes)]
        return tf.add_n(back) / len(back)


class Ensemble(tf.Module):
    """Several segmenters whose probabilities are averaged on the scan's grid; it is called as a `Segmenter` is.

    Args:
        members: `Segmenter`s of the same labels and channels; boxes, windows and flips may differ. A single class is
            foreground from the mean of their thresholds on.

    Raises:
        UsageError: Members of other labels or numbers of channels.
    """

    def __init__(self, members):
        super().__init__(name="segmenter")
        self.members = tuple(members)
        first = self.members[0]
        self.task, self.channels = first.task, first.channels
        for member in self.members[1:]:
            _refuse_other(member.task.label_values, self.task.label_values, "labels")
            _refuse_other(member.channels, self.channels, "channels")
        self.threshold = sum(member.threshold for member in self.members) / len(self.members)
        _add_functions(self)


def _refuse_other(found, expected, what):
    if found != expected:
        raise UsageError(f"All runs must have the same {what}. Received: {expected} and {found}.")


def _add_functions(segmenter):
    """Give a segmenter the functions `segment`, `answer` and `slabs` of its members."""
    task, channels = segmenter.task, segmenter.channels
    labels = {"classes": task.num_classes, "labels": task.label_values, "dtype": task.mask_dtype}
    graph = ScanGraph(segmenter.members, **labels, threshold=segmenter.threshold)
    signature = (
        tf.TensorSpec((None, None, None, channels), tf.float32, name="image"),
        tf.TensorSpec((4, 4), tf.float32, name="affine"),
    )

    def segment(image, affine):
        return graph.answer(*checked(image, affine, channels), probability=False)

    def answer(image, affine):
        return graph.answer(*checked(image, affine, channels), probability=True)

    segmenter.graph = graph
    segmenter.segment = tf.function(segment, autograph=False, input_signature=signature)
    segmenter.answer = tf.function(answer, autograph=False, input_signature=signature)
    segmenter.slabs = Slabs(graph, signature)


def load_segmenter(runs, *, flip_axes=None, window_size=None):
    """Return the `Segmenter` of a finished run, or the `Ensemble` of several.

    That of the last call is kept as long as its files are unchanged.

    Args:
        runs: Run folder, or a `Run`; or a list of them.
        flip_axes: Axes to flip and average; `None`: those of each run.
        window_size: (x, y, z) of the windows; `None`: as each run has it.

    Raises:
        RunError: A run is not finished, or one of its files is damaged.
        UsageError: Runs of other labels or channels, or windows that a network does not take.
    """
    folders = tuple(run.folder.resolve() for run in read_runs(runs))
    stamps = tuple(tuple(map(_stamp, (folder / name for name in _FILES))) for folder in folders)
    return _load(folders, stamps, None if flip_axes is None else tuple(flip_axes), window_size)


@functools.lru_cache(maxsize=1)
def _load(folders, _stamps, flip_axes, window_size):
    members = [_load_one(read_run(folder), flip_axes, window_size) for folder in folders]
    return members[0] if len(members) == 1 else Ensemble(members)


def _load_one(run, flip_axes, window_size):
    model, weights = load_model(run)
    options, window = run.mask_options, run.recipe.window
    chosen = {"flip_axes": options.flip_axes if flip_axes is None else flip_axes, "threshold": options.threshold}
    if window_size is not None:
        window = dataclasses.replace(window, size=window_size)
    segmenter = Segmenter(model, run.preprocessing, task=run.task, weights=weights, window=window, **chosen)
    if window_size is not None:
        _refuse_window(segmenter, window_size)
    return segmenter


def _refuse_window(segmenter, size):
    if takes(segmenter.model, size, predict=segmenter.predict):
        return
    nearest = nearest_size(segmenter.model, size, predict=segmenter.predict)
    way_out = f"The nearest that works is window_size={nearest}." if nearest else "Leave it out."
    raise UsageError(
        f"`window_size` must be a size that the network takes and returns. Received: window_size={size}. {way_out}"
    )


def _stamp(path):
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def load_model(run):
    """Return the Keras model of a `Run` and its weights, for inference.

    Only registered classes are ever run from the file, whatever the process has allowed Keras. The model's own
    variables are left without values, since drawing these and then replacing them takes as long as all the rest.

    Returns:
        `keras.Model`; list of pairs (variable, tensor), as `Segmenter` takes it.

    Raises:
        RunError: The file is damaged, takes far more memory than it has bytes, holds a class that is not registered, or
            weights that are not finite.
    """
    path = run.folder / MODEL
    with keras.StatelessScope(initialize_variables=False) as scope:
        model = read_model(path, error=RunError)
    found = ((variable, scope.get_current_value(variable)) for variable in model.variables)
    weights = [(variable, value) for variable, value in found if value is not None]
    refuse_nonfinite(weights, path, error=RunError)
    return model, weights
