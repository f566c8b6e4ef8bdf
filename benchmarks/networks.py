"""Training step, inference and memory of the networks beside the same networks in plain PyTorch, on a CPU.

    python benchmarks/networks.py                          every line: about ten minutes on two quiet cores
    python benchmarks/networks.py dense_vnet_step_96       the lines named

Ours runs in this environment; PyTorch in the interpreter that MCC_KERAS_PEERS_PYTHON names, or this one. For each line
both start afresh, the twin is given the network's weights, and both must have as many parameters and the same logits
to 1e-4, else the benchmark fails. Then ours (as `fit` and `predict` compile it) and torch, eager and channels-last,
each with one and two threads, take turns. The first run of each, which compiles, is printed and not counted; a form
that takes twice as long as the fastest is not asked again. A ratio is ours / the fastest form, by medians. Memory is
what two steps add to the peak of a fresh process. Only quiet cores tell: on busy ones torch's two threads wait for each
other, which flatters ours. Last, one line a claim: name, ratio, goal.
"""

import os
import statistics
import sys
import tempfile
from pathlib import Path

from peers.process import Process

import mcc_keras as mk
from mcc_keras.processors import find_cap, find_processor, has_bfloat16

PEERS = Path(__file__).parent / "peers"
PYTHON = os.environ.get("MCC_KERAS_PEERS_PYTHON", sys.executable)
ROUNDS, MEMORY_ROUNDS, TOLERANCE = 5, 3, 1e-4
FORMS, THREADS = ("eager", "channels-last"), (1, 2)
STEP, INFERENCE = {"work": "step", "batch": 2}, {"work": "infer", "batch": 1}
ONE = {"work": "step", "batch": 1}
# name: (goal, network, side, what is done)
LINES = {
    "dense_vnet_step_64": (0.75, "dense_vnet", 64, STEP),
    "dense_vnet_step_96": (0.75, "dense_vnet", 96, STEP),
    "dense_vnet_memory_96": (1.2, "dense_vnet", 96, STEP),
    "dense_vnet_step_64_bfloat16": (0.75, "dense_vnet", 64, STEP),
    "dense_vnet_inference_96": (0.75, "dense_vnet", 96, INFERENCE),
    "vnet_step_64": (0.9, "vnet", 64, ONE),
    "voxresnet_step_64": (0.9, "voxresnet", 64, ONE),
    "unet_step_64": (0.9, "unet", 64, ONE),
}


def ours():
    return Process(sys.executable, PEERS / "ours.py")


def theirs():
    return Process(PYTHON, PEERS / "theirs.py")


def check(network, ours, theirs):
    """Give the twin the network's weights, and stop unless both are the same function."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/{network}.npz"
        own = ours.ask("write_check", network=network, path=path)
        other, difference = theirs.ask("read_check", network=network, path=path)
    if own != other or not difference < TOLERANCE:
        sys.exit(f"{network} and its twin differ: {own:,} and {other:,} parameters, logits by {difference:.1e}")
    print(f"same network: {own:,} parameters each, logits within {difference:.0e}\n")


def race(network, side, work, *, policy="float32", halves=(False,)):
    """Time everything in turns, print the table, and return ours / the fastest form."""
    with ours() as mine, theirs() as peer:
        check(network, mine, peer)
        mine.ask("prepare", network=network, side=side, policy=policy, **work)
        runs = {"ours": lambda: mine.ask("run")}
        for half in halves:
            for form in FORMS:
                peer.ask("prepare", network=network, side=side, form=form, half=half, **work)
                for threads in THREADS:
                    label = f"torch {form}{' bfloat16' if half else ''}, {threads} thread{'s'[: threads - 1]}"
                    runs[label] = lambda ask={"form": form, "threads": threads, "half": half}: peer.ask("run", **ask)
        return table(*measured(runs))


def measured(runs):
    """Seconds of the first run of each, and of the runs that count."""
    first = {label: run() for label, run in runs.items()}
    times = {label: [run()] for label, run in runs.items()}
    better = {label: min(first[label], *times[label]) for label in runs if label != "ours"}
    kept = ["ours", *(label for label, seconds in better.items() if seconds < 2 * min(better.values()))]
    for _ in range(ROUNDS - 1):
        for label in kept:
            times[label].append(runs[label]())
    return first, times


def table(first, times):
    print(f"{'':36}{'median':>9}{'fastest':>9}{'slowest':>9}{'runs':>6}{'first run':>11}   ms")
    medians = {label: statistics.median(seconds) for label, seconds in times.items()}
    for label, seconds in times.items():
        row = (medians[label], min(seconds), max(seconds))
        print(f"{label:36}{''.join(f'{1e3 * value:9.0f}' for value in row)}{len(seconds):6}{1e3 * first[label]:11.0f}")
    best = min((label for label in times if label != "ours"), key=medians.get)
    return medians["ours"] / medians[best]


def memory(network, side, work):
    """What two steps add to the peak memory of a fresh process: ours / the smaller form's, medians."""
    grown = {}
    print(f"{'':36}{'before':>9}{'peak':>9}{'added':>9}   GiB, median of {MEMORY_ROUNDS} processes")
    for form in (None, *FORMS):
        found = [peaks(form, network=network, side=side, **work) for _ in range(MEMORY_ROUNDS)]
        before, peak = (statistics.median(values) / 2**20 for values in zip(*found, strict=True))
        label = f"torch {form}" if form else "ours"
        grown[label] = statistics.median(after - start for start, after in found) / 2**20
        print(f"{label:36}{before:9.2f}{peak:9.2f}{grown[label]:9.2f}", flush=True)
    return grown.pop("ours") / min(grown.values())


def peaks(form, **work):
    """Peak memory of a fresh process before its first step, and after its second, in KiB."""
    arguments = {"form": form} if form else {}
    with theirs() if form else ours() as process:
        process.ask("prepare", **work, **arguments)
        before = process.ask("peak_kib")
        for _ in range(2):
            process.ask("run", **arguments, **({"threads": 2} if form else {}))
        return before, process.ask("peak_kib")


def measure(name):
    _, network, side, work = LINES[name]
    if name.startswith("dense_vnet_memory"):
        return memory(network, side, work)
    if not name.endswith("bfloat16"):
        return race(network, side, work)
    processor, instructions = find_processor()
    if not has_bfloat16(instructions, find_cap()):
        print(f"left out: oneDNN has no bfloat16 on this processor ({processor}, ONEDNN_MAX_CPU_ISA={find_cap()})")
        return None
    return race(network, side, work, policy="mixed_bfloat16", halves=(False, True))


def main(names):
    unknown = set(names) - set(LINES)
    if unknown:
        sys.exit(f"no such line: {', '.join(unknown)}; there are {', '.join(LINES)}")
    print(mk.describe_environment().header(), end="\n\n")
    with theirs() as peer:
        peer.ask("peak_kib")  # without torch, stop before anything is timed
    ratios = {}
    for name in names or LINES:
        _, network, side, work = LINES[name]
        print(f"\n== {name}: {network}, {work['work']}, {side}^3, batch {work['batch']}", flush=True)
        ratios[name] = measure(name)
    print()
    for name, ratio in ratios.items():
        if ratio is not None:
            print(f"{name} {ratio:.3f} {LINES[name][0]}")


if __name__ == "__main__":
    main(sys.argv[1:])
