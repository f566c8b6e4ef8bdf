"""`manifest.json`: the content of a set of records and the position of each record.

WORK/sets/<name>/manifest.json        settings, cases with the SHA-256 of their source files, every file's size and
                                      SHA-256, and the place of each record; it ends with a checksum of its own text
WORK/sets/<name>/preprocessing.json   the fitted `Preprocessing`
WORK/sets/<name>/split.json           which case is in which part; `prepare --split WORK` takes it again
WORK/sets/<name>/train-00000-of-00003.tfrecord …
"""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import msgspec

from mcc_keras.documents import parse_document
from mcc_keras.errors import RecordError, UsageError, raise_all
from mcc_keras.files import write_text
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.preprocessing.sides import find_sided
from mcc_keras.records.damage import AGAIN, describe_file, find_damage, shard_problems
from mcc_keras.records.entries import FileEntry, Settings, ShardEntry
from mcc_keras.sets import open_set

SCHEMA = 6
MANIFEST, PREPROCESSING, SPLIT = "manifest.json", "preprocessing.json", "split.json"
MISSING = "Make them with `prepare`."
_DEPTH = 3
_CHECKSUM, _END = ',\n "sha256": ', "\n}"


class Record(NamedTuple):
    """A record: its case, the position of its bytes, shape (x, y, z) and voxel size of its box."""

    case_id: str
    path: str
    position: int
    bytes: int
    shape: tuple
    spacing_mm: tuple


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A set of records, which stays as it is while this is referenced.

    Args:
        work: The WORK folder.
        folder: The folder of the set in it.
        settings: Its `Settings`.
        preprocessing: The fitted `Preprocessing`.
        shards: Part → `ShardEntry`s.
        sha256: SHA-256 of the text of `manifest.json`.
        command: The command that wrote it, ready to run again.
        prepared: Number of cases preprocessed by the call that returned this; the others were reused.
        lock: The lock that keeps the set; `None` where locks are not available, as on a read-only mount.
    """

    work: Path
    folder: Path
    settings: Settings
    preprocessing: Preprocessing
    shards: dict
    sha256: str
    command: str | None = None
    prepared: int = 0
    lock: object = dataclasses.field(default=None, repr=False, compare=False)

    @functools.cached_property
    def task(self):
        """The `Task`, with the classes that are left and right of each other in the training cases."""
        task, records = self.settings.task, [r for shard in self.shards.get("train", ()) for r in shard.records]
        present = [{n for n, cost in enumerate(record.cost, start=1) if cost.box_voxels} for record in records]
        sided = find_sided([record.sides for record in records], present)
        return dataclasses.replace(task, sided=(*task.sided, *sided))

    @property
    def costs(self):
        """Case id → `ClassCost` of each class: the cost of the box, with the best Dice that can be reached."""
        return record_costs(self.shards)

    @property
    def compression(self):
        """`"gzip"`, or `None`."""
        return self.settings.compression

    @property
    def counts(self):
        """Part → number of cases."""
        return count_records(self.shards)

    @property
    def image_shape(self):
        """Shape of an image: (*size, channels); three times `None` for a size that is native, and differs."""
        size = (None, None, None) if self.preprocessing.is_native else self.preprocessing.size
        return (*size, len(self.task.channel_names))

    def records(self, part):
        """Return the `Record` of every case of a part, in the order of ids."""
        if not self.counts.get(part):
            there = ", ".join(f"{name} ({count})" for name, count in self.counts.items() if count)
            raise UsageError(f"`part` must be a part of {self.work} with cases: {there}. Received: {part=}.")
        return [
            Record(r.case_id, str(self.folder / shard.file), r.position, r.bytes, r.shape, r.spacing_mm)
            for shard in self.shards[part]
            for r in shard.records
        ]

    def cases(self, part):
        """Return the `Case`s of a part, with the paths of their source files."""
        return tuple(entry.to_case(self.task) for entry in self.settings.of_part(part))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Content:
    """The keys of `manifest.json`."""

    command: str | None
    settings: Settings
    counts: dict[str, int]
    files: dict[str, FileEntry]
    shards: dict[str, tuple[ShardEntry, ...]]
    sha256: str = ""


def read_manifest(work, *, verify=True):
    """Return the `Manifest` of the current set of a WORK folder, and keep that set while it is referenced.

    Args:
        work: Folder that `write_tfrecords` wrote.
        verify: Compare size and SHA-256 of every shard with the manifest, and look for shards that are not in it. A
            shard that has not changed since this process read it is not read again.

    Raises:
        RecordError: The folder holds no records, or damaged ones, or those of another schema; `DataErrors` for several.
    """
    folder, lock = open_set(work, missing=MISSING)
    return read_set(folder, work=work, lock=lock, verify=verify)


def read_set(folder, *, work, lock=None, verify=True):
    """Return the `Manifest` of the set in a folder; see `read_manifest`."""
    content = read_content(folder)
    raise_all(find_damage(folder, content.files, workers=1).values())
    if verify:
        raise_all(shard_problems(folder, content.shards, once=True))
    text = (folder / PREPROCESSING).read_text(encoding="utf-8")
    return Manifest(
        work=Path(work),
        folder=folder,
        settings=content.settings,
        preprocessing=Preprocessing.from_json(text, path=folder / PREPROCESSING),
        shards=content.shards,
        sha256=content.sha256,
        command=content.command,
        lock=lock,
    )


def read_content(folder):
    """Return the `Content` of a set's `manifest.json`, its own checksum compared."""
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(path, f"expected a manifest, found: {error}", AGAIN) from None
    content = parse_document(data, Content, path=path, schema=SCHEMA, error=RecordError, way_out=AGAIN)
    if _with_checksum(text.rpartition(_CHECKSUM)[0] + _END) != text:
        raise RecordError(path, "expected the checksum of its own text, found another", AGAIN)
    return content


def write_manifest(folder, *, settings, shards, command=None):
    """Write `manifest.json` for the files that lie in a folder already; return its path."""
    files = {name: describe_file(folder / name) for name in (PREPROCESSING, SPLIT)}
    content = Content(command=command, settings=settings, counts=count_records(shards), files=files, shards=shards)
    values = {"schema": SCHEMA, **msgspec.to_builtins(content)}
    del values["sha256"]
    return write_text(folder / MANIFEST, _with_checksum(_to_text(values)))


def record_costs(shards):
    """Return case id → `ClassCost`s of the records of part → `ShardEntry`s."""
    return {record.case_id: record.cost for part in shards.values() for shard in part for record in shard.records}


def count_records(shards):
    """Return part → number of cases."""
    return {part: sum(len(shard.records) for shard in listed) for part, listed in shards.items()}


def _to_text(value, depth=0):
    """Return JSON with a line for each setting, case and shard; `indent` would take the time of ten cases."""
    if depth == _DEPTH or not isinstance(value, dict | list | tuple) or not value:
        return json.dumps(value)
    inner, end = "\n" + " " * (depth + 1), "\n" + " " * depth
    if not isinstance(value, dict):
        return f"[{inner}{f',{inner}'.join(_to_text(item, depth + 1) for item in value)}{end}]"
    entries = (f"{json.dumps(name)}: {_to_text(item, depth + 1)}" for name, item in value.items())
    return f"{{{inner}{f',{inner}'.join(entries)}{end}}}"


def _with_checksum(text):
    """Return JSON text with its own SHA-256 as the last entry."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{text.removesuffix(_END)}{_CHECKSUM}"{digest}"{_END}\n'
