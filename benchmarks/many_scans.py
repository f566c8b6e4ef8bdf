"""Seconds of segmenting 50 small scans in one process, beside its start-up and the seconds of network and reading.

    python benchmarks/many_scans.py    three minutes on two quiet cores

The scans have 35×50×35 voxels, the network is an untrained Dense V-Net of 32³. A new process calls `segment_many` for
one scan, another one for all 50; a third reads a scan and calls the network for it, again and again. Every number is
the least of several rounds. Start-up is what the process of one scan takes beyond network and reading.

Prints a table and, last, one line for the claim: name, seconds of the other 49 scans / seconds of their network and
reading, goal.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import mcc_keras as mk

SIDE, SHAPE, SCANS, ROUNDS, REPEATS, GOAL = 32, (35, 50, 35), 50, 3, 30, 1.2
MANY = "import sys, mcc_keras as mk; mk.segment_many(*sys.argv[1:]).raise_for_problems()"


def write_run(folder):
    """Write a finished run that nobody trained; return its path."""
    from mcc_keras.runs.data import RunData
    from mcc_keras.runs.run import MODEL, RunResult, finish_run, start_run
    from mcc_keras.segmentation.fingerprint import fingerprint_run

    task, shape = mk.Task(channel_names=("image",)), (SIDE, SIDE, SIDE, 1)
    data = RunData(work="nowhere", manifest_sha256="0" * 64, task=task, image_shape=shape, cases={})
    run = start_run(folder / "run", recipe=mk.Recipe(epochs=1), data=data, preprocessing=mk.Preprocessing(size=SIDE))
    mk.DenseVNet(shape, 1).save(run / MODEL)
    numbers = {"best_epoch": 1, "best_value": 0.5, "steps": 1, "seconds": 1.0, "parameters": 1}
    finish_run(run, RunResult(**numbers, speed={}, versions={}))
    fingerprint_run(run)
    return run


def write_scans(folder):
    from mcc_keras.volumes import write_volume

    rng = np.random.default_rng(0)
    for number in range(SCANS):
        scan = rng.normal(100, 30, SHAPE).astype(np.int16)
        write_volume(scan, folder / f"scan{number:02}.nii.gz", affine=np.eye(4))
    return folder


def seconds_of(run, source):
    """Return how long a new process takes that segments a source."""
    with tempfile.TemporaryDirectory() as output:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", MANY, str(run), str(source), output], check=True)
        return time.perf_counter() - begin


def parts_of(run, scan):
    """Print the median seconds of the network and of reading one scan."""
    from mcc_keras.datasets.scan import read_scan
    from mcc_keras.segmentation.segment import predict
    from mcc_keras.segmentation.segmenter import load_segmenter

    segmenter, volume = load_segmenter(run), read_scan(scan, ("image",))
    calls = {"network": lambda: predict(segmenter, volume), "reading": lambda: read_scan(scan, ("image",))}
    found = {name: [timed(call) for _ in range(REPEATS + 2)][2:] for name, call in calls.items()}
    print(json.dumps({name: statistics.median(seconds) for name, seconds in found.items()}))


def timed(call):
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def main():
    if len(sys.argv) > 1:
        return parts_of(*sys.argv[1:])
    print(mk.describe_environment().header(), end="\n\n", flush=True)
    rounds = []
    with tempfile.TemporaryDirectory() as work:
        run, scans = write_run(Path(work)), write_scans(Path(work) / "scans")
        first = scans / "scan00.nii.gz"
        for _ in range(ROUNDS):
            parts = subprocess.run([sys.executable, __file__, run, first], check=True, stdout=subprocess.PIPE)
            rounds.append(json.loads(parts.stdout.splitlines()[-1]))
            rounds[-1] |= {"one": seconds_of(run, first), "all": seconds_of(run, scans)}
    least = {name: min(each[name] for each in rounds) for name in rounds[0]}
    each = least["network"] + least["reading"]
    rows = {"network, a scan": least["network"], "reading, a scan": least["reading"]}
    rows |= {"start-up": least["one"] - each, f"{SCANS} scans": least["all"]}
    for name, seconds in rows.items():
        print(f"{name:20}{seconds:8.3f} s")
    print(f"\nmany_scans {(least['all'] - least['one']) / (SCANS - 1) / each:.3f} {GOAL}")


if __name__ == "__main__":
    main()
