"""Seconds of segmenting 50 small scans in one process, beside its start-up and the seconds of network and reading.

    python benchmarks/many_scans.py    two minutes on two quiet cores

The scans have 35×50×35 voxels, the network is an untrained Dense V-Net of 32³. A new process calls `segment_many` for
one scan, another one for all 50; a third reads a scan and calls the network for it, again and again. Every number is
the least of several rounds. Start-up is what the process of one scan takes beyond network and reading. Processor
seconds, of all threads, say the same where other programs compete for the cores.

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
    """Return how long a new process takes that segments a source, and its processor seconds."""
    with tempfile.TemporaryDirectory() as output:
        begin, spent = time.perf_counter(), sum(os.times()[2:4])
        subprocess.run([sys.executable, "-c", MANY, str(run), str(source), output], check=True)
        return time.perf_counter() - begin, sum(os.times()[2:4]) - spent


def parts_of(run, scan):
    """Print the median seconds of the network and of reading one scan."""
    from mcc_keras.datasets.scan import read_scan
    from mcc_keras.segmentation.segment import predict
    from mcc_keras.segmentation.segmenter import load_segmenter

    segmenter, volume = load_segmenter(run), read_scan(scan, ("image",))
    calls = {"network": lambda: predict(segmenter, volume), "reading": lambda: read_scan(scan, ("image",))}
    found = {name: [timed(call) for _ in range(REPEATS + 2)][2:] for name, call in calls.items()}
    print(
        json.dumps(
            {name: [statistics.median(each) for each in zip(*pairs, strict=True)] for name, pairs in found.items()}
        )
    )


def timed(call):
    begin, spent = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - begin, time.process_time() - spent


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
    least = {name: [min(both) for both in zip(*(each[name] for each in rounds), strict=True)] for name in rounds[0]}
    print(f"{'':20}{'seconds':>10}{'processor seconds':>20}")
    each = [sum(both) for both in zip(least["network"], least["reading"], strict=True)]
    startup = [one - part for one, part in zip(least["one"], each, strict=True)]
    rows = {"network, a scan": least["network"], "reading, a scan": least["reading"], "start-up": startup}
    for name, both in {**rows, f"{SCANS} scans": least["all"]}.items():
        print(f"{name:20}{both[0]:10.3f}{both[1]:20.3f}")
    ratios = [
        (whole - one) / (SCANS - 1) / part for whole, one, part in zip(least["all"], least["one"], each, strict=True)
    ]
    print(f"{'other scans / parts':20}{ratios[0]:10.3f}{ratios[1]:20.3f}")
    print(f"\nmany_scans {ratios[0]:.3f} {GOAL}")


if __name__ == "__main__":
    main()
