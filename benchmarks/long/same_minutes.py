"""Tools in the same minutes: trained on the same cases and cores one after another, scored on the original grids.

    python benchmarks/long/same_minutes.py DATA OUT --foreground 1,2 --size 40,56,40 --spacing 1 --seeds 0,1,2

DATA is any data set that `mcc-keras prepare` reads. It is split 70/10/20 into training, validation and test cases, or
90/10 where `--test OTHER` names a folder of test cases; every tool gets the same three parts. Tools (`--tools`):

    default    ours by its command line, with README's defaults: Dense V-Net with MCC
    fast       the same with `--recipe fast`
    monai      the residual U-Net of MONAI's tutorials with Dice + cross-entropy (peers/monai_training.py)
    dynunet    DynUNet in its place
    nnunet     nnU-Net; printed as not run, since nothing here installs it

MONAI runs in the interpreter that MCC_KERAS_PEERS_PYTHON names, or this one. Minutes count training and validation of
each epoch, not reading before it or prediction after it. Processor seconds stand beside the seconds: on idle cores they
are nearly as many times the seconds as there are cores, and where they are not, the minutes were not the same.
Dice is computed by numpy from the written masks. A tool that was finished before is not run again, so that more tools
or seeds can be added. With the defaults and 15 minutes a training, about 20 minutes a tool and seed.
"""

import argparse
import csv
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy.stats import wilcoxon

import mcc_keras as mk
from mcc_keras.datasets.splits import write_split

PYTHON = os.environ.get("MCC_KERAS_PEERS_PYTHON", sys.executable)
PEER = Path(__file__).parents[1] / "peers" / "monai_training.py"
OURS = {"default": [], "fast": ["--recipe", "fast"]}
THEIRS = ("monai", "dynunet")
TOOLS = (*OURS, *THEIRS, "nnunet")
SEGMENT = """
import json, sys
import mcc_keras as mk
plan = json.load(open(sys.argv[1], encoding="utf-8"))
for case in plan["test"]:
    mk.segment(sys.argv[2], case["image"], f"{plan['masks']}/{case['id']}.nii.gz", overwrite=True)
"""


def numbers(convert):
    def read(text):
        return [convert(part) for part in text.split(",")]

    return read


def parse(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--test", type=Path, help="folder of test cases (20 %% of DATA)")
    parser.add_argument("--foreground", type=numbers(int), required=True, help="labels, merged into one class")
    parser.add_argument("--size", type=numbers(int), required=True)
    parser.add_argument("--spacing", type=numbers(float), help="mm, one or three")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seeds", type=numbers(int), default=[0], help="of the trainings (0)")
    parser.add_argument("--split-seed", type=int, default=0)
    parser.add_argument("--tools", type=numbers(str), default=["default", "fast", "monai"], help=", ".join(TOOLS))
    options = parser.parse_args(words)
    unknown = set(options.tools) - set(TOOLS)
    if unknown:
        parser.error(f"no such tool: {', '.join(sorted(unknown))}; there are {', '.join(TOOLS)}")
    return options


def split_files(options):
    """Write the split, and return part → files of its cases, which all tools read."""
    labels = tuple(options.foreground)
    cases = {case.case_id: case for case in mk.find_cases(options.data, foreground=labels)}
    shares = (0.9, 0.1, 0) if options.test else (0.7, 0.1, 0.2)
    split = mk.split_cases(tuple(cases.values()), shares, seed=options.split_seed)
    write_split(split, options.out / "split.json", overwrite=True)
    parts = {part: [cases[name] for name in ids] for part, ids in split.items()}
    if options.test:
        parts["test"] = list(mk.find_cases(options.test, foreground=labels))
    return {part: [as_nifti(case, options.out / "nifti") for case in chosen] for part, chosen in parts.items()}


def as_nifti(case, folder):
    """Return the files of a case; what is no NIfTI is written as such, since not every tool reads all formats."""
    paths = {"image": case.images[0], "mask": case.mask}
    for key, path in paths.items():
        if not path.name.endswith((".nii", ".nii.gz")):
            paths[key] = folder / f"{case.case_id}_{key}.nii.gz"
            folder.mkdir(exist_ok=True)
            sitk.WriteImage(sitk.ReadImage(path), paths[key])
    return {"id": case.case_id, **{key: str(path.resolve()) for key, path in paths.items()}}


def call(command, log):
    """Run a command and return its last line, its seconds and its processor seconds."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with log.open("a", encoding="utf-8") as file:
        done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=file, text=True, check=False)
        file.write(done.stdout)
    if done.returncode:
        sys.exit(f"{command[0]} ended with {done.returncode}; its words are in {log}")
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - begun
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (done.stdout.splitlines() or [""])[-1], seconds, used


def run_ours(tool, plan, options, folder):
    """Prepare once, train by the command line, write the masks; return what the training did."""
    program, work, log = [sys.executable, "-m", "mcc_keras"], options.out / "work", folder / "log.txt"
    box = [
        "--foreground",
        text(options.foreground),
        "--size",
        text(options.size),
        "--split",
        options.out / "split.json",
    ]
    box += ["--spacing", text(options.spacing)] if options.spacing else []
    call([*program, "prepare", options.data, work, *box, "--overwrite"], log)
    length = ["--minutes", options.minutes, "--seed", plan["seed"]]
    _, _, used = call([*program, "train", work, folder / "run", *OURS[tool], *length], log)
    call([sys.executable, "-c", SEGMENT, folder / "plan.json", folder / "run"], log)
    result = json.loads((folder / "run" / "run.json").read_text("utf-8"))
    with (folder / "run" / "history.csv").open(encoding="utf-8") as file:
        epochs = len(list(csv.DictReader(file)))
    kept = {name: result[name] for name in ("steps", "seconds", "best_epoch", "parameters")}
    return {**kept, "epochs": epochs, "processor_seconds": used}


def run_theirs(tool, plan, options, folder):
    line, _, used = call([PYTHON, PEER, folder / "plan.json"], folder / "log.txt")
    return {**json.loads(line), "processor_seconds": used}


def text(values):
    return ",".join(map(str, values))


def dice(truth, found):
    """Dice of two boolean arrays; 1 where both are empty."""
    total = int(truth.sum()) + int(found.sum())
    return 2 * int((truth & found).sum()) / total if total else 1.0


def score(plan, foreground):
    """Return case → Dice of the written masks."""

    def read(path):
        return sitk.GetArrayFromImage(sitk.ReadImage(path)).T

    scores = {}
    for case in plan["test"]:
        truth, found = read(case["mask"]), read(f"{plan['masks']}/{case['id']}.nii.gz")
        if truth.shape != found.shape:
            sys.exit(f"{case['id']}: expected a mask of {truth.shape}, found {found.shape}")
        scores[case["id"]] = dice(np.isin(truth, foreground), found > 0)
    return scores


def measure(tool, seed, parts, options):
    """Run a tool with one seed, or read what it left; return what it did and its scores."""
    folder = options.out / f"{tool}-{options.minutes:g}min-seed{seed}"
    if (folder / "result.json").is_file():
        return json.loads((folder / "result.json").read_text("utf-8"))
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "masks").mkdir(parents=True)
    spacing = options.spacing and (options.spacing * 3)[:3]
    plan = {**parts, "network": tool, "seed": seed, "masks": str(folder / "masks"), "minutes": options.minutes}
    plan |= {"foreground": options.foreground, "size": options.size, "spacing_mm": spacing, "threads": os.cpu_count()}
    (folder / "plan.json").write_text(json.dumps(plan), "utf-8")
    did = (run_ours if tool in OURS else run_theirs)(tool, plan, options, folder)
    result = {**did, "dice": score(plan, options.foreground)}
    (folder / "result.json").write_text(json.dumps(result), "utf-8")
    return result


def error_of(values):
    return np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")


def compare(first, second):
    """Return mean, standard error and Wilcoxon's p of the paired differences of two dicts case → Dice."""
    differences = np.array([second[case] - first[case] for case in first])
    p = wilcoxon(differences).pvalue if differences.any() else 1.0
    return differences.mean(), error_of(differences), p


def mean_scores(results):
    """Return case → mean Dice over the seeds."""
    return {case: float(np.mean([result["dice"][case] for result in results])) for case in results[0]["dice"]}


def main():
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    parts = split_files(options)
    print(mk.describe_environment().header())
    print(", ".join(f"{len(cases)} {part}" for part, cases in parts.items()), f"cases, {options.minutes:g} minutes\n")
    print(f"{'tool':12}{'seed':>5}{'weights':>11}{'epochs':>8}{'steps':>8}{'seconds':>9}{'processor':>11}", end="")
    print(f"{'mean Dice':>18}{'lowest':>8}")
    found = {}
    for tool in options.tools:
        if tool == "nnunet":
            print(f"{tool:12}  not run")
            continue
        for seed in options.seeds:
            result = measure(tool, seed, parts, options)
            found.setdefault(tool, []).append(result)
            values = list(result["dice"].values())
            row = f"{tool:12}{seed:5}{result['parameters']:11,}{result['epochs']:8}{result['steps']:8}"
            row += f"{result['seconds']:9.0f}{result['processor_seconds']:11.0f}"
            print(f"{row}{np.mean(values):10.4f} ± {error_of(values):.4f}{min(values):8.3f}", flush=True)
    print("\npaired differences of the cases' mean Dice over the seeds, ± standard error, Wilcoxon")
    first, *others = found
    for tool in others:
        mean, error, p = compare(mean_scores(found[first]), mean_scores(found[tool]))
        print(f"{tool} − {first}: {mean:+.4f} ± {error:.4f}, p = {p:.2g}")


if __name__ == "__main__":
    main()
