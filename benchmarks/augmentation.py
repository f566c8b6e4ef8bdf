"""How fast a volume and its mask are augmented, beside MONAI and TorchIO, on a CPU.

    python benchmarks/augmentation.py                  every line: a few minutes on two quiet cores
    python benchmarks/augmentation.py affine strong    the lines named
    python benchmarks/augmentation.py many_shapes      the line without a peer

One volume of 128³ float32 with a mask, already in memory. Ours is one call of an `Augmentation` as `load_dataset` makes
it; MONAI and TorchIO run in the interpreter that MCC_KERAS_PEERS_PYTHON names, or this one, with one and with two
threads, and what one of them lacks of the list is written for it in one line of torch (peers/augmenting.py). They take
turns, each with its own draws. A round is several volumes, since the changes of `strong` happen with their
probabilities; the first round of each, in which ours is compiled, is printed and not counted; a form that takes twice
as long as the fastest peer is not asked again. A ratio is ours / the fastest peer, by medians of the rounds.

`many_shapes` augments a patch of 64³ of each of eight volumes whose shapes differ, as the first pass over records of
native size does, and of eight of one shape, compiling included in both. Their ratio is about 1 where a kernel is
compiled for the shape of the patch, and about 8 where it is compiled for that of the volume, which is printed for
comparison. Last, one line a claim: name, ratio, goal.
"""

import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import mcc_keras as mk  # before tensorflow, so that it uses oneDNN on every processor
import numpy as np
import tensorflow as tf
from peers.process import Process

from mcc_keras.augmentation import PRESETS, Augmentation
from mcc_keras.augmentation.boxed import change_box, read_around
from mcc_keras.augmentation.presets import NOTHING
from mcc_keras.augmentation.reach import reading_box

PEERS = Path(__file__).parent / "peers"
PYTHON = os.environ.get("MCC_KERAS_PEERS_PYTHON", sys.executable)
SIDE, ROUNDS, LIBRARIES, THREADS = 128, 5, ("monai", "torchio"), (1, 2)
PATCH, SPACING_MM = (64, 64, 64), (1.0, 1.0, 1.0)
AFFINE = {**NOTHING, "flip": (False,) * 3, "rotation_degrees": 10, "scaling": 0.1, "translation": 0.05}
# name: (goal, ours, volumes in a round)
LINES = {
    "affine": (0.25, Augmentation(**AFFINE), 5),
    "affine_elastic": (0.05, Augmentation(**{**AFFINE, "elastic": 0.02}), 2),
    "strong": (0.2, PRESETS["strong"], 10),
}


def ours(policy, volumes):
    """Return a function that takes a seed and returns the seconds a volume."""
    image = np.random.default_rng(0).normal(size=(SIDE, SIDE, SIDE, 1)).astype(np.float32)
    image, mask = tf.constant(image), tf.constant((image > 1).astype(np.uint8))
    spacing_mm = tf.constant([1.0, 1.0, 1.0])

    def run(seed):
        start = time.perf_counter()
        for volume in range(volumes):
            found, labels = policy((seed, volume), image, mask, spacing_mm=spacing_mm)
            found.numpy(), labels.numpy()  # waits until they are there
        return (time.perf_counter() - start) / volumes

    return run


def race(name):
    """Time all forms in turns, print the table, and return ours / the fastest peer."""
    _, policy, volumes = LINES[name]
    with Process(PYTHON, PEERS / "augmenting.py") as peers:
        runs = {"ours": ours(policy, volumes)}
        for library in LIBRARIES:
            peers.ask("prepare", library=library, work=name, side=SIDE)
            for threads in THREADS:
                runs[f"{library}, {threads} threads"] = lambda seed, library=library, threads=threads: peers.ask(
                    "run", library=library, threads=threads, volumes=volumes, seed=seed
                )
        first = {form: run(0) for form, run in runs.items()}
        fastest = min(seconds for form, seconds in first.items() if form != "ours")
        asked = {form: run for form, run in runs.items() if form == "ours" or first[form] < 2 * fastest}
        times = [{form: run(seed) for form, run in asked.items()} for seed in range(1, ROUNDS + 1)]
    medians = {form: statistics.median(each[form] for each in times) for form in asked}
    print(f"{name}: {SIDE}³, {volumes} volumes a round\n{'':22}{'first round, s':>16}{'median, ms a volume':>22}")
    for form in runs:
        median = f"{1000 * medians[form]:.0f}" if form in medians else "not asked again"
        print(f"{form:22}{volumes * first[form]:16.2f}{median:>22}")
    print(flush=True)
    return medians["ours"] / min(seconds for form, seconds in medians.items() if form != "ours")


def from_boxes(policy, shapes):
    """Return a function that augments the patch in the middle of an image and a mask, from a box around it."""
    where = {"spacing_mm": tf.constant(SPACING_MM), "patch_size": PATCH}
    box_size = reading_box(policy, PATCH, [(shape, SPACING_MM) for shape in shapes])

    def run(seed, image, mask, center):
        box = read_around(policy, seed, image, mask, center=center, box_size=box_size, **where)
        return change_box(policy, seed, box, **where)

    return run


def from_volumes(policy, shapes):
    """Return a function that does so from the whole volume."""
    return lambda seed, image, mask, center: policy(
        seed, image, mask, spacing_mm=SPACING_MM, patch_size=PATCH, center=center
    )


def first_pass(make, shapes, *, number):
    """Return the seconds of one patch of each volume, compiling included."""
    policy = Augmentation(brightness=0.15 + number / 1000)  # equal policies share their kernels
    volumes = [np.random.default_rng(0).normal(size=(*shape, 1)).astype(np.float32) for shape in shapes]
    volumes = [(tf.constant(image), tf.constant((image > 1).astype(np.uint8))) for image in volumes]
    run, start = make(policy, shapes), time.perf_counter()
    for volume, (image, mask) in enumerate(volumes):
        center = tf.constant([n / 2 for n in image.shape[:3]])
        found, labels = run(tf.constant((number, volume)), image, mask, center)
        found.numpy(), labels.numpy()
    return time.perf_counter() - start


def many_shapes():
    """Return the first pass over volumes of eight shapes / that over eight volumes of one shape."""
    shapes = [(112 + 8 * n, 144 - 4 * n, 96 + 4 * n) for n in range(8)]
    alike = [shapes[4]] * len(shapes)
    forms = {"eight shapes": (from_boxes, shapes), "one shape": (from_boxes, alike)}
    forms["eight shapes, whole volumes"] = (from_volumes, shapes)
    times = [{form: first_pass(*forms[form], number=3 * n + k) for k, form in enumerate(forms)} for n in range(3)]
    medians = {form: statistics.median(each[form] for each in times) for form in forms}
    print(f"many_shapes: patches of {PATCH}, 8 volumes, with compiling\n{'':30}{'s':>8}")
    print("\n".join(f"{form:30}{seconds:8.2f}" for form, seconds in medians.items()), end="\n\n", flush=True)
    return medians["eight shapes"] / medians["one shape"]


def main(names):
    goals = {name: goal for name, (goal, *_) in LINES.items()} | {"many_shapes": 1.3}
    unknown = set(names) - set(goals)
    if unknown:
        sys.exit(f"expected lines of {', '.join(goals)}; received {', '.join(sorted(unknown))}")
    print(mk.describe_environment().header(), end="\n\n")
    ratios = {name: race(name) if name in LINES else many_shapes() for name in names or goals}
    claims = [f"{name} {ratio:.3f} {goals[name]}" for name, ratio in ratios.items()]
    print("\n".join(claims))


if __name__ == "__main__":
    main(sys.argv[1:])
