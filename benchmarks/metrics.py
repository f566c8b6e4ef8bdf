"""How fast the surface distances are beside MONAI's and surface-distance's.

    python benchmarks/metrics.py

95 % Hausdorff and average symmetric surface distance of two masks of 256 × 256 × 48, theirs in a process of their own
(the interpreter that MCC_KERAS_PEERS_PYTHON names, or this one), MONAI at its better of one and two threads. Ours and
theirs take turns; medians. Two masks that lie near one another, as a usable segmentation does to the truth, and, in the
table only, two that lie apart, where ours has no short cut. Prints a table and, last, one line a claim: name, ratio
ours / the faster of theirs, goal.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import mcc_keras as mk
from mcc_keras.metrics import surface

PYTHON = os.environ.get("MCC_KERAS_PEERS_PYTHON", sys.executable)
SPACING, ROUNDS, GOAL = (0.6, 0.6, 3.0), 7, 0.5
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
    centres = (80, 80 + shift)
    return np.array([((x - c) / 45) ** 2 + ((y - 128) / 38) ** 2 + ((z - 24) / 13) ** 2 < 1 for c in centres])


def ours(truth, prediction):
    start = time.perf_counter()
    distances = surface.surface_distances(truth, prediction, SPACING)
    surface.hausdorff_of(distances, percentile=95)
    surface.average_of(distances)
    return time.perf_counter() - start


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
    report({key: statistics.median(measured) for key, measured in times.items()})


def report(medians):
    print(f"95 % Hausdorff and average surface distance, 256 x 256 x 48, median of {ROUNDS}, ms\n")
    print(f"{'masks':8}{'MONAI':>10}{'surface-distance':>18}{'ours':>8}{'ratio':>8}")
    for pair in ("near", "apart"):
        monai = min(medians[pair, "MONAI", threads] for threads in (1, 2))
        deepmind, mine = medians[pair, "surface-distance", 1], medians[pair, "ours", 1]
        ratio = mine / min(monai, deepmind)
        print(f"{pair:8}{1e3 * monai:10.1f}{1e3 * deepmind:18.1f}{1e3 * mine:8.1f}{ratio:8.3f}")
        if pair == "near":
            claim = f"surface_distances {ratio:.3f} {GOAL}"
    print(f"\n{claim}")


if __name__ == "__main__":
    main()
