"""Time and memory of preprocessing a CT of 512×512×300 voxels, in the graph that segments and in NumPy.

    python benchmarks/preprocessing.py     about a minute on two quiet cores

Each form runs in a process of its own: once on the scan's own grid, where voxels are only moved and normalized, and
once to a box of another voxel size. Prints seconds of the clock, seconds of the processor, and the most memory above
that before the call, when the scan is loaded already.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json
import resource
import subprocess
import sys
import time

import numpy as np

import mcc_keras as mk

SHAPE, SPACING_MM = (512, 512, 300), (0.8, 0.8, 1.0)
AFFINE = np.diag([*SPACING_MM, 1.0])
BOXES = {
    "own grid": {"size": SHAPE},
    "own grid, background left out": {"size": SHAPE, "ignore_background": True},
    "to 1.25 mm": {"size": (328, 328, 240), "spacing_mm": 1.25},
}


def scan():
    """Noise in a cylinder of tissue, with air around it as in a CT: many voxels are equal."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((*SHAPE, 1), np.float32)  # no float64, whose memory would hide what is measured
    image *= 60
    image += 40
    x, y = (np.linspace(-1, 1, n) for n in SHAPE[:2])
    image[x[:, None] ** 2 + y**2 > 0.8] = -1024
    return image


def graph_form(image, preprocessing):
    import tensorflow as tf

    from mcc_keras.preprocessing.graph import GraphGrid, normalized_box

    @tf.function(autograph=False)
    def box_of(image, affine):
        return normalized_box(image, GraphGrid(image, affine, preprocessing), preprocessing)

    arguments = tf.constant(image), tf.constant(AFFINE)
    box_of.get_concrete_function(*arguments)
    return lambda: box_of(*arguments).numpy()


def numpy_form(image, preprocessing):
    return lambda: preprocessing.apply(image, preprocessing.grid(image, AFFINE))


def measure(form, box):
    """Print what one call takes, as JSON; in a process of its own, since memory is never given back."""
    call = {"graph": graph_form, "NumPy": numpy_form}[form](scan(), mk.Preprocessing(**BOXES[box]))
    memory, processor, clock = peak_gb(), cpu_seconds(), time.perf_counter()
    call()
    print(json.dumps([time.perf_counter() - clock, cpu_seconds() - processor, peak_gb() - memory]))


def cpu_seconds():
    times = os.times()
    return times.user + times.system


def peak_gb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main():
    print(mk.describe_environment().header(), end="\n\n")
    print(f"{'':38}{'seconds':>10}{'of CPU':>10}{'GB above':>10}")
    worst = {"seconds": 0.0, "processor": 0.0, "gb": 0.0}
    for box in BOXES:
        for form in ("graph", "NumPy"):
            command = [sys.executable, __file__, form, box]
            found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout.splitlines()[-1])
            print(f"{box + ', ' + form:38}" + "".join(f"{number:10.2f}" for number in found), flush=True)
            worst = {
                name: max(*pair) for name, pair in zip(worst, zip(found, worst.values(), strict=True), strict=True)
            }
    print(f"\nct_seconds {worst['seconds']:.2f} 5\nct_gb {worst['gb']:.2f} 1.5")


if __name__ == "__main__":
    measure(*sys.argv[1:]) if len(sys.argv) > 1 else main()
