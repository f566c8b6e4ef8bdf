"""Files of a set that differ from its manifest."""

from mcc_keras.errors import RecordError
from mcc_keras.records.entries import FileEntry
from mcc_keras.records.sources import hash_files, hash_once

SHARDS = "*.tfrecord"
AGAIN = "Prepare the data again, with overwrite."


def describe_file(path):
    """Return the `FileEntry` of a file."""
    size, digest = hash_files([path], workers=1)[path]
    return FileEntry(bytes=size, sha256=digest)


def find_damage(folder, listed, *, workers=None, once=False):
    """Return the files that differ from the list, as a dict name → `RecordError`.

    Args:
        folder: Their folder.
        listed: Dict name → entry with `bytes` and `sha256`.
        workers: Files that are read at a time.
        once: Skip files that have not changed since this process read them.
    """
    problems, whole = {}, []
    for name, entry in listed.items():
        path = folder / name
        if not path.is_file():
            problems[name] = RecordError(path, "expected a file of these records, found no file", AGAIN)
        elif path.stat().st_size != entry.bytes:
            found = f"expected {entry.bytes} bytes, found {path.stat().st_size}"
            problems[name] = RecordError(path, found, AGAIN)
        else:
            whole.append(path)
    hashes = (hash_once if once else hash_files)(whole, workers=workers) if whole else {}
    for path, (_, digest) in hashes.items():
        if digest != listed[path.name].sha256:
            problems[path.name] = RecordError(path, "expected the SHA-256 of the manifest, found another", AGAIN)
    return problems


def shard_problems(folder, shards, *, workers=None, once=False):
    """Return a list of `RecordError`: shards that are damaged, missing, or not in the manifest."""
    listed = {shard.file: shard for part in shards.values() for shard in part}
    extra = sorted(path for path in folder.glob(SHARDS) if path.name not in listed)
    problems = [RecordError(path, "expected no other shards than the manifest lists", AGAIN) for path in extra]
    return [*find_damage(folder, listed, workers=workers, once=once).values(), *problems]
