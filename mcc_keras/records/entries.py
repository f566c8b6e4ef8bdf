"""Entries of `manifest.json`: settings, cases, source files, shards, records; plain values that JSON keeps."""

import dataclasses
from pathlib import Path
from typing import Any

from mcc_keras.datasets.cases import Case
from mcc_keras.preprocessing.cost import ClassCost
from mcc_keras.task import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileEntry:
    """A file: its size and SHA-256."""

    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceEntry:
    """A file that a case was read from, with size and SHA-256; both are `None` if it could not be read."""

    file: str
    bytes: int | None
    sha256: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaseEntry:
    """A case: id, patient, paths, how its header was read, its source files, and the part that it is in."""

    case_id: str
    group: str | None
    images: tuple[str, ...]
    mask: str
    affine: str | None
    nonfinite: str
    sources: tuple[SourceEntry, ...]
    part: str | None = None

    @property
    def hashes(self):
        """The SHA-256 of each source file."""
        return tuple(source.sha256 for source in self.sources)

    def to_case(self, task):
        """Return the `Case`."""
        return Case(
            case_id=self.case_id,
            images=tuple(map(Path, self.images)),
            mask=Path(self.mask),
            group=self.group,
            task=task,
            part=self.part,
            affine=self.affine,
            nonfinite=self.nonfinite,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings and sources of a set of records.

    Args:
        task: `Task`.
        preprocessing: The requested `Preprocessing`, as JSON values.
        split: Shares of the parts; `None` if the split was given.
        seed: Seed of a split by shares.
        stratify: Variable of a split by shares.
        compression: `"gzip"` or `None`.
        cases: `CaseEntry`s, by id.
    """

    task: Task
    preprocessing: dict[str, Any]
    split: tuple[float, ...] | None
    seed: int | None
    stratify: str | None
    compression: str | None
    cases: tuple[CaseEntry, ...]

    def of_part(self, part):
        """Return the `CaseEntry`s of a part."""
        return tuple(entry for entry in self.cases if entry.part == part)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordEntry:
    """A record: its case, the position of its bytes in the shard, and the key of its sources and settings.

    `shape` and `spacing_mm` are the voxels of the box and their size in millimetres, `cost` is the cost of the box for
    each class of the case, and `sides` are its classes that are mirror images.
    """

    case_id: str
    position: int
    bytes: int
    key: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    cost: tuple[ClassCost, ...]
    sides: tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """A shard: its file with size and SHA-256, and its records."""

    file: str
    bytes: int
    sha256: str
    records: tuple[RecordEntry, ...]

    @property
    def keys(self):
        """The key of each record."""
        return tuple(record.key for record in self.records)
