"""How fast scans become records, beside filling MONAI's PersistentDataset.

    python benchmarks/prepare.py

Two sets of gzipped NIfTI files with masks: 100 of about 35 × 50 × 35 (like a hippocampus set) and 8 of 256 × 256 × 48
(like a prostate set). Read, turn to RAS+, resample onto a box, z-score, write float32 images and uint8 masks; ours with
`write_tfrecords`, theirs in a process of their own (the interpreter that MCC_KERAS_PEERS_PYTHON names, or this one)
with the same transforms: order 1 for the image, nearest for the mask. Two workers
each (theirs: a DataLoader whose workers persist, at one thread each). Both warm: imports and the first of the runs are
not counted. They take turns; medians. Prints a table and, last, one line a claim: name, ratio ours / theirs, goal; then
the most memory that a worker of ours took, in volumes of float32, while it wrote a shard of three large scans, and its
goal.
"""

import json
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import nibabel as nib
import numpy as np

import mcc_keras as mk
from mcc_keras.datasets import find_cases
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.shards import ShardTask, plan_shards, write_shard

PYTHON = os.environ.get("MCC_KERAS_PEERS_PYTHON", sys.executable)
GOAL, MEMORY_GOAL, WORKERS = 0.67, 4.0, 2
SETS = {  # scans, their mean shape, spacing, the box, timed runs
    "small": (100, (35, 50, 35), (1.0, 1.0, 1.0), (48, 48, 48), 5),
    "large": (8, (256, 256, 48), (0.6, 0.6, 3.0), (128, 128, 64), 5),
}
THEIRS = """
import json, pathlib, sys, tempfile, time, warnings
warnings.filterwarnings("ignore")
import torch
from monai.data import PersistentDataset
from monai.transforms import (CastToTyped, Compose, EnsureChannelFirstd, LoadImaged, NormalizeIntensityd, Orientationd,
                              Resized)
torch.set_num_threads(1)
def first(batch):
    return None
loaders = {}
def loader_of(files, size, workers):
    folder = tempfile.mkdtemp()
    keys = ["image", "mask"]
    chain = Compose([
        LoadImaged(keys, reader="NibabelReader"),
        EnsureChannelFirstd(keys),
        Orientationd(keys, axcodes="RAS", labels=None),
        Resized(keys, size, mode=["trilinear", "nearest"]),
        NormalizeIntensityd("image"),
        CastToTyped(keys, [torch.float32, torch.uint8]),
    ])
    dataset = PersistentDataset(files, chain, folder)
    return folder, torch.utils.data.DataLoader(
        dataset, batch_size=1, num_workers=workers, collate_fn=first, prefetch_factor=4, persistent_workers=True
    )
def fill(files, **settings):
    if files[0]["image"] not in loaders:
        loaders[files[0]["image"]] = loader_of(files, **settings)
    folder, loader = loaders[files[0]["image"]]
    start = time.perf_counter()
    for _ in loader:
        pass
    seconds = time.perf_counter() - start
    for path in pathlib.Path(folder).iterdir():
        path.unlink()
    return seconds
for line in sys.stdin:
    print(json.dumps(fill(**json.loads(line))), flush=True)
"""


def write_scans(folder, count, shape, spacing):
    """Write seeded scans: smooth tissue with noise, int16, one ball as the organ."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        size = tuple(int(n + d) for n, d in zip(shape, rng.integers(-3, 4, 3) * (count > 10), strict=True))
        x, y, z = (np.linspace(-1, 1, n) for n in size)
        distance = np.sqrt(x[:, None, None] ** 2 + y[:, None] ** 2 + z**2)
        image = 400 * np.exp(-(distance**2)) + rng.normal(0, 20, size)
        affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1])
        nib.save(nib.Nifti1Image(image.astype(np.int16), affine), folder / f"case{index:03d}.nii.gz")
        nib.save(nib.Nifti1Image((distance < 0.3).astype(np.uint8), affine), folder / f"case{index:03d}_mask.nii.gz")
    return find_cases(folder)


def ours(cases, preprocessing):
    """Return the seconds that it takes to write records of the cases."""
    from mcc_keras import write_tfrecords

    work = Path(tempfile.mkdtemp()) / "work"
    start = time.perf_counter()
    write_tfrecords(cases, work, preprocessing=preprocessing, workers=WORKERS)
    seconds = time.perf_counter() - start
    shutil.rmtree(work.parent)
    return seconds


def peak_volumes(cases, preprocessing):
    """Return by how much a worker grows at most while it writes a shard, in float32 volumes of the scan.

    A process of its own, which has written a shard of a few voxels before: imports do not count.
    """
    read = subprocess.run(
        [sys.executable, __file__, "--memory"],
        input=pickle.dumps((cases, preprocessing)),
        stdout=subprocess.PIPE,
        check=True,
    )
    return int(read.stdout) / (4 * np.prod(nib.load(cases[0].images[0]).shape))


def grow(cases, preprocessing):
    """Print the bytes by which this process grows while it writes a shard of the cases."""
    with tempfile.TemporaryDirectory() as folder:
        tiny = write_scans(Path(folder) / "tiny", 1, (8, 8, 8), (1.0, 1.0, 1.0))
        write(tiny, folder, preprocessing=Preprocessing(size=8))
        before = peak()
        write(cases, folder, preprocessing=preprocessing)
        print(peak() - before)


def write(cases, folder, *, preprocessing):
    (shard,) = plan_shards({"train": cases}, {case.case_id: case.case_id for case in cases}, record_bytes=1)
    problems = write_shard(ShardTask(shard, Path(folder), preprocessing, compression=None, earlier={}))
    if problems:
        raise problems[0]


def peak():
    """Return the most memory that this process has held, in bytes; `resource` would count that of its parent, too."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def main():
    print(mk.describe_environment().header(), end="\n\n")
    peers = subprocess.Popen([PYTHON, "-c", THEIRS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def theirs(cases, preprocessing):
        files = [{"image": str(case.images[0]), "mask": str(case.mask)} for case in cases]
        peers.stdin.write(json.dumps({"files": files, "size": preprocessing.size, "workers": WORKERS}) + "\n")
        peers.stdin.flush()
        answer = peers.stdout.readline()
        if not answer:
            sys.exit(f"{PYTHON} has no MONAI; MCC_KERAS_PEERS_PYTHON can name one that has")
        return json.loads(answer)

    root, claims = Path(tempfile.mkdtemp()), []
    print(f"{'':8}{'ours, s':>12}{'MONAI, s':>12}")
    for name, (count, shape, spacing, size, runs) in SETS.items():
        cases = write_scans(root / name, count, shape, spacing)
        preprocessing = Preprocessing(size=size, clip_percentiles=None)
        memory = peak_volumes(cases[:3], preprocessing)
        both = [(ours(cases, preprocessing), theirs(cases, preprocessing)) for _ in range(runs + 1)][1:]
        medians = [statistics.median(times) for times in zip(*both, strict=True)]
        ratio = statistics.median(mine / their for mine, their in both)
        print(f"{name:8}{medians[0]:12.2f}{medians[1]:12.2f}", flush=True)
        claims.append(f"prepare_{name} {ratio:.3f} {GOAL}")
        if name == "large":
            claims.append(f"prepare_peak_volumes {memory:.1f} {MEMORY_GOAL}")
    shutil.rmtree(root)
    peers.stdin.close()
    peers.wait()
    print("\n" + "\n".join(claims))


if __name__ == "__main__":
    grow(*pickle.loads(sys.stdin.buffer.read())) if "--memory" in sys.argv else main()
