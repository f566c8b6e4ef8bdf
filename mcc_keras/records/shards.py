"""Shards: which case lies in which file, written so that a stop costs the shard in hand and nothing more.

The plan follows from the cases and the size of a record alone, never from who finishes first. A finished shard has a
note beside it, `train-00000-of-00003.tfrecord.json`; a rerun keeps what has a note that fits, and takes records that an
earlier set holds already, by the key of what they were made of.
"""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import tensorflow as tf

from mcc_keras.errors import EnvironmentFailure
from mcc_keras.files import write_text, written_aside
from mcc_keras.records.manifest import describe_file, find_damage

SHARD_BYTES = 16 * 2**20
SHARD_CASES = 8  # a changed scan, or a stop, costs at most so many cases
FRAME = 12, 4  # a TFRecord is framed by 12 bytes before and 4 behind


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
        self.records = {record["key"]: (work / shard["file"], record) for shard in sound for record in shard["records"]}

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

    def read(self, key):
        """Return the bytes of one record."""
        path, record = self.records[key]
        with open(path, "rb") as file:
            file.seek(record["position"])
            return file.read(record["bytes"])


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
    _write_note(folder / shard.file, entry["records"])
    return True


def write_shard(shard, folder, payloads):
    """Write the records of a shard, then its note.

    Raises:
        EnvironmentFailure: The disk is full, or cannot be written.
    """
    path, position, records = folder / shard.file, 0, []
    with written_aside(path) as aside:
        try:
            with tf.io.TFRecordWriter(str(aside)) as writer:
                for case, key, payload in zip(shard.cases, shard.keys, payloads, strict=True):
                    writer.write(payload)
                    entry = {"case_id": case.case_id, "position": position + FRAME[0], "bytes": len(payload)}
                    records.append({**entry, "key": key})
                    position += len(payload) + sum(FRAME)
        except tf.errors.OpError as error:
            raise _disk_failure(path, error.message) from error
        if aside.stat().st_size != position:  # closing the writer reports no failure
            raise _disk_failure(path, f"{aside.stat().st_size} bytes of {position} could be written")
    _write_note(path, records)


def _disk_failure(path, reason):
    return EnvironmentFailure(f"{path.name}: cannot be written ({reason}). Make room, or choose another disk.")


def _write_note(path, records):
    write_text(_note_path(path), json.dumps({"file": path.name, **describe_file(path), "records": records}))


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
