"""A scan in overlapping windows, beside MONAI's `sliding_window_inference`: time and memory, on a CPU.

    python benchmarks/window.py                       every line: about half an hour on two quiet cores
    python benchmarks/window.py window_time           the lines named

Dense V-Net in windows of 96³ with an overlap of a half and Gaussian weights, over a box of 240 × 240 × 155. MONAI runs
in the interpreter that MCC_KERAS_PEERS_PYTHON names, or this one; its twin of the network is given our weights, and
both must have as many parameters and the same logits to 1e-4. It is asked with 1, 2 and 4 windows at a time, with and
without `buffer_steps`, with one and two threads; the fastest of all counts. A ratio is ours / MONAI's.

    window_overhead     what a mask takes after the preprocessing and beside the network / the network, by seconds of
                        the processor, which other programs change least
    window_time         a mask after the preprocessing / MONAI's mask, by seconds; one class
    window_memory       peak memory above that of one window / MONAI's, with its thriftiest setting; 20 classes
    window_memory_100   peak memory in GB above a process that has imported the package: 100 classes × 384³, windows of
                        64³, a network of one layer
    window_ct           peak memory in GB, of background and two classes, 512 × 512 × 300; the minutes are printed

Last, one line a claim: name, ratio or GB, goal.
"""

import os
import statistics
import sys
import tempfile
from pathlib import Path

from peers.process import Process

import mcc_keras as mk

PEERS = Path(__file__).parent / "peers"
PYTHON = os.environ.get("MCC_KERAS_PEERS_PYTHON", sys.executable)
ROUNDS, TOLERANCE = 3, 1e-4
SHAPE, WINDOW = (240, 240, 155), (96, 96, 96)
SETTINGS = [(windows, buffer, threads) for windows in (1, 2, 4) for buffer in (0, 1) for threads in (1, 2)]
THRIFTY = (1, 1, 2)  # windows at a time, buffer steps, threads
GOALS = {
    "window_overhead": 0.10,
    "window_time": 0.75,
    "window_memory": 0.5,
    "window_memory_100": 7.7,
    "window_ct": 8.0,
}
GB = 1e9 / 1024  # in KiB


def ours():
    return Process(sys.executable, PEERS / "windows_ours.py")


def monai():
    return Process(PYTHON, PEERS / "windows_monai.py")


def check(mine, peer):
    """Stop unless both networks are the same function."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/network.npz"
        own = mine.ask("write_check", path=path, window=WINDOW)
        other, difference = peer.ask("read_check", path=path)
    if own != other or not difference < TOLERANCE:
        sys.exit(f"the networks differ: {own:,} and {other:,} parameters, logits by {difference:.1e}")
    print(f"same network: {own:,} parameters each, logits within {difference:.0e}")


def count_windows(shape, window):
    """Return how many windows both lay over a volume with an overlap of a half."""
    count = 1
    for side, size in zip(shape, window, strict=True):
        count *= 1 if side <= size else -(-(side - size) // (size // 2)) + 1
    return count


def overhead():
    """Return the overhead of our windows, by medians of rounds."""
    with ours() as mine:
        mine.ask("prepare", shape=SHAPE, window=WINDOW, classes=1)
        mine.ask("run")
        rounds = [mine.ask("run", windows=count_windows(SHAPE, WINDOW)) for _ in range(ROUNDS)]
    mask, preprocessing, network = medians(rounds, clock=1)
    print(f"processor: mask {mask:.2f} s, preprocessing {preprocessing:.2f} s, network {network:.2f} s")
    return (mask - preprocessing - network) / network


def medians(rounds, *, clock):
    names = ("mask", "preprocessing", "network")
    return [statistics.median(each[name][clock] for each in rounds) for name in names]


def race():
    """Return ours / MONAI's fastest setting, by medians of rounds in turns."""
    with ours() as mine, monai() as peer:
        check(mine, peer)
        for process in (mine, peer):
            process.ask("prepare", shape=SHAPE, window=WINDOW, classes=1)
        mine.ask("run")
        asked = {setting: [ask(peer, setting)] for setting in SETTINGS}
        fastest = min(seconds for (seconds,) in asked.values())
        kept = [setting for setting, (seconds,) in asked.items() if seconds < 1.3 * fastest]
        own = []
        for _ in range(ROUNDS):
            own.append(mine.ask("run"))
            for setting in kept:
                asked[setting].append(ask(peer, setting))
    mask, preprocessing, _ = medians(own, clock=0)
    for setting, seconds in asked.items():
        windows, buffer, threads = setting
        label = f"MONAI, {windows} at a time, buffer_steps {buffer or 'None'}, {threads} threads"
        print(f"{label:52}{statistics.median(seconds):8.2f} s, {len(seconds)} runs")
    print(f"{'ours, after the preprocessing':52}{mask - preprocessing:8.2f} s, {ROUNDS} runs")
    return (mask - preprocessing) / min(statistics.median(asked[setting][1:]) for setting in kept)


def ask(peer, setting):
    windows, buffer, threads = setting
    return peer.ask("run", windows=windows, buffer=buffer, threads=threads)


def memory():
    """Return what a scan of 20 classes adds to the peak of one window: ours / MONAI's."""
    with ours() as mine:
        own = -mine.ask("prepare", shape=SHAPE, window=WINDOW, classes=20)
        mine.ask("run")
        own += mine.ask("peak_kib")
    added = {}
    for setting in ((1, 0, 2), THRIFTY):
        with monai() as peer:
            before = peer.ask("prepare", shape=SHAPE, window=WINDOW, classes=20)
            ask(peer, setting)
            added[setting] = peer.ask("peak_kib") - before
    for (_, buffer, _), kib in added.items():
        print(f"MONAI, buffer_steps {buffer or 'None'}: {kib / GB:.2f} GB above one window")
    print(f"ours: {own / GB:.2f} GB above one window")
    return own / min(added.values())


def peak(shape, window, classes, *, one_layer):
    """Return the peak in GB of a process that segments one scan, above one that has imported the package."""
    with ours() as mine:
        before = mine.ask("peak_kib")
        mine.ask("prepare", shape=shape, window=window, classes=classes, one_layer=one_layer)
        seconds, _ = mine.ask("run")["mask"]
        found = mine.ask("peak_kib")
    print(f"{seconds / 60:.1f} minutes, peak {found / GB:.2f} GB, {before / GB:.2f} of it before the scan")
    return (found - before) / GB


LINES = {
    "window_overhead": overhead,
    "window_time": race,
    "window_memory": memory,
    "window_memory_100": lambda: peak((384, 384, 384), (64, 64, 64), 100, one_layer=True),
    "window_ct": lambda: peak((512, 512, 300), WINDOW, 3, one_layer=False),
}


def main(names):
    unknown = set(names) - set(LINES)
    if unknown:
        sys.exit(f"expected lines of {', '.join(LINES)}; received {', '.join(sorted(unknown))}")
    print(mk.describe_environment().header())
    found = {}
    for name in names or LINES:
        print(f"\n== {name}", flush=True)
        found[name] = LINES[name]()
    print()
    for name, value in found.items():
        print(f"{name} {value:.3f} {GOALS[name]}")


if __name__ == "__main__":
    main(sys.argv[1:])
