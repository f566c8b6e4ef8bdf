"""The fingerprint of a model: one SHA-256 over all that its masks depend on.

The weights in their order, `preprocessing.json`, the `Task`, the window, the flips and the text of `segmenter.json`.
A run keeps it in `fingerprint.json` with the hashes of the files that it came from, so that it is computed again where
one of them has changed. It is not the `fingerprint.pb` of a SavedModel.
"""

import contextlib
import dataclasses
import hashlib
import json
import re

import msgspec
import numpy as np

from mcc_keras.documents import read_document, write_document
from mcc_keras.errors import DataError
from mcc_keras.records.sources import hash_files
from mcc_keras.runs.mask_options import SEGMENTER
from mcc_keras.runs.run import DATA, MODEL, PREPROCESSING, RECIPE, read_run

FINGERPRINT = "fingerprint.json"
SCHEMA = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredFingerprint:
    """What `fingerprint.json` of a run holds.

    Args:
        fingerprint: SHA-256 in hex.
        files: Name → SHA-256 of the run's files that it was computed from.
    """

    fingerprint: str
    files: dict[str, str]

    def __post_init__(self):
        refuse_other_text(self.fingerprint)


def refuse_other_text(fingerprint):
    """Refuse what is no SHA-256 in hex."""
    if not _SHA256.fullmatch(fingerprint):
        raise ValueError(f"expected a fingerprint of 64 hexadecimal digits, found {fingerprint!r:.80}")


def compute_fingerprint(weights, *, preprocessing, task, window=None, flip_axes=(), segmenter=None):
    """Return the fingerprint of a model, 64 hexadecimal digits.

    Args:
        weights: Arrays, in the order of the model's variables.
        preprocessing: `Preprocessing`.
        task: `Task`.
        window: `Window`, or `None`.
        flip_axes: Axes whose flips are averaged.
        segmenter: Text of `segmenter.json`; `None` without one.

    Example:

    >>> from mcc_keras.preprocessing import Preprocessing
    >>> from mcc_keras.task import Task
    >>> given = {"preprocessing": Preprocessing(size=8), "task": Task()}
    >>> first, same = (compute_fingerprint([np.ones(2)], **given) for _ in range(2))
    >>> first == same, first == compute_fingerprint([np.ones(2)], **given, flip_axes=(0,))
    (True, False)
    """
    digest = hashlib.sha256()
    for value in weights:
        array = np.ascontiguousarray(value)
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        _add(digest, json.dumps([array.dtype.name, list(array.shape)]).encode())
        _add(digest, little.tobytes())
    settings = {"task": task, "window": window, "flip_axes": tuple(map(int, flip_axes))}
    _add(digest, preprocessing.to_json().encode())
    _add(digest, json.dumps(msgspec.to_builtins(settings), sort_keys=True).encode())
    _add(digest, b"" if segmenter is None else segmenter.encode())
    return digest.hexdigest()


def combine_fingerprints(members):
    """Return the fingerprint of an ensemble from those of its members, in their order; that of one member is its own.

    Example:

    >>> combine_fingerprints(["a" * 64]) == "a" * 64, len(combine_fingerprints(["a" * 64, "b" * 64]))
    (True, 64)
    """
    members = tuple(members)
    return members[0] if len(members) == 1 else hashlib.sha256("\n".join(members).encode()).hexdigest()


def fingerprint_segmenter(segmenter, *, text=None):
    """Return the fingerprint of a `Segmenter`; that of a run's own is the run's.

    Args:
        segmenter: `Segmenter`, or `Ensemble`.
        text: Text of the run's `segmenter.json`; `None` without one.
    """
    members = [_fingerprint_member(member, text) for member in segmenter.members]
    return combine_fingerprints(members)


def _fingerprint_member(segmenter, text):
    given = {id(variable): value for variable, value in segmenter.weights}
    variables = segmenter.model.weights  # without the states of random numbers, which a prediction does not draw
    return compute_fingerprint(
        [np.asarray(given.get(id(variable), variable)) for variable in variables],
        preprocessing=segmenter.preprocessing,
        task=segmenter.task,
        window=segmenter.window,
        flip_axes=segmenter.flip_axes,
        segmenter=text,
    )


def fingerprint_runs(runs):
    """Return run folder → fingerprint of some `Run`s, in their order."""
    return {run.folder: fingerprint_run(run) for run in runs}


def fingerprint_run(run):
    """Return the fingerprint of a finished run, without TensorFlow where it is stored and its files are as they were.

    One that has to be computed is stored in the run, if that can be written.

    Args:
        run: Run folder, or a `Run`.

    Raises:
        RunError: The run is not finished, or one of its files is damaged.
    """
    run = read_run(run)
    files = _hash_run(run.folder)
    stored = _stored(run.folder)
    if stored is not None and stored.files == files:
        return stored.fingerprint
    from mcc_keras.segmentation.segmenter import load_segmenter  # here, so that a stored one does not wait for it

    path = run.folder / SEGMENTER
    text = path.read_text("utf-8") if path.is_file() else None
    found = StoredFingerprint(fingerprint=fingerprint_segmenter(load_segmenter(run), text=text), files=files)
    with contextlib.suppress(OSError):  # a run that is only read
        write_document(found, run.folder / FINGERPRINT, schema=SCHEMA)
    return found.fingerprint


def _stored(folder):
    try:
        return read_document(folder / FINGERPRINT, StoredFingerprint, schema=SCHEMA)
    except DataError:  # none yet, or that of another version
        return None


def _hash_run(folder):
    paths = [folder / name for name in (MODEL, PREPROCESSING, RECIPE, DATA, SEGMENTER)]
    return {path.name: digest for path, (_, digest) in hash_files(paths).items() if digest is not None}


def _add(digest, data):
    digest.update(len(data).to_bytes(8, "little"))  # so that no two lists of pieces are one text
    digest.update(data)
