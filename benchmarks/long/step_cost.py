"""What a training step costs: reading, augmentation and network, each alone and together.

    python benchmarks/long/step_cost.py [--size 40,56,40] [--batch 2] [--steps 20] [--models dense_vnet,residual_unet]

Records of noise are made in a temporary folder. In one process, in turns: batches without augmentation, batches with
the default augmentation, steps of each network on one batch in memory, and steps fed by the augmented batches, as
`train` takes them. Printed are milliseconds of the processor per batch, all threads together, which other programs on
the machine disturb less, and milliseconds of the clock, which count on idle cores only. `waits` is the clock's time of
the fed steps beyond processor time / cores: what two pools of threads lose to each other.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

import mcc_keras as mk
from mcc_keras.datasets import write_synthetic
from mcc_keras.models import get_model

ROUNDS = 5


def integers(text):
    return tuple(int(part) for part in text.split(","))


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=integers, default=(40, 56, 40))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--models", type=lambda text: text.split(","), default=["dense_vnet", "residual_unet"])
    return parser.parse_args()


def write_records(folder, options):
    count = options.batch * (options.steps + 1)
    scans = {"num_cases": count, "size": options.size, "layout": "pairs", "foreground_fraction": 0.05}
    cases = mk.find_cases(write_synthetic(folder / "scans", **scans))
    box = mk.Preprocessing(size=options.size)
    mk.write_tfrecords(cases, folder / "work", preprocessing=box, split=(1, 0, 0), workers=1, accept_loss=True)
    return folder / "work"


def timed(call):
    processor, clock = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - processor, time.perf_counter() - clock


def compiled(name, options):
    import keras

    model = get_model(name, (*options.size, 1))
    optimizer = keras.optimizers.AdamW(1e-3, global_clipnorm=1.0)
    model.compile(optimizer, mk.MCCLoss(), metrics=[mk.metrics.DiceScore(pool="all")], jit_compile=False)
    return model


def main():
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        work, times = write_records(Path(folder), options), {}
        shown = {"batch_size": options.batch, "seed": 0}
        plain = mk.load_dataset(work, "train", augment=False, **shown)
        fed = mk.load_dataset(work, "train", augment=True, **shown)
        held = next(iter(plain))
        calls = {"read": lambda: run_through(plain), "read and augment": lambda: run_through(fed)}
        for name in options.models:
            model = compiled(name, options)
            calls[f"{name}, one batch"] = lambda model=model: [model.train_on_batch(*held) for _ in fed_steps(options)]
            calls[f"{name}, fed"] = lambda model=model: model.fit(fed, epochs=1, shuffle=False, verbose=0)
        for label, call in calls.items():
            call()  # compiles
            times[label] = []
        for _ in range(ROUNDS):
            for label, call in calls.items():
                times[label].append(timed(call))
    print(mk.describe_environment().header(), end="\n\n")
    size, cores = "×".join(map(str, options.size)), len(os.sched_getaffinity(0))
    print(f"{f'{options.batch} volumes of {size}':36}{'processor':>10}{'clock':>8}{'waits':>8}   ms a batch, medians")
    for label, pairs in times.items():
        steps = len(list(fed_steps(options)))
        processor, clock = (1e3 * statistics.median(each) / steps for each in zip(*pairs, strict=True))
        waits = f"{max(0.0, clock - processor / cores):8.0f}" if "fed" in label else ""
        print(f"{label:36}{processor:10.0f}{clock:8.0f}{waits}")


def fed_steps(options):
    return range(options.steps + 1)


def run_through(data):
    for image, _ in data:
        np.asarray(image[0, 0, 0, 0])


if __name__ == "__main__":
    main()
