"""How fast the losses are, and how much memory they take, beside MONAI's and torch's.

    python benchmarks/losses.py

Forward and backward of 2 volumes of 96³ in float32, ours in a TensorFlow graph, theirs in a process of their own (the
interpreter that MCC_KERAS_PEERS_PYTHON names, or this one) at their best of one and two threads. Ours and theirs take
turns; medians. Prints a table and, last, one line a claim: name, ratio ours / theirs, goal.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

PYTHON = os.environ.get("MCC_KERAS_PEERS_PYTHON", sys.executable)
SIZE, ROUNDS = 96, 9
GOALS = {"mcc_binary": 0.4, "dice": 0.6, "gwd": 0.6, "cross_entropy": 0.6, "mcc_rk4": 0.6}
OURS = {
    "mcc_binary": ("mcc", {}, 1),
    "dice": ("dice", {}, 1),
    "gwd": ("gwd", {"from_logits": True}, 4),
    "cross_entropy": ("cross_entropy", {"from_logits": True}, 1),
    "mcc_rk4": ("mcc", {}, 4),
}
# MONAI's own Wasserstein loss applies the softmax itself, so ours gets logits too; torch's cross-entropy takes logits.
THEIRS = """
import json, sys, time
import numpy as np, torch
from monai import losses
size = int(sys.argv[1])
generator = torch.Generator().manual_seed(0)
labels = torch.randint(0, 4, (2, 1, size, size, size), generator=generator)
binary = (labels > 2).float()
one_hot = torch.nn.functional.one_hot(labels[:, 0], 4).movedim(-1, 1).float().contiguous()
one = torch.rand((2, 1, size, size, size), generator=generator, requires_grad=True)
four = torch.rand((2, 4, size, size, size), generator=generator).softmax(1).requires_grad_()
work = {
    "mcc_binary": (losses.MCCLoss(), one, binary),
    "dice": (losses.DiceLoss(), one, binary),
    "gwd": (losses.GeneralizedWassersteinDiceLoss(1 - np.eye(4)), four, labels),
    "cross_entropy": (torch.nn.functional.binary_cross_entropy_with_logits, one, binary),
    "mcc_rk4": (losses.MCCLoss(), four, one_hot),
}
def step(loss, p, y):
    start = time.perf_counter()
    torch.autograd.grad(loss(p, y), p)
    return time.perf_counter() - start
for line in sys.stdin:
    name, threads = line.split()
    torch.set_num_threads(int(threads))
    step(*work[name])
    print(json.dumps(step(*work[name])), flush=True)
"""


def ours(name):
    """Return a function that runs forward and backward once, and the seconds that its compilation took."""
    import tensorflow as tf

    from mcc_keras.losses import get_loss

    loss_name, arguments, channels = OURS[name]
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, (2, SIZE, SIZE, SIZE, 1))
    y_true = tf.constant((labels > 2).astype("float32") if channels == 1 else labels.astype("int32"))
    p = generator.random((2, SIZE, SIZE, SIZE, channels)).astype("float32")
    y_pred = tf.constant(p if channels == 1 else p / p.sum(-1, keepdims=True))
    loss = get_loss(loss_name, **arguments)

    @tf.function
    def graph(y_true, y_pred):
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            value = loss(y_true, y_pred)
        return value, tape.gradient(value, y_pred)

    def step():
        start = time.perf_counter()
        graph(y_true, y_pred)[1][0, 0, 0, 0, 0].numpy()
        return time.perf_counter() - start

    return step, step()


def memory(with_loss):
    """Print the peak memory of this process, in KiB, with forward and backward of 2 × 256³ or without."""
    import tensorflow as tf

    from mcc_keras.losses import MCCLoss

    loss = MCCLoss()

    @tf.function
    def graph(y_true, y_pred):
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            value = loss(y_true, y_pred)
        return tape.gradient(value, y_pred)

    small = tf.random.uniform((2, 8, 8, 8, 1))
    graph(small, small)
    y_true = tf.zeros((2, 256, 256, 256, 1))
    y_pred = tf.fill((2, 256, 256, 256, 1), 0.5)
    if with_loss:
        graph(y_true, y_pred)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def peak(with_loss):
    command = [sys.executable, __file__, "memory", str(with_loss)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def main():
    ratios = {}
    peers = subprocess.Popen(
        [PYTHON, "-c", THEIRS, str(SIZE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )

    def theirs(name, threads):
        peers.stdin.write(f"{name} {threads}\n")
        answer = peers.stdout.readline()
        if not answer:
            sys.exit(f"{PYTHON} has no MONAI; set MCC_KERAS_PEERS_PYTHON to an interpreter that has it")
        return json.loads(answer)

    print(f"2 x {SIZE}^3, forward and backward, median of {ROUNDS}, ms; peers at their best of 1 and 2 threads\n")
    print(f"{'work':16}{'ours':>9}{'theirs':>9}{'ratio':>8}{'compiled in':>14}")
    for name in GOALS:
        step, compiled = ours(name)
        own, other = [], {1: [], 2: []}
        for _ in range(ROUNDS):
            own.append(step())
            for threads in other:
                other[threads].append(theirs(name, threads))
        mine, best = statistics.median(own), min(statistics.median(times) for times in other.values())
        ratios[name] = mine / best
        print(f"{name:16}{1e3 * mine:9.2f}{1e3 * best:9.2f}{ratios[name]:8.2f}{compiled:12.2f} s")
    peers.stdin.close()
    peers.wait()
    prediction = 2 * 256**3 * 4 / 1024
    extra = peak(True) - peak(False)
    print(f"\nmcc_memory: {extra / 1024:.0f} MiB above the same process without the loss; the prediction has")
    print(f"{prediction / 1024:.0f} MiB (2 x 256^3, forward and backward)\n")
    for name, goal in GOALS.items():
        print(f"{name} {ratios[name]:.3f} {goal}")
    print(f"mcc_memory {extra / prediction:.3f} 2")


if __name__ == "__main__":
    memory(sys.argv[2] == "True") if sys.argv[1:2] == ["memory"] else main()
