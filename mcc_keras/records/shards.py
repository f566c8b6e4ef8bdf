"""Shards: which case lies in which file, written so that an interruption loses at most the current shard.

The plan depends on the cases and the size of a record alone, never on the order in which workers finish; records of
native size, which no one knows before they are made, have a shard each. A finished shard has a note beside it,
`train-00000-of-00003.tfrecord.json`. A rerun keeps the shards whose notes match, and copies the records that an earlier
set already holds, found by their keys.
"""

import dataclasses
import functools
import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import threadpoolctl

from mcc_keras.errors import MCCKerasError, disk_failure
from mcc_keras.files import written_aside
from mcc_keras.records.damage import find_damage
from mcc_keras.records.encoding import encode_case
from mcc_keras.records.entries import RecordEntry, ShardEntry
from mcc_keras.records.example import encode_example, frame_record

SHARD_BYTES = 16 * 2**20
SHARD_CASES = 8  # cases; at most these are written again after a change or an interruption


@dataclasses.dataclass(frozen=True)
class Shard:
    """A planned file: its part and name, its cases, and for each the key of its record."""

    part: str
    file: str
    cases: tuple
    keys: tuple


def plan_shards(members, keys, *, record_bytes):
    """Assign the cases of each part to shards, in their order.

    Args:
        members: Dict part → list of `Case`.
        keys: Dict case id → key of its record.
        record_bytes: Size of an uncompressed record; `None`: it differs, and each has a shard of its own.

    Returns:
        List of `Shard`.
    """
    size = 1 if record_bytes is None else max(1, min(SHARD_CASES, SHARD_BYTES // record_bytes))
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
        folder: Folder of the set.
        shards: Part → `ShardEntry`s, from its manifest.
    """

    def __init__(self, folder=None, shards=None):
        listed = {shard.file: shard for part in (shards or {}).values() for shard in part}
        damaged = find_damage(folder, listed, once=True) if listed else {}
        sound = [shard for shard in listed.values() if shard.file not in damaged]
        self.whole = {shard.keys: (folder / shard.file, shard) for shard in sound}
        self.records = {record.key: (folder / shard.file, record) for shard in sound for record in shard.records}


def unfinished(plan, folder):
    """Return the shards of a plan that are not complete in the folder yet."""
    return [shard for shard in plan if _read_note(shard, folder) is None]


def list_shards(plan, folder):
    """Return part → list of `ShardEntry`s, of shards that are all complete."""
    listed = {shard.part: [] for shard in plan}
    for shard in plan:
        listed[shard.part].append(msgspec.json.decode(_note_path(folder / shard.file).read_bytes(), type=ShardEntry))
    return {part: tuple(entries) for part, entries in listed.items()}


def link_shard(shard, folder, earlier):
    """Link a shard of an earlier set with identical records here; return whether there is one."""
    if shard.keys not in earlier.whole:
        return False
    found, entry = earlier.whole[shard.keys]
    with written_aside(folder / shard.file) as aside:
        try:
            os.link(found, aside)
        except OSError:
            shutil.copyfile(found, aside)
    with written_aside(_note_path(folder / shard.file)) as aside:
        aside.write_bytes(msgspec.json.encode(dataclasses.replace(entry, file=shard.file)))
    return True


@dataclasses.dataclass(frozen=True, eq=False)
class ShardTask:
    """A shard for a worker process to write.

    Args:
        shard: The `Shard`.
        scratch: Folder of the call. Once it is removed, a worker that outlives a killed call can write nowhere.
        preprocessing: The fitted `Preprocessing`.
        compression: `None` or `"gzip"`.
        earlier: Key → (path, `RecordEntry`) of the records that are copied from an earlier set.
        threads: Cases prepared in parallel, used if there are more cores than shards.
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
    # Sums round differently with another number of threads, which would depend on the number of processes.
    with _linear_algebra().limit(limits=1, user_api="blas"), ThreadPoolExecutor(task.threads) as pool:
        encode = functools.partial(encode_case, preprocessing=task.preprocessing, compression=task.compression)
        encoded = (map if task.threads == 1 else pool.map)(encode, task.new)
        failed = []
        try:
            _write_records(task, encoded, failed)
        except OSError as error:
            failed.append(disk_failure(task.shard.file, error))
    return failed


def keep_shard(task, folder):
    """Move the files of a worker to their destination: the shard first, so that a note always has its shard."""
    name = task.shard.file
    for path in (Path(name), _note_path(Path(name))):
        os.replace(task.scratch / path, folder / path)


def _write_records(task, encoded, failed):
    path, records, digest, position = task.scratch / task.shard.file, [], hashlib.sha256(), 0
    with open(path, "wb") as file:
        for case, key in zip(task.shard.cases, task.shard.keys, strict=True):
            payload, facts = _payload(task.earlier.get(key), encoded, failed)
            if failed:
                continue
            before, behind = frame_record(payload)
            for part in (before, payload, behind):
                file.write(part)
                digest.update(part)
            place = {"position": position + len(before), "bytes": len(payload)}
            records.append(RecordEntry(case_id=case.case_id, key=key, **place, **facts))
            position += len(before) + len(payload) + len(behind)
            del payload, part  # freed before the next case is read
    if not failed:
        entry = ShardEntry(file=path.name, bytes=position, sha256=digest.hexdigest(), records=tuple(records))
        _note_path(path).write_bytes(msgspec.json.encode(entry))


def _payload(found, encoded, failed):
    """Return the bytes of the next record and the entries of its case, from an earlier set or newly encoded."""
    if found is not None:
        path, record = found
        with open(path, "rb") as file:
            file.seek(record.position)
            return file.read(record.bytes), _facts(record, record.shape)
    case = next(encoded)
    if isinstance(case, MCCKerasError):
        failed.append(case)
    return (None, {}) if failed else (encode_example(case), _facts(case, case.shape[:3]))


def _facts(case, shape):
    return {"shape": shape, "spacing_mm": case.spacing_mm, "cost": case.cost, "sides": case.sides}


@functools.cache
def _linear_algebra():
    return threadpoolctl.ThreadpoolController()


def _read_note(shard, folder):
    try:
        entry = msgspec.json.decode(_note_path(folder / shard.file).read_bytes(), type=ShardEntry)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return entry if entry.keys == shard.keys and not find_damage(folder, {shard.file: entry}) else None


def _note_path(path):
    return Path(f"{path}.json")
