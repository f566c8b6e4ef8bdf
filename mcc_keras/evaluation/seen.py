"""Cases that a run has seen: no training case is scored as unseen.

Cases are recognized by the SHA-256 of their image files and by their patients, independent of names and
folders.
"""

import dataclasses
import itertools

from mcc_keras.errors import CaseError
from mcc_keras.records.sources import HEADERS, hash_files, source_files

TRAINED, CHOSE = "trained on", "chose the epoch"
NOTES = {"train": TRAINED, "validation": CHOSE}
# The note of the cases of a requested part, and the warning about their means in text and page.
WANTED = {"train": TRAINED, "validation": CHOSE}
WARNINGS = {
    "train": "These are training cases: the network has seen their masks, so the scores say nothing about new scans.",
    "validation": "These cases chose the epoch that was kept, so the scores are better than those of new scans.",
}
_NO_VOXELS = (*HEADERS, ".hdr", ".hdr.gz")


@dataclasses.dataclass(frozen=True)
class Seen:
    """Whether a run has seen a case.

    Args:
        kind: `TRAINED`, `CHOSE`, or empty for nothing.
        detail: The reason.
    """

    kind: str = ""
    detail: str = ""

    @property
    def note(self):
        """Text for the table."""
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


def find_seen(cases, data, *, workers=None):
    """Return case id → `Seen`: whether a run has seen the case.

    A case was seen if one of its image files is one of a training or validation case, or if its patient is one of
    theirs. Patients count where the data set names them; where a case is its own patient, an equal name is no proof.

    Args:
        cases: `Case`s.
        data: `RunData` of the run.
        workers: Files that are read at a time.
    """
    files = {case.case_id: _image_files(case) for case in cases}
    hashes = hash_files([file for some in files.values() for file in some], workers=workers)
    masks = hash_files([case.mask for case in cases if case.mask is not None], workers=workers)
    found = {}
    for case in cases:
        digests = {hashes[file][1] for file in files[case.case_id]} - {None}
        found[case.case_id] = _seen(case, digests, masks.get(case.mask, (None, None))[1], data)
    return found


def _seen(case, digests, mask, data):
    for part, kind in NOTES.items():
        for seen in data.cases.get(part, ()):
            if digests & image_digests(seen):
                changed = bool(seen.mask) and mask not in seen.sources.values()
                return Seen(kind, "the mask has changed since" if changed else "")
    for part, kind in NOTES.items():
        for seen in data.cases.get(part, ()):
            named = seen.group != seen.case_id or case.group != case.case_id
            if named and seen.group == case.group:
                return Seen(kind, f"another scan of patient {case.group}")
    return Seen()


def refuse_changed(cases, *, workers=None):
    """Refuse cases of a run whose files are no longer those that it was trained with.

    Args:
        cases: `SeenCase`s.
        workers: Files that are read at a time.

    Raises:
        CaseError: The first file that has changed.
    """
    hashes = hash_files([file for case in cases for file in case.sources], workers=workers)
    for case in cases:
        for file, digest in case.sources.items():
            if hashes[file][1] not in (digest, None):  # the reader of a missing file says so
                problem = f"expected the file of case {case.case_id} as it was for the training, found it changed"
                raise CaseError(file, problem, "Restore it, or score the changed files as another source.")


def image_digests(seen):
    """Return the SHA-256 of the image files of a `SeenCase`; those of its mask are the last ones."""
    of_mask = (file == seen.mask or file.startswith(f"{seen.mask}/") for file in seen.sources)
    pairs = zip(seen.sources.values(), of_mask, strict=True)
    return {digest for digest, _ in itertools.takewhile(lambda pair: not pair[1], pairs)} - {None}


def _image_files(case):
    """Return the image files of a case without headers, which cases can share."""
    files = [file for path in case.images for file in source_files(path)]
    return [file for file in files if not file.name.lower().endswith(_NO_VOXELS)]
