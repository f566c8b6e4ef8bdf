"""Variants of the network behind `serving_preprocessed`: size on disk, time of one box, Dice of the test part.

    python benchmarks/long/variants.py RUN [--rounds 30] [--keep FOLDER]          a few minutes

RUN is a finished run that sees its whole box, with its scans where they were when it was trained. What is compared is
the graph from the box to its probabilities, flips included, without the pre- and postprocessing around it:

    float32            the network as `mcc-keras export` writes it
    bfloat16           the same in Keras' mixed_bfloat16, kernels cast once and saved in 16 bits
    OpenVINO float16   weights in 16 bits, computed in float32 and in what OpenVINO chooses itself (on a processor with
                       AVX512_BF16 or AMX that is bfloat16)
    OpenVINO int8      by nncf's post-training quantization, calibrated on the training part

OpenVINO and nncf are no packages of an extra (`pip install openvino nncf`); where one is missing its lines are left
out. All variants run in this process in turns, each on as many threads as this process may use, with a pause before
each call in which threads of the others fall asleep. `processor` is all threads together, which other programs on the
machine disturb less; `clock` counts on idle cores only. Masks are made of the probabilities by the package's own way
back to the scan, without cleaning. Dice is the mean over the cases of the means over their classes; a class in neither
mask counts as 1 and one in the found mask alone as 0, while `evaluate` leaves both out of its means.
`greatest change` is that of a case against float32; `voxels` are those of all masks that differ from float32's.
"""

import argparse
import dataclasses
import functools
import importlib.metadata
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

import mcc_keras as mk
from mcc_keras.datasets.cases import read_image, read_mask
from mcc_keras.evaluation.evaluate import find_part
from mcc_keras.runs.run import read_run
from mcc_keras.segmentation.scan_graph import ScanGraph
from mcc_keras.segmentation.segment import arrays_of
from mcc_keras.segmentation.segmenter import Segmenter, load_segmenter
from mcc_keras.serving.bytes_signature import preprocessed
from mcc_keras.training.build import compile_model

WARM_UPS, PAUSE = 3, 0.05  # calls before the first timed one; seconds before each call


def parse(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--keep", type=Path, help="folder for the variants, which are otherwise deleted")
    return parser.parse_args(words)


@dataclasses.dataclass
class Variant:
    """A network that stands on disk.

    Args:
        name: Its line in the table.
        files: The files that are needed to run it.
        predict: Function of a box float32 (x, y, z, channels) that returns float32 (x, y, z, classes).
    """

    name: str
    files: tuple
    predict: Callable

    @property
    def megabytes(self):
        return sum(path.stat().st_size for path in self.files) / 1e6


class Around:
    """What a segmenter does before its network and behind it: a box of a scan, and a mask of its probabilities.

    Args:
        segmenter: `Segmenter`.
    """

    def __init__(self, segmenter):
        self.preprocessing, self.window, self.predict = segmenter.preprocessing, None, lambda box: self._given
        task, self.channels = segmenter.task, segmenter.channels
        labels = {"classes": task.num_classes, "labels": tuple(range(len(task.label_values))), "dtype": "uint8"}
        self.graph = ScanGraph((self,), **labels, threshold=segmenter.threshold)

    def box(self, volume):
        """Return the box float32 (x, y, z, channels) of a `Volume`, an array."""
        image, affine = arrays_of(volume)
        scans, _ = self.graph.prepare(tf.constant(image), tf.constant(affine, tf.float64))
        return scans[0].box.numpy()

    def mask(self, volume, probability):
        """Return the class indices uint8 (x, y, z) of a `Volume` whose box has these probabilities."""
        self._given = tf.constant(probability)
        image, affine = arrays_of(volume)
        return self.graph.answer(tf.constant(image), tf.constant(affine, tf.float64), probability=False)["mask"].numpy()


def with_variables(segmenter, *, model=None, dtype_of=None):
    """Return a segmenter of the same weights as variables beside its graph, of another model and types where given."""
    model = model or segmenter.model
    settings = {name: getattr(segmenter, name) for name in ("task", "flip_axes", "threshold")}
    values = [value for _, value in segmenter.weights]
    shapes = [[tuple(x.shape) for x in each] for each in (values, model.variables)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"expected weights {shapes[0]}, found {shapes[1]}")
    types = [tf.as_dtype(dtype_of(v) if dtype_of else v.dtype) for v in model.variables]
    weights = [tf.Variable(tf.cast(value, dtype), trainable=False) for value, dtype in zip(values, types, strict=True)]
    pairs = list(zip(model.variables, weights, strict=True))
    return Segmenter(model, segmenter.preprocessing, weights=pairs, **settings)


def in_bfloat16(segmenter, run):
    """Return a segmenter of the run's network in mixed_bfloat16, whose kernels are bfloat16 variables."""
    recipe = dataclasses.replace(run.recipe, precision="mixed_bfloat16", init=None, freeze=())
    model = compile_model(run.data, recipe)
    narrow = {
        id(variable)
        for layer in model.layers
        if layer.compute_dtype == "bfloat16"
        for variable in layer.variables
        if len(variable.shape) == 5
    }
    types = {"dtype_of": lambda variable: "bfloat16" if id(variable) in narrow else variable.dtype}
    return with_variables(segmenter, model=model, **types)


def write_saved_model(segmenter, folder):
    """Write the way from box to probabilities as a SavedModel; return its files and a function that runs it."""
    module = tf.Module()
    module.weights, module.predict = [value for _, value in segmenter.weights], preprocessed(segmenter)
    tf.saved_model.save(module, str(folder), signatures=module.predict.get_concrete_function())
    loaded = tf.saved_model.load(str(folder))
    answer = loaded.signatures["serving_default"]

    def predict(box, _kept=loaded):
        return answer(box=tf.constant(box))["probability"].numpy()

    return tuple(path for path in folder.rglob("*") if path.is_file()), predict


def tensorflow_variants(run, segmenter, folder):
    return [
        Variant("float32", *write_saved_model(with_variables(segmenter), folder / "float32")),
        Variant("bfloat16", *write_saved_model(in_bfloat16(segmenter, run), folder / "bfloat16")),
    ]


def openvino_variants(source, folder, boxes):
    """Return the variants that OpenVINO and nncf make of a SavedModel, as far as they are installed.

    Args:
        source: Folder of the SavedModel.
        folder: Where to write them.
        boxes: Function without arguments that returns the boxes to calibrate on.
    """
    missing = [name for name in ("openvino", "nncf") if importlib.util.find_spec(name) is None]
    if "openvino" in missing:
        print(f"left out: OpenVINO float16 and int8, since {' and '.join(missing)} cannot be imported")
        return []
    import openvino as ov

    model = ov.convert_model(source)
    path = folder / "float16.xml"
    ov.save_model(model, path, compress_to_fp16=True)
    found = [compiled("OpenVINO float16", path, precision="f32"), compiled("OpenVINO float16", path)]
    if missing:
        print("left out: OpenVINO int8, since nncf cannot be imported")
        return found
    import nncf

    calibration = boxes()
    # The products are the interpolation to a finer grid; OpenVINO 2026.4 cannot compile them in int8.
    spared = nncf.IgnoredScope(types=["MatMul"])
    data = nncf.Dataset(calibration)
    quantized = nncf.quantize(model, data, subset_size=len(calibration), ignored_scope=spared)
    path = folder / "int8.xml"
    ov.save_model(quantized, path, compress_to_fp16=True)
    try:
        return [*found, compiled("OpenVINO int8", path)]
    except RuntimeError as error:
        print(f"left out: OpenVINO int8, which OpenVINO cannot compile: {str(error).strip().splitlines()[-1]}")
        return found


def compiled(name, path, *, precision=None):
    """Return a `Variant` that OpenVINO runs on as many threads as this process may use."""
    import openvino as ov

    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": len(os.sched_getaffinity(0))}
    options |= {"INFERENCE_PRECISION_HINT": precision} if precision else {}
    model = ov.Core().compile_model(path, "CPU", options)
    chosen = model.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    label = f"{name}, rest in {chosen}" if "int8" in name else f"{name}, computed in {chosen}"
    return Variant(label, (path, path.with_suffix(".bin")), lambda box: np.array(model(box)[0]))


def time_in_turns(variants, box, rounds):
    """Return the medians of processor and clock in ms of one box, a pair for each variant."""
    for variant in variants:
        for _ in range(WARM_UPS):
            variant.predict(box)
    times = [[] for _ in variants]
    for _ in range(rounds):
        for variant, found in zip(variants, times, strict=True):
            time.sleep(PAUSE)
            processor, clock = time.process_time(), time.perf_counter()
            variant.predict(box)
            found.append((time.process_time() - processor, time.perf_counter() - clock))
    return [tuple(1e3 * statistics.median(each) for each in zip(*found, strict=True)) for found in times]


def dice(truth, mask, classes):
    """Return the mean Dice of the classes 1 to `classes` - 1 of two arrays of class indices."""
    pairs = [(truth == index, mask == index) for index in range(1, classes)]
    sums = [(2 * np.count_nonzero(a & b), np.count_nonzero(a) + np.count_nonzero(b)) for a, b in pairs]
    return float(np.mean([both / either if either else 1.0 for both, either in sums]))


def score(variants, around, cases, classes):
    """Return the Dice (variants, cases) and the number of voxels (variants,) that differ from the first variant."""
    scores, differing = np.zeros((len(variants), len(cases))), np.zeros(len(variants), int)
    for number, case in enumerate(cases):
        volume = read_image(case)
        truth, box = read_mask(case, volume), around.box(volume)
        masks = [around.mask(volume, variant.predict(box)) for variant in variants]
        scores[:, number] = [dice(truth, mask, classes) for mask in masks]
        differing += [np.count_nonzero(mask != masks[0]) for mask in masks]
    return scores, differing


def measure(run, folder, rounds):
    segmenter = load_segmenter(run)
    if segmenter.window is not None or None in segmenter.model.input_shape[1:]:
        sys.exit(f"{run.folder}: expected a run that sees its whole box, found one with windows")
    around, test = Around(segmenter), find_part(run, "test")
    variants = tensorflow_variants(run, segmenter, folder)

    @functools.cache
    def training_boxes():
        return [around.box(read_image(case)) for case in find_part(run, "train")]

    variants += openvino_variants(folder / "float32", folder, training_boxes)
    scores, differing = score(variants, around, test, len(segmenter.task.label_values))
    times = time_in_turns(variants, around.box(read_image(test[0])), rounds)
    views = 1 + len(segmenter.flip_axes)
    shape = "×".join(map(str, segmenter.model.input_shape[1:-1]))
    print(f"\n{segmenter.model.name}, a box of {shape} seen {views} times; {rounds} rounds; {len(test)} test cases")
    print(f"{'':38}{'MB':>6}{'processor':>11}{'clock':>11}{'Dice':>9}{'greatest change':>17}{'voxels':>8}")
    for variant, (processor, clock), dices, count in zip(variants, times, scores, differing, strict=True):
        change = dices - scores[0]
        greatest = change[np.argmax(np.abs(change))]
        line = f"{variant.name:38}{variant.megabytes:6.1f}{processor:8.1f} ms{clock:8.1f} ms{dices.mean():9.4f}"
        print(f"{line}{greatest:+17.4f}{count:8d}")


def main():
    options = parse()
    print(mk.describe_environment().header())
    for name in ("openvino", "nncf"):
        if importlib.util.find_spec(name):
            print(f"{name} {importlib.metadata.version(name)}")
    with tempfile.TemporaryDirectory() as folder:
        folder = options.keep or Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        measure(read_run(options.run), folder, options.rounds)


if __name__ == "__main__":
    main()
