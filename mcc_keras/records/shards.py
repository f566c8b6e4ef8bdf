"""Shards: which case lies in which file, written so that a stop costs the shard in hand and nothing more.

The plan follows from the cases and the size of a record alone, never from who finishes first. A finished shard has a
note beside it, `train-00000-of-00003.tfrecord.json`; a rerun keeps what has a note that fits, and takes records that an
earlier set holds already, by the key of what they were made of.
"""

import dataclasses
import functools
import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import threadpoolctl

from mcc_keras.errors import EnvironmentFailure, MCCKerasError
from mcc_keras.files import written_aside
from mcc_keras.records.encoding import encode_case
from mcc_keras.records.example import encode_example, frame_record
from mcc_keras.records.manifest import find_damage

SHARD_BYTES = 16 * 2**20
SHARD_CASES = 8  # a changed scan, or a stop, costs at most so many cases


@dataclasses.dataclass(frozen=True)
class Shard:
    """A file to be: its part and name, its cases, and for each the key of what its record is made of."""

    part: str
    file: str
    cases: tuple
    keys: tuple


def plan_shards(members, keys, *, record_bytes):
    """Deal the cases of each part out to shards, in their order.

    Args:
        members: Dict part → list of `Case`.
        keys: Dict case id → key of its record.
        record_bytes: Size of an uncompressed record.

    Returns:
        List of `Shard`.
    """
    size = max(1, min(SHARD_CASES, SHARD_BYTES // record_bytes))
    plan = []
    for part, cases in members.items():
        dealt = [tuple(cases[start : start + size]) for start in range(0, len(cases), size)]
        for index, some in enumerate(dealt):
            name = f"{part}-{index:05d}-of-{len(dealt):05d}.tfrecord"
            plan.append(Shard(part, name, some, tuple(keys[case.case_id] for case in some)))
    return plan


class Earlier:
    """Records that an earlier set holds undamaged, by key.

    Args:
        work: Its folder.
        shards: Part → list of shard entries, from its manifest.
    """

    def __init__(self, work=None, shards=None):
        listed = [shard for part in (shards or {}).values() for shard in part]
        damaged = find_damage(work, {shard["file"]: shard for shard in listed}) if listed else {}
        sound = [shard for shard in listed if shard["file"] not in damaged]
        self.whole = {_keys(shard): (work / shard["file"], shard) for shard in sound}
        self.spans = {
            record["key"]: (work / shard["file"], record["position"], record["bytes"])
            for shard in sound
            for record in shard["records"]
        }

    def link(self, shard, path):
        """Give a shard of the same records a second name; return whether there was one."""
        found, _ = self.whole.get(shard.keys, (None, None))
        if found is None:
            return False
        with written_aside(path) as aside:
            try:
                os.link(found, aside)
            except OSError:
                shutil.copyfile(found, aside)
        return True


def unfinished(plan, folder):
    """Return the shards of a plan that do not lie whole in the folder yet."""
    return [shard for shard in plan if _note(shard, folder) is None]


def list_shards(plan, folder):
    """Return part → list of entries for the manifest, of shards that are all there."""
    listed = {shard.part: [] for shard in plan}
    for shard in plan:
        listed[shard.part].append(json.loads(_note_path(folder / shard.file).read_text("utf-8")))
    return listed


def link_shard(shard, folder, earlier):
    """Take a shard from an earlier set that has the very same one; return whether it had."""
    if not earlier.link(shard, folder / shard.file):
        return False
    _, entry = earlier.whole[shard.keys]
    with written_aside(_note_path(folder / shard.file)) as aside:
        note = {"file": shard.file, "bytes": entry["bytes"], "sha256": entry["sha256"], "records": entry["records"]}
        aside.write_text(json.dumps(note), encoding="utf-8")
    return True


@dataclasses.dataclass(frozen=True, eq=False)
class ShardTask:
    """A shard for a worker process to write.

    Args:
        shard: The `Shard`.
        scratch: Folder of the call. A worker that outlives a killed call finds it gone, and can leave nothing anywhere.
        preprocessing: The fitted `Preprocessing`.
        compression: `None` or `"gzip"`.
        earlier: Key → (path, position, bytes) of the records that are copied from an earlier set.
        threads: Cases that are prepared at a time, for where there are more cores than shards.
    """

    shard: Shard
    scratch: Path
    preprocessing: object
    compression: str | None
    earlier: dict
    threads: int = 1

    @property
    def new(self):
        """The cases that must be prepared."""
        pairs = zip(self.shard.cases, self.shard.keys, strict=True)
        return [case for case, key in pairs if key not in self.earlier]


def write_shard(task):
    """Write the records of a shard, and a note of them, into the scratch folder; runs in worker processes.

    Returns:
        List of errors: of every case that cannot be prepared, or of the disk.
    """
    # Sums round differently on another number of threads, and that follows from the number of processes.
    with _linear_algebra().limit(limits=1, user_api="blas"), ThreadPoolExecutor(task.threads) as pool:
        encode = functools.partial(encode_case, preprocessing=task.preprocessing, compression=task.compression)
        encoded = (map if task.threads == 1 else pool.map)(encode, task.new)
        failed = []
        try:
            _write_records(task, encoded, failed)
        except OSError as error:
            reason = error.strerror or error
            problem = f"{task.shard.file}: cannot be written ({reason}). Make room, or choose another disk."
            failed.append(EnvironmentFailure(problem))
    return failed


def keep_shard(task, folder):
    """Move what a worker has written to where it belongs: the shard first, so that a note always has its shard."""
    name = task.shard.file
    for path in (Path(name), _note_path(Path(name))):
        os.replace(task.scratch / path, folder / path)


def _write_records(task, encoded, failed):
    path, records, digest, position = task.scratch / task.shard.file, [], hashlib.sha256(), 0
    with open(path, "wb") as file:
        for case, key in zip(task.shard.cases, task.shard.keys, strict=True):
            payload = _payload(task.earlier.get(key), encoded, failed)
            if failed:
                continue
            before, behind = frame_record(payload)
            for part in (before, payload, behind):
                file.write(part)
                digest.update(part)
            entry = {"case_id": case.case_id, "position": position + len(before), "bytes": len(payload)}
            records.append({**entry, "key": key})
            position += len(before) + len(payload) + len(behind)
            del payload, part  # before the next case is read
    if not failed:
        _write_note(path, {"bytes": position, "sha256": digest.hexdigest()}, records)


def _payload(span, encoded, failed):
    if span is not None:
        path, position, count = span
        with open(path, "rb") as file:
            file.seek(position)
            return file.read(count)
    case = next(encoded)
    if isinstance(case, MCCKerasError):
        failed.append(case)
        return None
    return None if failed else encode_example(case)


@functools.cache
def _linear_algebra():
    return threadpoolctl.ThreadpoolController()


def _write_note(path, described, records):
    note = {"file": path.name, **described, "records": records}
    _note_path(path).write_text(json.dumps(note), encoding="utf-8")


def _note(shard, folder):
    try:
        note = json.loads(_note_path(folder / shard.file).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return note if _keys(note) == shard.keys and not find_damage(folder, {shard.file: note}) else None


def _keys(entry):
    return tuple(record["key"] for record in entry["records"])


def _note_path(path):
    return Path(f"{path}.json")
