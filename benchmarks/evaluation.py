"""How long `mk.score` takes for 50 cases with all of its measures, beside MONAI's for the ones that MONAI has.

    python benchmarks/evaluation.py

50 pairs of masks of 160 × 160 × 40 as .nii.gz. Ours reads them and computes every measure of `MEASURES` on all cores.
MONAI's process (the interpreter that MCC_KERAS_PEERS_PYTHON names, or this one) reads ten of them with nibabel and
computes Dice, both Hausdorff distances, the average surface distance and the surface Dice, on all cores as well. They
take turns; medians, without imports.

Prints a table and, last, one line for the claim: name, ratio ours / MONAI per case, goal.
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
from mcc_keras.volumes import write_volume

PYTHON = os.environ.get("MCC_KERAS_PEERS_PYTHON", sys.executable)
CASES, THEIR_CASES, ROUNDS, GOAL = 50, 10, 3, 0.5
SHAPE, AFFINE = (160, 160, 40), np.diag([0.7, 0.7, 3.0, 1.0])
THEIRS = """
import json, sys, time
from pathlib import Path
import nibabel, torch
from monai import metrics
options = {"include_background": True, "spacing": (0.7, 0.7, 3.0)}
def read(path):
    return torch.from_numpy(nibabel.load(path).get_fdata(dtype="float32"))[None, None]
for line in sys.stdin:
    start = time.perf_counter()
    for path in sorted(Path(sys.argv[1]).iterdir())[: int(sys.argv[3])]:
        a, b = read(path), read(Path(sys.argv[2]) / path.name)
        metrics.compute_dice(b, a)
        metrics.compute_hausdorff_distance(b, a, **options)
        metrics.compute_hausdorff_distance(b, a, percentile=95, **options)
        metrics.compute_average_surface_distance(b, a, symmetric=True, **options)
        metrics.compute_surface_dice(b, a, [2.0], **options)
    print(json.dumps(time.perf_counter() - start), flush=True)
"""


def write_pairs(folder):
    """Write glands of about 30 ml; a prediction is moved by up to three voxels and has a false lesion."""
    x, y, z = np.indices(SHAPE)
    for number in range(CASES):
        rng = np.random.default_rng(number)
        center = np.array([80, 80, 20]) + rng.integers(-10, 10, 3) * (1, 1, 0.3)
        for name, shift in (("truth", 0), ("prediction", rng.integers(-3, 4))):
            moved = center + (shift, 0, 0)
            mask = ((x - moved[0]) / 35) ** 2 + ((y - moved[1]) / 30) ** 2 + ((z - moved[2]) / 9) ** 2 < 1
            mask[5:9, 5:9, 5:7] |= name == "prediction"
            write_volume(mask, folder / name / f"case{number:02}.nii.gz", affine=AFFINE)
    return folder / "truth", folder / "prediction"


def main():
    print(mk.describe_environment().header(), end="\n\n")
    folders = write_pairs(Path(tempfile.mkdtemp()))
    command = [PYTHON, "-W", "ignore", "-c", THEIRS, *map(str, folders), str(THEIR_CASES)]
    peers = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def ours():
        start = time.perf_counter()
        mk.score(*folders, workers=os.cpu_count())
        return (time.perf_counter() - start) / CASES

    def theirs():
        peers.stdin.write("go\n")
        answer = peers.stdout.readline()
        if not answer:
            sys.exit(f"{PYTHON} has no MONAI; MCC_KERAS_PEERS_PYTHON can name one that has")
        return json.loads(answer) / THEIR_CASES

    rounds = [(ours(), theirs()) for _ in range(ROUNDS + 1)][1:]  # the first round is for imports and caches
    peers.stdin.close()
    peers.wait()
    mine, monai = (statistics.median(seconds) for seconds in zip(*rounds, strict=True))
    print(f"{CASES} cases of {' x '.join(map(str, SHAPE))}, median of {ROUNDS}, s per case\n")
    print(f"{'MONAI, 5 measures':20}{monai:8.3f}\n{'ours, all measures':20}{mine:8.3f}\n")
    print(f"score_50_cases {mine / monai:.3f} {GOAL}")


if __name__ == "__main__":
    main()
