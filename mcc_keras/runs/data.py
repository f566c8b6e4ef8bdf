"""`RunData`: what a training saw, so that nothing is scored as unseen that was not."""

import dataclasses
from pathlib import Path

from mcc_keras.task import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeenCase:
    """A case of a run.

    Args:
        case_id: Its id.
        group: Its patient.
        images: Paths of its images, one per channel or one for all.
        mask: Path of its mask.
        affine: Which form of a NIfTI header was read, or `None`.
        nonfinite: How NaN and infinite voxels were read.
        sources: SHA-256 of each file that it was read from, by path: those of the images first.
    """

    case_id: str
    group: str
    images: tuple[str, ...]
    mask: str
    affine: str | None
    nonfinite: str
    sources: dict[str, str | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunData:
    """The records of a run.

    Args:
        work: Their folder.
        manifest_sha256: SHA-256 of `manifest.json`.
        task: `Task`.
        image_shape: (x, y, z, channels) of a volume; a side that differs from case to case is `None`.
        cases: Part → `SeenCase`s.
    """

    work: str
    manifest_sha256: str
    task: Task
    image_shape: tuple[int | None, ...]
    cases: dict[str, tuple[SeenCase, ...]]

    @property
    def reading(self):
        """How the files of all cases were read, as keywords `affine` and `nonfinite`; empty where they differ."""
        ways = {(case.affine, case.nonfinite) for cases in self.cases.values() for case in cases}
        return dict(zip(("affine", "nonfinite"), ways.pop(), strict=True)) if len(ways) == 1 else {}


def describe_data(manifest):
    """Return the `RunData` of a `Manifest`."""
    cases = {}
    for entry in manifest.settings.cases:
        seen = SeenCase(
            case_id=entry.case_id,
            group=entry.group,
            images=tuple(entry.images),
            mask=entry.mask,
            affine=entry.affine,
            nonfinite=entry.nonfinite,
            sources={source.file: source.sha256 for source in entry.sources},
        )
        cases.setdefault(entry.part, []).append(seen)
    return RunData(
        work=str(Path(manifest.work).resolve()),
        manifest_sha256=manifest.sha256,
        task=manifest.task,
        image_shape=manifest.image_shape,
        cases={part: tuple(seen) for part, seen in cases.items()},
    )
