"""`SetBuilder`: fit, plan the shards, write those that are missing, and the files beside them."""

import contextlib
import math
import shutil
import tempfile
from pathlib import Path

import joblib
import msgspec

from mcc_keras.datasets.cases import read_image
from mcc_keras.datasets.splits import PARTS, write_split
from mcc_keras.errors import DataErrors, EnvironmentFailure
from mcc_keras.files import remove, write_text
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.preprocessing.cost import refuse_loss
from mcc_keras.records.manifest import MANIFEST, PREPROCESSING, SPLIT, record_costs, write_manifest
from mcc_keras.records.provenance import record_keys, same_fit
from mcc_keras.records.shards import (
    Earlier,
    ShardTask,
    keep_shard,
    link_shard,
    list_shards,
    plan_shards,
    unfinished,
    write_shard,
)

PLAN = "plan.json"
SCRATCH = ".scratch"


class SetBuilder:
    """Writes one set of records into a folder, and continues the work of a stopped call with the same plan.

    Args:
        cases: `Case`s.
        preprocessing: `Preprocessing`, which may be fitted here.
        settings: `Settings` with the parts of all cases.
        old: `Manifest` of the set before, whose unchanged records are reused; or `None`.
        workers: Processes; `None` is one per core.
        progress: Show a bar on a terminal.
        accept_loss: Write records even if the box loses a class.
    """

    def __init__(self, cases, preprocessing, settings, old, *, workers, progress, accept_loss=False):
        self.cases = {case.case_id: case for case in cases}
        self.preprocessing, self.settings, self.old = preprocessing, settings, old
        self.workers, self.progress, self.accept_loss = workers or joblib.cpu_count(), progress, accept_loss

    def write(self, folder, command):
        """Write the missing shards and the manifest; return the number of preprocessed cases."""
        self._resume(folder)
        fitted = self._fit(folder)
        plan = self._plan(fitted)
        prepared = self._write_shards(plan, folder, fitted)
        shards = list_shards(plan, folder)
        refuse_loss(record_costs(shards), self.settings.task, fitted.size, accept_loss=self.accept_loss)
        split = {part: [case.case_id for case in cases] for part, cases in self._members().items()}
        settings = self.settings
        made = {"seed": settings.seed, "shares": settings.split, "stratify": settings.stratify}
        write_split(split, folder / SPLIT, **made, overwrite=True)
        write_manifest(folder, settings=self.settings, shards=shards, command=command)
        kept = {MANIFEST, PREPROCESSING, SPLIT, *(shard.file for shard in plan)}
        for path in list(folder.iterdir()):
            if path.name not in kept:
                remove(path)
        return prepared

    def _resume(self, folder):
        for scratch in folder.glob(f"{SCRATCH}*"):
            # Renamed first, so that workers of a killed call, which may still run, can no longer write here.
            shutil.rmtree(scratch.rename(folder / f".gone{scratch.name}"), ignore_errors=True)
        text = msgspec.json.encode(self.settings).decode()
        if not (folder / PLAN).is_file() or (folder / PLAN).read_text("utf-8") != text:
            for path in list(folder.iterdir()):
                remove(path)
            write_text(folder / PLAN, text)

    def _fit(self, folder):
        path = folder / PREPROCESSING
        if path.is_file():
            return Preprocessing.from_json(path.read_text("utf-8"), path=path)
        if self.old and same_fit(self.old.settings, self.settings):
            fitted = self.old.preprocessing
        else:
            fitted = self.preprocessing.fit(read_image(case) for case in self._members()["train"])
        write_text(path, fitted.to_json())
        return fitted

    def _members(self):
        return {part: [self.cases[entry.case_id] for entry in self.settings.of_part(part)] for part in PARTS}

    def _plan(self, fitted):
        channels = len(self.settings.task.channel_names)
        record_bytes = None if fitted.is_native else math.prod(fitted.size) * (4 * channels + 1)
        return plan_shards(self._members(), record_keys(self.settings, fitted), record_bytes=record_bytes)

    def _write_shards(self, plan, folder, fitted):
        earlier = Earlier(self.old.folder, self.old.shards) if self.old else Earlier()
        todo = [shard for shard in unfinished(plan, folder) if not link_shard(shard, folder, earlier)]
        todo.sort(key=lambda shard: -len(shard.cases))  # the short ones last, to balance the processes
        scratch, failed = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=folder)), []
        tasks = [self._task(shard, scratch, fitted, earlier, processes=len(todo)) for shard in todo]
        with contextlib.closing(self._written(tasks)) as written:
            for task, problems in zip(tasks, written, strict=True):
                failed += problems
                _raise_of_disk(problems)
                if not failed:
                    keep_shard(task, folder)
        if failed:
            raise DataErrors(failed)
        return sum(len(task.new) for task in tasks)

    def _task(self, shard, scratch, fitted, earlier, *, processes):
        known = {key: earlier.records[key] for key in shard.keys if key in earlier.records}
        compression, threads = self.settings.compression, max(1, self.workers // processes)
        return ShardTask(shard, scratch, fitted, compression=compression, earlier=known, threads=threads)

    def _written(self, tasks):
        """Yield for each shard, in order, the errors of its writing; a process writes one at a time."""
        workers = max(1, min(self.workers, len(tasks)))
        parallel = joblib.Parallel(n_jobs=workers, return_as="generator", batch_size=1, pre_dispatch="all")
        with contextlib.ExitStack() as stack:
            bar = stack.enter_context(_bar(sum(len(task.new) for task in tasks))) if self.progress and tasks else None
            results = stack.enter_context(contextlib.closing(parallel(joblib.delayed(write_shard)(t) for t in tasks)))
            for task, problems in zip(tasks, results, strict=True):
                if bar:
                    bar.update(len(task.new))
                yield problems


def _bar(total):
    from tqdm import tqdm

    return tqdm(total=total, desc="prepare", unit="case", disable=None)


def _raise_of_disk(problems):
    for problem in problems:
        if isinstance(problem, EnvironmentFailure):
            raise problem
