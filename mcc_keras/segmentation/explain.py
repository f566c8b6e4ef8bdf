"""`explain`: where a mask comes from, and the run that made it."""

import dataclasses
from pathlib import Path

from mcc_keras.errors import DataError, printable
from mcc_keras.records.sources import hash_files
from mcc_keras.runs.table import find_runs
from mcc_keras.segmentation.fingerprint import fingerprint_run
from mcc_keras.segmentation.origin import MaskOrigin, read_origin


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Where a mask comes from; `str(explanation)` says it in lines.

    Args:
        mask: Path of the mask.
        origin: `MaskOrigin`.
        runs: Fingerprint of each run that made it → its folder, `None` where it was not found. A served model counts as
            one run.
        inputs: Path of each file of the scan → `"unchanged"`, `"changed"` or `"not found"`.
    """

    mask: Path
    origin: MaskOrigin
    runs: dict[str, Path | None]
    inputs: dict[str, str]

    def __str__(self):
        """Return one fact in each line."""
        origin = self.origin
        rows = [("mask", str(self.mask)), ("fingerprint", origin.fingerprint)]
        for path, fingerprint in origin.runs.items():
            found = self.runs[fingerprint]
            missing = f"{path}, where it is no more; search a folder with runs=FOLDER"
            rows.append(("run", missing if found is None else str(found)))
            rows += [("", f"fingerprint {fingerprint}")] if len(origin.runs) > 1 else []
        if origin.server:
            rows.append(("server", origin.server))
            rows += [("run", str(path)) for path in self.runs.values() if path is not None]
        rows.append(("mcc_keras", origin.version))
        rows += [(name, str(value)) for name, value in origin.options.items()]
        rows += [("scan", f"{path} ({state}, SHA-256 {origin.inputs[path]})") for path, state in self.inputs.items()]
        return "\n".join(printable(f"{name:<18}{value}".rstrip()) for name, value in rows)


def explain(mask, *, runs=None):
    """Return where a mask comes from: fingerprint, version, options, scan, and the run with this fingerprint.

    The run is looked for where it was, and below `runs`.

    Args:
        mask: Path of a mask that `segment` or a server gave, with `<mask>.json` beside it.
        runs: Folder that holds runs at any depth, or `None`.

    Returns:
        An `Explanation`; `print` it.

    Raises:
        DataError: There is no such mask, no file about it, or one of the two has been changed.

    Example:

    >>> explain("mask.nii.gz")
    Traceback (most recent call last):
    mcc_keras.errors.DataError: mask.nii.gz: expected a mask, found no file. Check the path.
    """
    origin = read_origin(mask)
    if runs is not None and not Path(runs).is_dir():
        raise DataError(runs, "expected a folder of runs, found none", "Check the path.")
    places = [Path(path) for path in origin.runs] + (find_runs(runs) if runs is not None else [])
    files = hash_files([Path(path) for path in origin.inputs], workers=1)
    states = {path: _state(files[Path(path)][1], digest) for path, digest in origin.inputs.items()}
    wanted = set(origin.runs.values()) or {origin.fingerprint}
    return Explanation(Path(mask), origin, _find_runs(wanted, places), states)


def _find_runs(wanted, places):
    found = dict.fromkeys(wanted)
    for place in places:
        if all(found.values()):
            break
        try:
            fingerprint = fingerprint_run(place)
        except DataError:  # it is no more, or not finished
            continue
        if fingerprint in found and found[fingerprint] is None:
            found[fingerprint] = place
    return found


def _state(found, digest):
    if found is None:
        return "not found"
    return "unchanged" if found == digest else "changed"
