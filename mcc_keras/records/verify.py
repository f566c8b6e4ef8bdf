"""`verify_records`: every byte of a set of records compared with its manifest."""

import dataclasses
from pathlib import Path

from mcc_keras.errors import DataError, RecordError, raise_all
from mcc_keras.records.damage import find_damage, shard_problems
from mcc_keras.records.manifest import MANIFEST, MISSING, count_records, read_content
from mcc_keras.records.sources import hash_files
from mcc_keras.sets import open_set


@dataclasses.dataclass(frozen=True)
class Verification:
    """The result of `verify_records`.

    Args:
        work: The folder.
        checked: Description of the compared files.
        problems: Tuple of `RecordError`; empty if there are none.

    Example:

    >>> print(Verification(Path("work"), "3 shards", ()))
    work: checked 3 shards: all as written.
    """

    work: Path
    checked: str
    problems: tuple

    def raise_for_errors(self):
        """Raise the problem, or `DataErrors` for several."""
        raise_all(self.problems)

    def __str__(self):
        """Return one line per problem, or one that lists what was compared."""
        if self.problems:
            return "\n".join(str(problem) for problem in self.problems)
        return f"{self.work}: checked {self.checked}: all as written."


def verify_records(work, *, sources=False, workers=None):
    """Compare every file of a WORK folder with its manifest: each byte of each shard, missing and extra ones.

    Args:
        work: Folder that `write_tfrecords` wrote.
        sources: Also compare the scans and masks that the records were made from.
        workers: Files that are read at a time; `None` is one per core.

    Returns:
        The `Verification`: all problems, and what was checked.

    Example:

    >>> verify_records("work").problems[0]
    RecordError('work: expected prepared records, found no current.json. Make them with `prepare`.')
    """
    work = Path(work)
    try:
        folder, lock = open_set(work, missing=MISSING)
        content = read_content(folder)
    except DataError as error:
        return Verification(work, MANIFEST, (error,))
    problems = [*find_damage(folder, content.files, workers=1).values()]
    problems += shard_problems(folder, content.shards, workers=workers)
    shards = [shard for part in content.shards.values() for shard in part]
    size, count = sum(shard.bytes for shard in shards), sum(count_records(content.shards).values())
    checked = f"{MANIFEST}, {', '.join(content.files)} and {len(shards)} shards ({count} cases, {size:,} bytes)"
    if sources:
        listed = [source for case in content.settings.cases for source in case.sources]
        problems += _changed_sources(listed, workers)
        checked += f", and {len(listed)} source files"
    del lock  # until here nobody has removed the set
    return Verification(work, checked, tuple(problems))


def _changed_sources(listed, workers):
    wanted = {Path(source.file): source.sha256 for source in listed}
    found = hash_files(wanted, workers=workers)
    problem = "expected the file that the records were made from, found another or none"
    return [RecordError(path, problem) for path in wanted if found[path][1] != wanted[path]]
