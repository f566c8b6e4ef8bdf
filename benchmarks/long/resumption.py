"""Does a training that is killed again and again end as one that is not? And can what a killed save leaves be read?

    python benchmarks/long/resumption.py [--runs 5] [--kills 10] [--saves 200] [--seed 0]

Each of the runs is a Dense V-Net on synthetic volumes in a process of its own that reports its events: a step, a
validation, a save whose arrays are written and whose name is not. After a random number of events it is killed with
SIGKILL, and the same call goes on, until it has been killed so many times. The end is compared with that of an
undisturbed run by SHA-256: every variable of the last generation (weights, optimizer, seeds, metrics), the weights of
the best model, and the history without its clock columns. The bare save loop writes generations one after the other and
is killed at random moments; each time, the last generation must be readable.

Prints one line per run, and ends with 1 where anything differs. About a quarter of an hour on two cores.
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CLOCKS = ("seconds", "volumes_per_second", "waiting_share")

TRAINING = """
import sys
import keras
import mcc_keras as mk
from mcc_keras.training import generations, keeper

class Events(keras.callbacks.History):
    def on_train_batch_end(self, batch, logs=None):
        report("step")
    def on_test_begin(self, logs=None):
        report("validation")

def report(text):
    print(text, flush=True)
    sys.stdin.readline()

write = generations.write_document
def write_and_report(value, path, **keywords):
    report("save")
    return write(value, path, **keywords)
generations.write_document = write_and_report
keeper.COST_FACTOR = keeper.LONGEST_SECONDS = 0
mk.train(sys.argv[1], sys.argv[2], epochs=6, schedule="constant", ema=0.9, accumulate=2, seed=3,
         model_arguments={"width": 0.25}, callbacks=[Events()], verbose=0)
print("done", flush=True)
"""

SAVING = """
import sys
import numpy as np
from mcc_keras.training.generations import TrainingState, list_generations, write_generation
from pathlib import Path
run = Path(sys.argv[1])
run.mkdir(exist_ok=True)
known = {"epoch": 0, "seconds": 0.0, "best_epoch": None, "best_value": None}
known |= {"history": (), "speed": {}}
step = int(list_generations(run)[-1].name[-6:]) if list_generations(run) else 0
arrays = {str(number): np.full(250_000, number, np.float32) for number in range(12)}
print("ready", flush=True)
while True:
    step += 1
    write_generation(run, TrainingState(step=step, epoch_step=step, **known), arrays)
"""


def start(code, *arguments):
    environment = {**os.environ, "TF_NUM_INTEROP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1, "env": environment}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], **pipes)


def train(work, run, *, die_after=None):
    """Train in a process of its own, and kill it after so many events; return how many there were, and the last."""
    events, last = 0, ""
    with start(TRAINING, work, run) as process:
        for line in process.stdout:
            if line.strip() == "done":
                break
            events, last = events + 1, line.strip()
            if events == die_after:
                process.kill()
                break
            process.stdin.write("\n")
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"the training ended with {process.returncode}")
    return events, last


def digest(run):
    """Return the SHA-256 of all that a run has left, without what depends on the clock."""
    import keras
    import numpy as np

    from mcc_keras.runs.run import read_run
    from mcc_keras.training.generations import list_generations, read_generation

    found = hashlib.sha256()
    state, arrays = read_generation(list_generations(run)[-1])
    for name in sorted(arrays):
        found.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    for weight in keras.models.load_model(run / "model.keras").weights:
        found.update(weight.numpy().tobytes())
    rows = [{name: value for name, value in row.items() if name not in CLOCKS} for row in read_run(run).history]
    found.update(repr((rows, state.step, state.epoch, state.best_epoch, state.best_value)).encode())
    return found.hexdigest()


def compare_runs(folder, *, runs, kills, draw):
    """Return how many killed runs ended otherwise than the undisturbed one."""
    import mcc_keras as mk

    source = mk.datasets.write_synthetic(folder / "scans", num_cases=12, size=(24, 24, 16), seed=7)
    work = folder / "work"
    mk.write_tfrecords(mk.find_cases(source), work, preprocessing=mk.Preprocessing(size=16), seed=7, accept_loss=True)
    events, _ = train(work, folder / "undisturbed")
    expected = digest(folder / "undisturbed")
    print(f"undisturbed: {events} events, {expected[:16]}", flush=True)
    differing = 0
    for number in range(runs):
        run, after = folder / f"run{number}", []
        for _ in range(kills):
            count, last = train(work, run, die_after=draw.randint(1, max(2, 2 * events // kills)))
            after.append(f"{count} ({last})")
        train(work, run)
        found = digest(run)
        differing += found != expected
        print(
            f"run {number}: {'equal' if found == expected else 'DIFFERENT'}, killed after {', '.join(after)}",
            flush=True,
        )
    return differing


def kill_saves(folder, *, saves, draw):
    """Return after how many kills of a save loop the last generation could not be read."""
    from mcc_keras.training.generations import latest_state

    unreadable = last = 0
    for _ in range(saves):
        with start(SAVING, folder / "loop") as process:
            process.stdout.readline()
            time.sleep(draw.uniform(0, 0.3))
            process.kill()
        try:
            state, _, _ = latest_state(folder / "loop")
        except Exception as error:
            print(error)
            unreadable += 1
            continue
        if state is not None and state.step < last:
            print(f"step {state.step} after {last}")
            unreadable += 1
        last = state.step if state else 0
    print(f"saves: {saves} kills, {last} generations, {unreadable} unreadable", flush=True)
    return unreadable


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"runs": 5, "kills": 10, "saves": 200, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        failures = kill_saves(Path(folder), saves=options.saves, draw=draw)
        failures += compare_runs(Path(folder), runs=options.runs, kills=options.kills, draw=draw)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
