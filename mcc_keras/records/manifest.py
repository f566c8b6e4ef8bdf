"""What a WORK folder holds, and whether it still does: `manifest.json`, the one file that all others answer to.

manifest.json        settings, cases with the SHA-256 of their source files, every file's size and SHA-256, and where
                     each record lies; its own checksum is in it, so that a changed letter is noticed
preprocessing.json   the fitted `Preprocessing`
split.json           which case is in which part; `prepare --split` takes it
train-00000-of-00003.tfrecord …
"""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path

from mcc_keras.datasets.cases import Case
from mcc_keras.documents import build
from mcc_keras.errors import DataErrors, RecordError, UsageError
from mcc_keras.files import write_text
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.sources import hash_files
from mcc_keras.task import Task

SCHEMA = 3
MANIFEST, PREPROCESSING, SPLIT = "manifest.json", "preprocessing.json", "split.json"
SHARDS = "*.tfrecord"
AGAIN = "Prepare the data again, with overwrite."
_DEPTH = 3
_CHECKSUM, _END = ',\n "sha256": ', "\n}"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a WORK folder holds.

    Args:
        work: The folder.
        settings: How it was made: preprocessing, split, seed, labels, compression, cases with source files.
        preprocessing: The fitted `Preprocessing`.
        shards: Part → list of dicts (file, bytes, sha256, records).
        sha256: SHA-256 of the text of `manifest.json`, which stands in it.
        command: What made it, in words that can be run again.
        prepared: Cases that the call which returned this has preprocessed; the others were there already.
    """

    work: Path
    settings: dict
    preprocessing: Preprocessing
    shards: dict
    sha256: str
    command: str | None = None
    prepared: int = 0

    @functools.cached_property
    def task(self):
        """The `Task`."""
        return build(self.settings["task"], Task, path=self.work / MANIFEST, error=RecordError, way_out=AGAIN)

    @property
    def compression(self):
        """`"gzip"`, or `None`."""
        return self.settings["compression"]

    @property
    def counts(self):
        """Part → number of cases."""
        return count_records(self.shards)

    @property
    def image_shape(self):
        """Shape of an image: (*size, channels)."""
        return (*self.preprocessing.size, len(self.task.channel_names))

    def records(self, part):
        """Return (shard path, bytes before, bytes, bytes behind) of the record of every case, in the order of ids."""
        if not self.counts.get(part):
            there = ", ".join(f"{name} ({count})" for name, count in self.counts.items() if count)
            raise UsageError(f"{self.work}: expected a part with cases in it. Received: part={part!r}. There: {there}.")
        found = []
        for shard in self.shards[part]:
            path, size = str(self.work / shard["file"]), shard["bytes"]
            spans = [(r["position"], r["bytes"]) for r in shard["records"]]
            found += [(path, before, length, size - before - length) for before, length in spans]
        return found

    def cases(self, part):
        """Return the `Case`s of a part, with the paths of their source files."""
        return tuple(_case(entry, self.task) for entry in self.settings["cases"] if entry["part"] == part)


@dataclasses.dataclass(frozen=True)
class Verification:
    """What `verify_records` looked at and found.

    Args:
        work: The folder.
        checked: What was compared, in words.
        problems: Tuple of `RecordError`; empty if all is well.

    Example:

    >>> print(Verification(Path("work"), "3 shards", ()).to_text())
    work: checked 3 shards: all as written.
    """

    work: Path
    checked: str
    problems: tuple

    def raise_for_errors(self):
        """Raise the problem, or `DataErrors` for several."""
        _raise(self.problems)

    def to_text(self):
        """Return one line a problem, or one that says what was compared."""
        if self.problems:
            return "\n".join(str(problem) for problem in self.problems)
        return f"{self.work}: checked {self.checked}: all as written."


def read_manifest(work, *, verify=True):
    """Return the `Manifest` of a WORK folder.

    Args:
        work: Folder that `write_tfrecords` wrote.
        verify: Compare size and SHA-256 of every shard with the manifest, and look for shards that are not in it.

    Raises:
        RecordError: The folder holds no records, or damaged ones, or those of another schema; `DataErrors` for several.
    """
    work = Path(work)
    content = _read(work)
    _raise(list(find_damage(work, content["files"], workers=1).values()))
    if verify:
        _raise(shard_problems(work, content))
    text = (work / PREPROCESSING).read_text(encoding="utf-8")
    preprocessing = Preprocessing.from_json(text, path=work / PREPROCESSING)
    return Manifest(
        work, content["settings"], preprocessing, content["shards"], content["sha256"], command=content["command"]
    )


def verify_records(work, *, sources=False, workers=None):
    """Compare every file of a WORK folder with its manifest: each byte of each shard, missing and extra ones.

    Args:
        work: Folder that `write_tfrecords` wrote.
        sources: Compare the scans and masks that the records were made from, too.
        workers: Files that are read at a time; `None` is one a core.

    Returns:
        The `Verification`: all problems, and what was checked.

    Example:

    >>> verify_records("work").problems[0]
    RecordError('work: expected prepared records, found no manifest.json. Make them with `prepare`.')
    """
    work = Path(work)
    try:
        content = _read(work)
    except RecordError as error:
        return Verification(work, MANIFEST, (error,))
    problems = [
        *find_damage(work, content["files"], workers=1).values(),
        *shard_problems(work, content, workers=workers),
    ]
    shards = [shard for part in content["shards"].values() for shard in part]
    size, count = sum(shard["bytes"] for shard in shards), sum(content["counts"].values())
    checked = f"{MANIFEST}, {', '.join(content['files'])} and {len(shards)} shards ({count} cases, {size:,} bytes)"
    if sources:
        listed = [source for case in content["settings"]["cases"] for source in case["sources"]]
        problems += _changed_sources(listed, workers)
        checked += f", and {len(listed)} source files"
    return Verification(work, checked, tuple(problems))


def write_manifest(folder, *, settings, shards, command=None):
    """Write `manifest.json` for the files that lie in a folder already; return its path."""
    files = {name: describe_file(folder / name) for name in (PREPROCESSING, SPLIT)}
    counts = count_records(shards)
    content = {"schema": SCHEMA, "command": command, "settings": settings, "counts": counts, "files": files}
    return write_text(folder / MANIFEST, _with_checksum(_to_text({**content, "shards": shards})))


def describe_file(path):
    """Return the size and the SHA-256 of a file, as the manifest lists them."""
    size, digest = hash_files([path], workers=1)[path]
    return {"bytes": size, "sha256": digest}


def find_damage(work, listed, *, workers=None):
    """Return the files that are not as listed, as a dict name → `RecordError`.

    Args:
        work: The folder.
        listed: Dict name → dict with `bytes` and `sha256`.
        workers: Files that are read at a time.
    """
    problems, whole = {}, []
    for name, entry in listed.items():
        path = work / name
        if not path.is_file():
            problems[name] = RecordError(path, "expected a file of these records, found no file", AGAIN)
        elif path.stat().st_size != entry["bytes"]:
            found = f"expected {entry['bytes']} bytes, found {path.stat().st_size}"
            problems[name] = RecordError(path, found, AGAIN)
        else:
            whole.append(path)
    for path, (_, digest) in hash_files(whole, workers=workers).items() if whole else ():
        if digest != listed[path.name]["sha256"]:
            problems[path.name] = RecordError(path, "expected the SHA-256 of the manifest, found another", AGAIN)
    return problems


def shard_problems(work, content, *, workers=None):
    """Return a list of `RecordError`: shards that are damaged, missing, or not in the manifest."""
    listed = {shard["file"]: shard for part in content["shards"].values() for shard in part}
    extra = sorted(path for path in work.glob(SHARDS) if path.name not in listed)
    problems = list(find_damage(work, listed, workers=workers).values())
    return problems + [RecordError(path, f"expected no other shards than {MANIFEST} lists", AGAIN) for path in extra]


def count_records(shards):
    """Return part → number of cases."""
    return {part: sum(len(shard["records"]) for shard in listed) for part, listed in shards.items()}


def _read(work):
    path = work / MANIFEST
    if not path.is_file():
        raise RecordError(work, f"expected prepared records, found no {MANIFEST}", "Make them with `prepare`.")
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        schema, _ = content["schema"], content["sha256"]
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise RecordError(path, f"expected a manifest, found {error!r}", AGAIN) from error
    if schema != SCHEMA:
        raise RecordError(path, f"expected schema {SCHEMA}, found {schema}", AGAIN)
    if _with_checksum(text.rpartition(_CHECKSUM)[0] + _END) != text:
        raise RecordError(path, "expected the checksum of its own text, found another", AGAIN)
    return content


def _to_text(value, depth=0):
    """Return JSON with a line for each setting, case and shard; `indent` would take the time of ten cases."""
    if depth == _DEPTH or not isinstance(value, dict | list) or not value:
        return json.dumps(value)
    inner, end = "\n" + " " * (depth + 1), "\n" + " " * depth
    if isinstance(value, list):
        return f"[{inner}{f',{inner}'.join(_to_text(item, depth + 1) for item in value)}{end}]"
    entries = (f"{json.dumps(name)}: {_to_text(item, depth + 1)}" for name, item in value.items())
    return f"{{{inner}{f',{inner}'.join(entries)}{end}}}"


def _with_checksum(text):
    """Return JSON text with its own SHA-256 as the last entry."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{text.removesuffix(_END)}{_CHECKSUM}"{digest}"{_END}\n'


def _changed_sources(listed, workers):
    wanted = {Path(source["file"]): source["sha256"] for source in listed}
    found = hash_files(wanted, workers=workers)
    changed = [path for path in wanted if found[path][1] != wanted[path]]
    return [
        RecordError(path, "expected the file that the records were made from, found another or none")
        for path in changed
    ]


def _case(entry, task):
    return Case(
        case_id=entry["case_id"],
        images=tuple(Path(path) for path in entry["images"]),
        mask=Path(entry["mask"]),
        group=entry["group"],
        task=task,
        part=entry["part"],
        affine=entry["affine"],
        nonfinite=entry["nonfinite"],
    )


def _raise(problems):
    if problems:
        raise problems[0] if len(problems) == 1 else DataErrors(problems)
