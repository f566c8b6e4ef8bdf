"""How fast the surface distances are beside MONAI's and surface-distance's.

    python benchmarks/metrics.py

95 % Hausdorff and average symmetric surface distance of two masks of 256 × 256 × 48, theirs in a process of their own
(the interpreter that MCC_KERAS_PEERS_PYTHON names, or this one). Ours and theirs take turns; medians. Prints a table
and, last, one line a claim: name, ratio ours / the faster of theirs, goal.
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

from mcc_keras.metrics import surface

PYTHON = os.environ.get("MCC_KERAS_PEERS_PYTHON", sys.executable)
SPACING, ROUNDS, GOAL = (0.6, 0.6, 3.0), 7, 0.5
THEIRS = """
import json, sys, time
import numpy as np, torch, surface_distance
from monai import metrics
given = np.load(sys.argv[1])
truth, prediction, spacing = given["truth"], given["prediction"], given["spacing"].tolist()
a, b = (torch.from_numpy(x)[None, None].float() for x in (truth, prediction))
def monai():
    metrics.compute_hausdorff_distance(b, a, percentile=95, spacing=spacing)
    metrics.compute_average_surface_distance(b, a, symmetric=True, spacing=spacing)
def deepmind():
    distances = surface_distance.compute_surface_distances(truth, prediction, spacing)
    surface_distance.compute_robust_hausdorff(distances, 95)
    surface_distance.compute_average_surface_distance(distances)
work = {"MONAI": monai, "surface-distance": deepmind}
for line in sys.stdin:
    start = time.perf_counter()
    work[line.strip()]()
    print(json.dumps(time.perf_counter() - start), flush=True)
"""


def masks():
    """Return two glands of about 40 ml, one moved by a few voxels."""
    x, y, z = np.indices((256, 256, 48))
    return [((x - c) / 45) ** 2 + ((y - 128) / 38) ** 2 + ((z - 24) / 13) ** 2 < 1 for c in (128, 132)]


def main():
    truth, prediction = masks()
    path = Path(tempfile.mkdtemp()) / "masks.npz"
    np.savez(path, truth=truth, prediction=prediction, spacing=SPACING)
    peers = subprocess.Popen(
        [PYTHON, "-c", THEIRS, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )

    def theirs(name):
        peers.stdin.write(f"{name}\n")
        answer = peers.stdout.readline()
        if not answer:
            sys.exit(f"{PYTHON} has no MONAI and surface-distance; MCC_KERAS_PEERS_PYTHON can name one that has")
        return json.loads(answer)

    def ours():
        start = time.perf_counter()
        distances = surface.surface_distances(truth, prediction, SPACING)
        surface.hausdorff_of(distances, percentile=95)
        surface.average_of(distances)
        return time.perf_counter() - start

    times = {"ours": [], "MONAI": [], "surface-distance": []}
    for name in times:
        ours() if name == "ours" else theirs(name)  # imports and caches
    for _ in range(ROUNDS):
        for name, measured in times.items():
            measured.append(ours() if name == "ours" else theirs(name))
    medians = {name: statistics.median(measured) for name, measured in times.items()}
    print(f"95 % Hausdorff and average surface distance, 256 x 256 x 48, median of {ROUNDS}, ms\n")
    for name, median in medians.items():
        print(f"{name:18}{1e3 * median:9.1f}")
    peers.stdin.close()
    peers.wait()
    print(f"\nsurface_distances {medians['ours'] / min(medians['MONAI'], medians['surface-distance']):.3f} {GOAL}")


if __name__ == "__main__":
    main()
