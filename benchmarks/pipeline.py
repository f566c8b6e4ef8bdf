"""What the pipeline costs an epoch, and whether its memory grows with the data.

    python benchmarks/pipeline.py

`pipeline_overhead`: an epoch of Dense V-Net at 64³, batches of 2, fed by float32 records with the preset "strong",
against as many steps on one batch that lies in memory. Network and pipeline share the cores, so the whole epoch is
compared and not the waiting, which is printed beside it. Both are trained in turns in one process, each after an
untimed epoch, which compiles; the ratio is the median over the rounds of fed / held. The same of the processor's time
stands beside it, which other programs on the machine disturb less. An epoch is 40 steps, as of a small data set:
opening the dataset takes part of a second, which counts, and counts more the shorter an epoch is.

`pipeline_checksum`: what comparing the checksum of each record takes of such an epoch, in processor time. All records
are read in turns by TensorFlow's reader of records, which compares them, and by its reader of pieces of a fixed length,
which does not; the difference of the medians is divided by the median of the fed epochs.

`pipeline_memory`: the most memory that an epoch over 200 volumes of 128³ takes, against 20 volumes, each in a process
of its own that reads batches of 2 and does nothing with them. The records hold int16, as scans that are not normalized
do: 200 of float32 would fill 1.9 GB of disk, and what the pipeline holds, float32 batches, is the same. No
augmentation, then with "strong"; the larger ratio counts.

Records are made of noise, in a temporary folder that is removed. Prints a table and, last, `name ratio goal`.
"""

import json
import os
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

GOALS = {"pipeline_overhead": 1.2, "pipeline_checksum": 0.03, "pipeline_memory": 1.1}
PRESET = "strong"
SIZE, STEPS, ROUNDS, PASSES = 64, 40, 5, 15
LARGE, COUNTS = 128, (20, 200)


def write_records(folder, *, count, size, normalize):
    """Prepare `count` training cases of size³ noise with a ball as the organ; return the WORK folder."""
    from mcc_keras.datasets import find_cases
    from mcc_keras.preprocessing import Preprocessing
    from mcc_keras.records.write import write_tfrecords

    scans, rng = folder / "scans", np.random.default_rng(0)
    scans.mkdir(parents=True)
    axis = np.linspace(-1, 1, size)
    mask = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < 0.1).astype(np.uint8)
    image = rng.normal(500, 100, mask.shape).astype(np.int16)
    for index in range(count):
        for array, name in ((np.roll(image, index), f"case{index:03d}"), (mask, f"case{index:03d}_mask")):
            nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 1.0, 1.0])), scans / f"{name}.nii")
    box = Preprocessing(size=size, normalize=normalize, clip_percentiles=None)
    write_tfrecords(find_cases(scans), folder / "work", preprocessing=box, split=(1.0, 0.0, 0.0), workers=2)
    shutil.rmtree(scans)
    return folder / "work"


def overhead(work):
    """Print a line a round.

    Returns:
        The median ratio of an epoch fed by records and one on a batch in memory; the processor's seconds of the first.
    """
    import keras
    import tensorflow as tf

    from mcc_keras import DenseVNet, MCCLoss
    from mcc_keras.pipeline.dataset import fixed_options, load_dataset
    from mcc_keras.pipeline.throughput import watch

    data, clock = watch(load_dataset(work, "train", batch_size=2, augment=PRESET))
    batch = next(iter(load_dataset(work, "train", batch_size=2)))
    held = tf.data.Dataset.from_tensors(batch).repeat(STEPS).with_options(fixed_options())
    keras.utils.set_random_seed(0)
    model = DenseVNet((SIZE, SIZE, SIZE, 1), 1)
    model.compile(keras.optimizers.AdamW(1e-3), loss=MCCLoss())

    def epoch(dataset):
        begin = time.perf_counter(), time.process_time()
        model.fit(dataset, verbose=0, shuffle=False)
        return time.perf_counter() - begin[0], time.process_time() - begin[1]

    print(f"{'':8}{'fed, s':>10}{'held, s':>10}{'ratio':>8}{'of CPU time':>13}{'waiting':>10}{'volumes/s':>12}")
    ratios, seconds = [], []
    for number in range(ROUNDS + 1):
        clock.seconds = 0.0
        (fed, fed_cpu), (still, still_cpu) = epoch(data), epoch(held)
        name = f"round {number}" if number else "untimed"
        row = f"{name:8}{fed:10.2f}{still:10.2f}{fed / still:8.2f}{fed_cpu / still_cpu:13.2f}"
        print(f"{row}{clock.seconds / fed:10.1%}{2 * STEPS / fed:12.1f}", flush=True)
        ratios.append(fed / still)
        seconds.append(fed_cpu)
    return statistics.median(ratios[1:]), statistics.median(seconds[1:])


def checksum(work, epoch_seconds):
    """Print the processor's time of a pass over the records; return what comparing their checksums takes of an epoch.

    Args:
        work: WORK folder, whose training records have one length.
        epoch_seconds: The processor's time of an epoch.
    """
    import tensorflow as tf

    from mcc_keras.records.example import FRAME
    from mcc_keras.records.manifest import read_manifest

    records = read_manifest(work).records("train")
    (length,) = {record.bytes for record in records}
    shards = sorted({str(record.path) for record in records})
    compared = tf.data.TFRecordDataset(shards)
    plain = tf.data.FixedLengthRecordDataset(shards, length + sum(FRAME))
    seconds = {"compared": [], "plain": []}
    for _ in range(PASSES + 1):
        for name, dataset in (("compared", compared), ("plain", plain)):
            begin = time.process_time()
            assert sum(1 for _ in dataset) == len(records)
            seconds[name].append(time.process_time() - begin)
    found = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    share = (found["compared"] - found["plain"]) / epoch_seconds
    print("\nCPU time, ms" + "".join(f"{1000 * value:10.1f} {name}" for name, value in found.items()), end="")
    print(f"{1000 * epoch_seconds:12.1f} epoch {share:10.2%} checksum ({length * len(records) / 1e6:.0f} MB)")
    return share


def print_peak(work, augment):
    """In a process of its own: read one epoch, print the most memory this process has taken, in MB."""
    from mcc_keras.pipeline.dataset import load_dataset

    for _ in load_dataset(work, "train", batch_size=2, augment=json.loads(augment)):
        pass
    # Not `ru_maxrss`, in which a process begins with the peak of the one that started it.
    status = Path("/proc/self/status").read_text("ascii")
    print(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def memory(folder):
    """Print a line a setting; return the larger ratio of peaks."""
    works = [write_records(folder / str(n), count=n, size=LARGE, normalize="none") for n in COUNTS]
    ratios = []
    print(f"\n{'peak, MB':16}" + "".join(f"{count:>6} volumes" for count in COUNTS) + f"{'ratio':>8}")
    for augment in (False, PRESET):
        command = [sys.executable, __file__, "--peak"]
        peaks = [float(subprocess.check_output([*command, str(w), json.dumps(augment)]).split()[-1]) for w in works]
        ratios.append(peaks[1] / peaks[0])
        print(f"{augment or 'no augmentation':16}{peaks[0]:14.0f}{peaks[1]:14.0f}{ratios[-1]:8.3f}", flush=True)
    return max(ratios)


def main():
    print(mk.describe_environment().header(), end="\n\n")
    folder = Path(tempfile.mkdtemp())
    try:
        work = write_records(folder / "small", count=2 * STEPS, size=SIZE, normalize="zscore")
        ratio, seconds = overhead(work)
        share = checksum(work, seconds)
        found = {"pipeline_overhead": ratio, "pipeline_checksum": share, "pipeline_memory": memory(folder)}
    finally:
        shutil.rmtree(folder)
    print("\n" + "\n".join(f"{name} {ratio:.3f} {GOALS[name]}" for name, ratio in found.items()))


if __name__ == "__main__":
    print_peak(*sys.argv[2:]) if sys.argv[1:2] == ["--peak"] else main()
