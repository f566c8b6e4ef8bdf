"""Where a mask comes from: `MaskOrigin`, in the file `<mask>.json` beside it.

scan_seg.nii.gz         the mask; the field `descrip` of its header holds the fingerprint as well
scan_seg.nii.gz.json    `MaskOrigin`, written after it; for names of BIDS, sub-01_dseg.json beside sub-01_dseg.nii.gz
"""

import dataclasses
from pathlib import Path
from typing import Any

import mcc_keras
from mcc_keras.datasets.paths import stem_of
from mcc_keras.documents import read_document, write_document
from mcc_keras.errors import DataError
from mcc_keras.records.sources import hash_files, source_files
from mcc_keras.segmentation.fingerprint import combine_fingerprints, refuse_other_text

SCHEMA = 1
_WAY_OUT = "It says where a mask comes from: segment the scan again, into another name or allowing overwriting."


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskOrigin:
    """What a mask was made from.

    Args:
        fingerprint: That of the model: of the run, or of all runs of an ensemble.
        runs: Path → fingerprint of each run; none of a served model.
        version: Of mcc_keras; of a served model, the one that exported it.
        options: Options of the call that change voxels, by name.
        inputs: Path → SHA-256 of each file of the scan, channel by channel.
        outputs: Name → SHA-256 of each file beside this one, the mask first.
        server: Where the model was served, and under which name; empty where a run was used.
    """

    fingerprint: str
    runs: dict[str, str]
    version: str
    options: dict[str, Any]
    inputs: dict[str, str | None]
    outputs: dict[str, str] = dataclasses.field(default_factory=dict)
    server: str = ""

    def __post_init__(self):
        for each in (self.fingerprint, *self.runs.values()):
            refuse_other_text(each)


def describe_call(runs, options):
    """Return the `MaskOrigin` of a call, before there is a scan.

    Args:
        runs: Path → fingerprint of each run, in their order.
        options: Options of the call that change voxels, by name.

    Example:

    >>> describe_call({"run": "a" * 64}, {"largest_component": True}).fingerprint == "a" * 64
    True
    """
    resolved = {str(Path(path).resolve()): fingerprint for path, fingerprint in runs.items()}
    fingerprint = combine_fingerprints(resolved.values())
    version = mcc_keras.__version__
    return MaskOrigin(fingerprint=fingerprint, runs=resolved, version=version, options=dict(options), inputs={})


def hash_inputs(case, *, workers=1):
    """Return path → SHA-256 of every file of a `Case`'s images; `None` for one that cannot be read."""
    files = [file for image in case.images for file in source_files(image)]
    return {str(path.absolute()): digest for path, (_, digest) in hash_files(files, workers=workers).items()}


def describe_model(origin):
    """Return the text for the field `descrip` of a NIfTI header, at most 80 bytes.

    Example:

    >>> describe_model(describe_call({"run": "a" * 64}, {})).startswith("mcc_keras aaaa")
    True
    """
    return f"mcc_keras {origin.fingerprint}"


def origin_path(mask):
    """Return the path of the file about a mask, whether it is there or not.

    Example:

    >>> origin_path("out/a.nii.gz").name, origin_path("out/sub-01_desc-mcckeras_dseg.nii.gz").name
    ('a.nii.gz.json', 'sub-01_desc-mcckeras_dseg.json')
    """
    mask, stem = Path(mask), stem_of(mask)
    bids = stem.startswith("sub-") and stem.endswith("_desc-mcckeras_dseg")
    return mask.with_name(f"{stem if bids else mask.name}.json")


def write_origin(origin, mask, *, others=()):
    """Write the file about a mask, with the hashes of the mask and of other files beside it; return its path."""
    paths = [Path(mask), *(path for path in (Path(mask).with_suffix(".zraw"),) if _is_header(mask)), *others]
    outputs = {path.name: digest for path, (_, digest) in hash_files(paths, workers=1).items()}
    return write_document(dataclasses.replace(origin, outputs=outputs), origin_path(mask), schema=SCHEMA)


def read_origin(mask):
    """Return the `MaskOrigin` of a mask.

    Raises:
        DataError: There is no file about it, or a damaged one, or the mask has been changed since it was written.
    """
    mask = Path(mask)
    if not mask.is_file():
        raise DataError(mask, "expected a mask, found no file", "Check the path.")
    path = origin_path(mask)
    if not path.is_file():
        raise DataError(mask, f"expected {path.name} beside it, found none", _WAY_OUT)
    origin = read_document(path, MaskOrigin, schema=SCHEMA, way_out=_WAY_OUT)
    if next(iter(origin.outputs), None) != mask.name:
        raise DataError(path, f"expected a description of {mask.name}, found one of {[*origin.outputs][:1]}", _WAY_OUT)
    changed = _changed(origin, mask.parent)
    if changed:
        raise DataError(mask, f"expected the files that segment wrote, found others: {', '.join(changed)}", _WAY_OUT)
    return origin


def find_difference(mask, wanted):
    """Return in what a mask that exists is not the one that a call would write, as text; `None` where it is.

    Args:
        mask: Path of the mask.
        wanted: `MaskOrigin` of the call, with the hashes of the inputs.
    """
    if not origin_path(mask).is_file():
        return "a file that segment did not write"
    try:
        found = read_origin(mask)
    except DataError:
        return "a mask that has changed since it was written"
    if list(found.inputs.values()) != list(wanted.inputs.values()) or None in wanted.inputs.values():
        return "a mask of other scans"
    if found.fingerprint != wanted.fingerprint:
        return "a mask of another model"
    if bool(found.server) != bool(wanted.server):
        return "a mask of a server" if found.server else "a mask that no server gave"
    names = {*found.options, *wanted.options}
    differ = sorted(name for name in names if found.options.get(name) != wanted.options.get(name))
    if differ:
        return f"a mask of other options ({', '.join(f'{name}={found.options.get(name)!r}' for name in differ)})"
    return None


def is_origin(path):
    """Whether a file is a `MaskOrigin`."""
    try:
        return read_document(path, MaskOrigin, schema=SCHEMA) is not None
    except DataError:
        return False


def _changed(origin, folder):
    paths = [folder / name for name in origin.outputs]
    found = hash_files(paths, workers=1)
    return [path.name for path in paths if found[path][1] != origin.outputs[path.name]]


def _is_header(mask):
    return str(mask).lower().endswith(".mhd")
