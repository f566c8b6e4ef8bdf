"""How fast the losses are, and how much memory they take, beside MONAI's and torch's.

    python benchmarks/losses.py

Forward and backward of 2 volumes of 96³ in float32, ours in a TensorFlow graph, theirs in a process of their own (the
interpreter that MCC_KERAS_PEERS_PYTHON names, or this one) at their best of one and two threads. Ours and theirs take
turns, each after an untimed step of its own; medians. The spread is that of the middle half of the rounds: where it is
wide, others used the cores. "bare TF" is the heaviest part of the same work, see `BARE`, in TensorFlow's own functions
and without a loss around it. Prints a table and, last, one line a claim: name, ratio ours / theirs, goal.
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

import mcc_keras as mk

PYTHON = os.environ.get("MCC_KERAS_PEERS_PYTHON", sys.executable)
SIZE, ROUNDS = 96, 21
GOALS = {"mcc_binary": 0.4, "dice": 0.6, "gwd": 0.6, "cross_entropy": 0.6, "mcc_rk4": 0.6}
OURS = {
    "mcc_binary": ("mcc", {}, 1),
    "dice": ("dice", {}, 1),
    "gwd": ("gwd", {"from_logits": True}, 4),
    "cross_entropy": ("cross_entropy", {"from_logits": True}, 1),
    "mcc_rk4": ("mcc", {}, 4),
}
# Cells: a product, three sums, and a gradient affine in the target. Entropy and softmax: TensorFlow's own function,
# forward and backward. Matrix: the one-hot form, its product with the prediction, and a row looked up for each voxel.
BARE = {
    "mcc_binary": "cells",
    "dice": "cells",
    "gwd": "softmax",
    "cross_entropy": "entropy",
    "mcc_rk4": "matrix",
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
    """Return two functions that run forward and backward, ours and the bare part, and the seconds of compilation."""
    import tensorflow as tf

    from mcc_keras.losses import get_loss

    loss_name, arguments, channels = OURS[name]
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, (2, SIZE, SIZE, SIZE, 1))
    y_true = tf.constant((labels > 2).astype("float32") if channels == 1 else labels.astype("int32"))
    p = generator.random((2, SIZE, SIZE, SIZE, channels)).astype("float32")
    y_pred = tf.constant(p if channels == 1 else p / p.sum(-1, keepdims=True))
    loss = get_loss(loss_name, **arguments)

    def graph(y_true, y_pred):
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            value = loss(y_true, y_pred)
        return value, tape.gradient(value, y_pred)

    def timed(function):
        compiled = tf.function(function)

        def step():
            start = time.perf_counter()
            tf.reshape(compiled(y_true, y_pred)[1], [-1])[0].numpy()
            return time.perf_counter() - start

        return step

    step, bare = timed(graph), timed(bare_parts()[BARE[name]])
    compiled = step()
    bare()
    return step, bare, compiled


def bare_parts():
    """Return forward and backward in bare TensorFlow, by the names in `BARE`."""
    import tensorflow as tf

    def cells(y, p):
        return [tf.reduce_sum(x, (1, 2, 3)) for x in (y * p, p, y)], 0.5 * y - 0.25

    def entropy(y, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(y, x))
        return value, tape.gradient(value, x)

    def softmax(y, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            p = tf.nn.softmax(x)
        return p, tape.gradient(p, x, x)

    def matrix(y, p):
        one_hot = tf.reshape(tf.one_hot(y[..., 0], 4), (2, SIZE, -1, 4))
        return tf.matmul(one_hot, tf.reshape(p, (2, SIZE, -1, 4)), transpose_a=True), tf.gather(tf.eye(4), y[..., 0])

    return {"cells": cells, "entropy": entropy, "softmax": softmax, "matrix": matrix}


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
    print(mk.describe_environment().header(), end="\n\n")
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

    theirs("dice", 1)
    compared = {name: ours(name) for name in GOALS}
    print(f"2 x {SIZE}^3, forward and backward, median of {ROUNDS}, ms; peers at their best of 1 and 2 threads")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before\n")
    print(
        f"{'work':16}{'ours':>9}{'theirs':>9}{'threads':>9}{'ratio':>8}{'spread':>13}{'bare TF':>9}{'compiled in':>14}"
    )
    for name, (step, bare, compiled) in compared.items():
        own, least, other = [], [], {1: [], 2: []}
        for _ in range(ROUNDS):
            for function, times in ((step, own), (bare, least)):
                function()
                times.append(function())
            for threads in other:
                other[threads].append(theirs(name, threads))
        best = min(other, key=lambda threads: statistics.median(other[threads]))
        mine, peer = statistics.median(own), statistics.median(other[best])
        ratios[name] = mine / peer
        low, _, high = statistics.quantiles([a / b for a, b in zip(own, other[best], strict=True)])
        print(
            f"{name:16}{1e3 * mine:9.2f}{1e3 * peer:9.2f}{best:9d}{ratios[name]:8.2f}{f'{low:.2f}-{high:.2f}':>13}"
            f"{1e3 * statistics.median(least):9.2f}{compiled:12.2f} s"
        )
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
