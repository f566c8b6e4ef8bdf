"""Processor seconds of segmenting one small scan beyond those of `import tensorflow`.

    python benchmarks/start_up.py                    a minute on two quiet cores
    python benchmarks/start_up.py --before FOLDER    the same for another checkout, and the ratio of both

The scan has 35×50×35 voxels, the network is an untrained Dense V-Net of 32³. Every number is the least of several
processes, which take turns: first `import tensorflow`, then `segment` of each checkout. FOLDER is a checkout of this
repository at another commit, such as one that `git worktree add FOLDER COMMIT` makes.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import mcc_keras as mk

SIDE, SHAPE, PROCESSES = 32, (35, 50, 35), 5
SPENT = "import os; print(sum(os.times()[:2]))"
IMPORT = f"import os; os.environ['TF_ENABLE_ONEDNN_OPTS'] = '1'; import tensorflow; {SPENT}"
SEGMENT = f"import sys, mcc_keras as mk; mk.segment(*sys.argv[1:], overwrite=True); {SPENT}"


def write_run(folder):
    """Write a finished run that nobody trained, and the scan, with the package of this process."""
    from mcc_keras.runs.data import RunData
    from mcc_keras.runs.run import MODEL, RunResult, finish_run, start_run
    from mcc_keras.volumes import write_volume

    task, shape = mk.Task(channel_names=("image",)), (SIDE, SIDE, SIDE, 1)
    data = RunData(work="nowhere", manifest_sha256="0" * 64, task=task, image_shape=shape, cases={})
    run = start_run(folder / "run", recipe=mk.Recipe(epochs=1), data=data, preprocessing=mk.Preprocessing(size=SIDE))
    mk.DenseVNet(shape, 1).save(run / MODEL)
    numbers = {"best_epoch": 1, "best_value": 0.5, "steps": 1, "seconds": 1.0, "parameters": 1}
    finish_run(run, RunResult(**numbers, speed={}, versions={}))
    scan = np.random.default_rng(0).normal(100, 30, SHAPE).astype(np.int16)
    write_volume(scan, folder / "scan.nii.gz", affine=np.eye(4))


def run_with(checkout, *arguments):
    """Return what a new process prints that uses the package of a checkout."""
    command, environment = [sys.executable, *map(str, arguments)], {**os.environ, "PYTHONPATH": str(checkout)}
    return subprocess.run(command, check=True, capture_output=True, env=environment, cwd=checkout, text=True).stdout


def cpu_seconds(checkout, program, *arguments):
    return float(run_with(checkout, "-c", program, *arguments).split()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="checkout of another commit")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        return write_run(options.write)
    before, checkouts = options.before, {"after": Path(__file__).resolve().parents[1]}
    if before:
        checkouts = {"before": before.resolve(), **checkouts}
    print(mk.describe_environment().header(), end="\n\n", flush=True)
    found = {"import": [], **{name: [] for name in checkouts}}
    with tempfile.TemporaryDirectory() as work:
        folders = {name: Path(work) / name for name in checkouts}
        for name, folder in folders.items():  # a run of each, since its files belong to its version
            folder.mkdir()
            run_with(checkouts[name], __file__, "--write", folder)
        for _ in range(PROCESSES):
            found["import"].append(cpu_seconds(work, IMPORT))
            for name, folder in folders.items():
                arguments = (folder / part for part in ("run", "scan.nii.gz", "mask.nii.gz"))
                found[name].append(cpu_seconds(checkouts[name], SEGMENT, *arguments))
    least = {name: min(seconds) for name, seconds in found.items()}
    print(f"{'import tensorflow':24}{least.pop('import'):8.2f} s")
    beyond = {name: seconds - min(found["import"]) for name, seconds in least.items()}
    for name, seconds in beyond.items():
        print(f"{f'segment, {name}':24}{seconds:8.2f} s more")
    if before:
        print(f"{'start_up':24}{beyond['after'] / beyond['before']:8.2f}")


if __name__ == "__main__":
    main()
