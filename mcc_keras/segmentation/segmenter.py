"""`Segmenter`: preprocessing → network → restore → mask as one `tf.function`.

`evaluate`, `segment` and the exported SavedModel all call this graph, so their masks are equal by construction.
"""

import functools

import keras
import tensorflow as tf

from mcc_keras.errors import RunError, UsageError
from mcc_keras.models.model_file import read_model, refuse_nonfinite
from mcc_keras.runs.run import DATA, MODEL, PREPROCESSING, RECIPE, RESULT, read_run
from mcc_keras.segmentation.scan_graph import ScanGraph
from mcc_keras.segmentation.slabs import Slabs, checked
from mcc_keras.task import Task

THRESHOLD = 0.5
DEFAULT_TASK = Task()


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
        labels = {"classes": task.num_classes, "labels": task.label_values, "dtype": task.mask_dtype}
        self.graph = ScanGraph([self], **labels, threshold=threshold)
        signature = (
            tf.TensorSpec((None, None, None, model.input_shape[-1]), tf.float32, name="image"),
            tf.TensorSpec((4, 4), tf.float32, name="affine"),
        )
        self.segment = tf.function(self._segment, autograph=False, input_signature=signature)
        self.answer = tf.function(self._answer, autograph=False, input_signature=signature)
        self.slabs = Slabs(self.graph, signature)

    def predict(self, box):
        """Return the probabilities (x, y, z, classes) of a box or window (x, y, z, channels), over all flips."""
        views = [box] + [tf.reverse(box, [axis]) for axis in self.flip_axes]
        with keras.StatelessScope(self.weights, initialize_variables=False):
            probability = tf.cast(self.model(tf.stack(views), training=False), tf.float32)
        back = [probability[0]] + [tf.reverse(probability[i + 1], [axis]) for i, axis in enumerate(self.flip_axes)]
        return tf.add_n(back) / len(back)

    def _segment(self, image, affine):
        return self.graph.answer(*checked(image, affine, self.model.input_shape[-1]), probability=False)

    def _answer(self, image, affine):
        return self.graph.answer(*checked(image, affine, self.model.input_shape[-1]), probability=True)


def load_segmenter(run):
    """Return the `Segmenter` of a finished run; that of the last run is kept as long as its files are unchanged.

    Args:
        run: Run folder, or a `Run`.

    Raises:
        RunError: The run is not finished, or one of its files is damaged.
    """
    folder = read_run(run).folder.resolve()
    return _load(folder, tuple(_stamp(folder / name) for name in (MODEL, PREPROCESSING, RECIPE, DATA, RESULT)))


@functools.lru_cache(maxsize=1)
def _load(folder, _stamps):
    run = read_run(folder)
    model, weights = load_model(run)
    chosen = {"flip_axes": run.recipe.flip_axes, "window": run.recipe.window}
    return Segmenter(model, run.preprocessing, task=run.task, weights=weights, **chosen)


def _stamp(path):
    found = path.stat()
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
