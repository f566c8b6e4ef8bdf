"""How fast the surface distances are beside MONAI's and surface-distance's, and the counting metrics beside `bincount`.

    python benchmarks/metrics.py

95 % Hausdorff and average symmetric surface distance of two masks of 256 × 256 × 48, theirs in a process of their own
(the interpreter that MCC_KERAS_PEERS_PYTHON names, or this one), MONAI at its better of one and two threads. Ours and
theirs take turns; medians. Two masks that lie near one another, as a usable segmentation does to the truth, and two
that lie apart, where ours has no short cut.

`DiceScore` of 2 volumes of 96³ in a TensorFlow graph, one channel or four, beside the same metric built on
`tf.math.bincount`, whose output length depends on the data, so that XLA refuses it.

Prints the tables and, last, one line for each claim: name, ratio ours / the faster of theirs, goal.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

import mcc_keras as mk
from mcc_keras.metrics import surface

PYTHON = os.environ.get("MCC_KERAS_PEERS_PYTHON", sys.executable)
SPACING, ROUNDS, GOALS = (0.6, 0.6, 3.0), 7, {"near": 0.14, "apart": 0.4}
SIDE, COUNTING_ROUNDS, COUNTING_GOAL = 96, 15, 1.1
THEIRS = """
import json, sys, time
import numpy as np, torch, surface_distance
from monai import metrics
given = np.load(sys.argv[1])
spacing = given["spacing"].tolist()
def monai(truth, prediction):
    a, b = (torch.from_numpy(x)[None, None].float() for x in (truth, prediction))
    metrics.compute_hausdorff_distance(b, a, percentile=95, spacing=spacing)
    metrics.compute_average_surface_distance(b, a, symmetric=True, spacing=spacing)
def deepmind(truth, prediction):
    distances = surface_distance.compute_surface_distances(truth, prediction, spacing)
    surface_distance.compute_robust_hausdorff(distances, 95)
    surface_distance.compute_average_surface_distance(distances)
work = {"MONAI": monai, "surface-distance": deepmind}
for line in sys.stdin:
    pair, name, threads = line.split()
    torch.set_num_threads(int(threads))
    truth, prediction = given[pair]
    start = time.perf_counter()
    work[name](truth, prediction)
    print(json.dumps(time.perf_counter() - start), flush=True)
"""
WAYS = (("ours", 1), ("MONAI", 1), ("MONAI", 2), ("surface-distance", 1))


def masks(shift):
    """Return two glands of about 40 ml, one moved by a few voxels."""
    x, y, z = np.indices((256, 256, 48))
    centers = (80, 80 + shift)
    return np.array([((x - c) / 45) ** 2 + ((y - 128) / 38) ** 2 + ((z - 24) / 13) ** 2 < 1 for c in centers])


def ours(truth, prediction):
    start = time.perf_counter()
    distances = surface.surface_distances(truth, prediction, SPACING)
    surface.hausdorff_of(distances, percentile=95)
    surface.average_of(distances)
    return time.perf_counter() - start


def counted(channels):
    """Return two functions that score a batch: by `DiceScore`, and by a `bincount` with the same checks of labels."""
    import tensorflow as tf

    from mcc_keras.metrics import DiceScore

    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, (2, SIDE, SIDE, SIDE, 1))
    p = generator.random((2, SIDE, SIDE, SIDE, channels)).astype("float32")
    y_true = tf.constant((labels > 2).astype("float32") if channels == 1 else labels.astype("int32"))
    y_pred = tf.constant(p if channels == 1 else p / p.sum(-1, keepdims=True))
    metric, classes = DiceScore(), max(channels, 2)

    def by_bincount():
        invalid = tf.logical_or(y_true < 0, y_true > classes - 1)[..., 0]
        predicted = tf.cast(y_pred[..., 0] > 0.5 if channels == 1 else tf.argmax(y_pred, axis=-1), "int32")
        true = tf.cast(y_true[..., 0] > 0.5 if channels == 1 else y_true[..., 0], "int32")
        cell = tf.where(invalid, classes**2, true * classes + predicted)
        counts = tf.math.bincount(tf.reshape(cell, (2, -1)), minlength=classes**2 + 1, axis=-1)[:, :-1]
        matrix = tf.cast(tf.reshape(counts, (2, classes, classes)), "float64")
        tp = tf.linalg.diag_part(matrix)[:, 1:]
        both = tf.reduce_sum(matrix, 1)[:, 1:] + tf.reduce_sum(matrix, 2)[:, 1:]
        return tf.reduce_mean(2 * tp / both)

    def ours():
        metric.reset_state()
        metric.update_state(y_true, y_pred)
        return metric.result()

    ours()  # creates the variables, which a graph may not
    return tf.function(ours), tf.function(by_bincount)


def compare_counting():
    """Print a table and return one line for each claim."""
    print(f"Dice of 2 x {SIDE}^3 in a graph, median of {COUNTING_ROUNDS}, ms\n")
    print(f"{'channels':8}{'bincount':>10}{'ours':>8}{'ratio':>8}")
    claims = []
    for channels, name in ((1, "counting"), (4, "counting_4_classes")):
        functions, times = counted(channels), ([], [])
        assert abs(float(functions[0]()) - float(functions[1]())) < 1e-6, "the two must agree"
        for _ in range(COUNTING_ROUNDS):
            for function, seconds in zip(functions, times, strict=True):
                start = time.perf_counter()
                float(function())
                seconds.append(time.perf_counter() - start)
        mine, theirs = (1e3 * statistics.median(seconds) for seconds in times)
        print(f"{channels:<8}{theirs:10.1f}{mine:8.1f}{mine / theirs:8.3f}")
        claims.append(f"{name} {mine / theirs:.3f} {COUNTING_GOAL}")
    print()
    return claims


def main():
    print(mk.describe_environment().header(), end="\n\n")
    pairs = {"near": masks(4), "apart": masks(80)}
    path = Path(tempfile.mkdtemp()) / "masks.npz"
    np.savez(path, **pairs, spacing=SPACING)
    command = [PYTHON, "-W", "ignore", "-c", THEIRS, path]
    peers = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def measure(pair, name, threads):
        if name == "ours":
            return ours(*pairs[pair])
        peers.stdin.write(f"{pair} {name} {threads}\n")
        answer = peers.stdout.readline()
        if not answer:
            sys.exit(f"{PYTHON} has no MONAI and surface-distance; MCC_KERAS_PEERS_PYTHON can name one that has")
        return json.loads(answer)

    times = {(pair, *way): [] for pair in pairs for way in WAYS}
    for number in range(ROUNDS + 1):
        for key, measured in times.items():
            seconds = measure(*key)
            if number:  # the first round is for imports and caches
                measured.append(seconds)
    peers.stdin.close()
    peers.wait()
    claims = [*report({key: statistics.median(measured) for key, measured in times.items()}), *compare_counting()]
    print("\n".join(claims))


def report(medians):
    """Print a table and return one line for each claim."""
    print(f"95 % Hausdorff and average surface distance, 256 x 256 x 48, median of {ROUNDS}, ms\n")
    print(f"{'masks':8}{'MONAI':>10}{'surface-distance':>18}{'ours':>8}{'ratio':>8}")
    claims = []
    for pair, goal in GOALS.items():
        monai = min(medians[pair, "MONAI", threads] for threads in (1, 2))
        deepmind, mine = medians[pair, "surface-distance", 1], medians[pair, "ours", 1]
        ratio = mine / min(monai, deepmind)
        print(f"{pair:8}{1e3 * monai:10.1f}{1e3 * deepmind:18.1f}{1e3 * mine:8.1f}{ratio:8.3f}")
        claims.append(f"surface_distances_{pair} {ratio:.3f} {goal}")
    print()
    return claims


if __name__ == "__main__":
    main()
