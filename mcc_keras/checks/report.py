"""`check_cases`: cases are checked in parallel, then together; the report as text, JSON or one HTML page."""

import dataclasses
import json
from dataclasses import dataclass, field

import joblib
import numpy as np

from mcc_keras.checks.advice import advise
from mcc_keras.checks.case import Finding, examine
from mcc_keras.checks.columns import box_lines, case_lines
from mcc_keras.checks.whole_set import compare, with_sides
from mcc_keras.errors import EnvironmentFailure, OutputExistsError, UsageError, printable, raise_all
from mcc_keras.files import refuse_impossible_output, refuse_output_that_is_input
from mcc_keras.reporting.plain import columns
from mcc_keras.task import Task

_KINDS = ("error", "warning", "note")
_CASES_IN_TEXT = 40
# Starting a process takes about half a second, as long as reading and checking 32 MiB on disk.
_MIB_PER_WORKER = 32
_MIB_PER_SERIES = 32  # a DICOM series is decoded in a process of its own


@dataclass(frozen=True)
class CheckReport:
    """The result of a check.

    Args:
        rows: One dict of facts for each case.
        errors: The errors with their types, as reading would raise them.
        findings: Everything in one list of `Finding(kind, case_id, text)`: errors, warnings, notes.
        advice: Sentences.
        thumbnails: Dict case id → JPEG bytes.
        task: `Task` of the cases, with the classes found to be left and right of each other in `sided`.
        files: The images and masks that were checked.
    """

    rows: tuple
    errors: tuple
    findings: tuple
    advice: tuple = ()
    thumbnails: dict = field(default_factory=dict, repr=False)
    task: Task = field(default_factory=Task)
    files: tuple = field(default=(), repr=False)

    @property
    def problems(self):
        """The findings that training would refuse."""
        return tuple(finding for finding in self.findings if finding.kind == "error")

    def raise_for_errors(self):
        """Raise the error if there is one, `DataErrors` if there are several; return the report if there are none."""
        raise_all(self.errors)
        return self

    def summary(self):
        """Return the set in a dict of names and short texts."""
        return _summary(self.rows, self.findings) | box_lines(self.rows, self.task.names)

    def table(self):
        """Return rows (kind, cases, text): every problem of every case, equal texts together, errors first."""
        found = {}
        for finding in self.findings:
            found.setdefault((finding.kind, finding.text), []).append(finding.case_id or "all")
        ordered = sorted(found.items(), key=lambda item: _KINDS.index(item[0][0]))
        return [(kind, cases, text) for (kind, text), cases in ordered]

    def __str__(self):
        """Return the report as plain text."""
        lines = [printable(f"{name}: {value}") for name, value in self.summary().items()]
        if len(self.rows) <= _CASES_IN_TEXT:
            lines += ["", *columns(case_lines(self.rows))]
        table = [(kind, _names(cases), text) for kind, cases, text in self.table()]
        lines += ["", *(columns([("kind", "cases", "what"), *table]) if table else ["No problems found."])]
        return "\n".join([*lines, *(["", *map(printable, self.advice)] if self.advice else [])])

    def to_json(self):
        """Return the report, without pictures, as JSON."""
        findings = [finding._asdict() for finding in self.findings]
        content = {"summary": self.summary(), "findings": findings, "advice": self.advice, "cases": self.rows}
        return json.dumps(content, indent=1, default=dataclasses.asdict)

    def write_html(self, path, *, overwrite=False):
        """Write the report as one page with a picture of each case, nothing fetched from anywhere; return the path."""
        from pathlib import Path

        from mcc_keras.checks.page import build_page
        from mcc_keras.reporting.html import write_page

        path = Path(path)
        refuse_impossible_output(path)
        refuse_output_that_is_input(path, self.files)
        if path.exists() and not overwrite:
            raise OutputExistsError(path, "a file", "Choose another name, or allow overwriting.")
        try:
            return write_page(build_page(self), path)
        except OSError as error:
            raise EnvironmentFailure(f"{path}: cannot be written ({error.strerror}).") from error


def check_cases(cases, *, preprocessing=None, accept_loss=False, workers=None, progress=False, pictures=True):
    """Check each case: is it readable, does the mask lie on the image, are the labels expected, is anything unusual.

    Errors are problems that training would refuse: files that cannot be read, voxels that are not finite, a mask of
    another shape or place, unexpected labels, the same scan under two patients. Warnings are worth a look: an empty
    mask, a constant image, strong anisotropy, a single slice, a case far from the others. Nothing is changed.

    With `preprocessing`, the best Dice that a network can reach is measured for each case and class: that of the mask
    after the round trip through the box. Below 0.9 it is a warning; a class whose mean is below 0.5 is an error.

    Args:
        cases: `Case`s.
        preprocessing: `Preprocessing` with a size, whose cost is measured; None: no cost.
        accept_loss: Report a class that the box loses as a warning instead of an error.
        workers: Processes; None: depends on the size of the data, at most one per core.
        progress: Show a bar on a terminal.
        pictures: Keep a small picture of each case for `write_html`.

    Returns:
        A `CheckReport`; its method `raise_for_errors()` raises the errors that training would raise.

    Example:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from mcc_keras.datasets import find_cases
    >>> from mcc_keras.volumes import write_volume
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = write_volume(np.arange(64.0).reshape(4, 4, 4), folder / "a.nii", affine=np.eye(4))
    >>> _ = write_volume(np.full((4, 4, 4), 2, np.uint8), folder / "a_mask.nii", affine=np.eye(4))
    >>> report = check_cases(find_cases(folder))
    >>> [type(error).__name__ for error in report.errors]
    ['LabelError']
    """
    cases = tuple(cases)
    if not cases:
        raise UsageError("`cases` must hold at least one case. Received: none")
    if workers is not None and workers < 1:
        raise UsageError(f"`workers` must be at least 1. Received: {workers=}")
    if preprocessing is not None and not preprocessing.is_fitted:
        received = ", ".join(
            f"{name}={getattr(preprocessing, name)!r}" for name in ("size", "spacing_mm", "statistics")
        )
        raise UsageError(
            f"`size` and all else of the box must be given, since nothing is fitted here. Received: {received}."
        )
    options = {"pictures": pictures, "preprocessing": preprocessing}
    found = list(_examine_all(cases, workers or _workers(cases), progress, options))
    rows = tuple(examination.row for examination in found)
    task = with_sides(rows, cases[0].task)
    errors, findings = compare(rows, task, size=preprocessing and preprocessing.size, accept_loss=accept_loss)
    for examination in found:
        errors += examination.errors
        findings += [Finding("error", examination.row["case"], str(error)) for error in examination.errors]
        findings += examination.findings
    thumbnails = {one.row["case"]: one.thumbnail for one in found if one.thumbnail}
    ordered = tuple(sorted(findings, key=lambda finding: (_KINDS.index(finding.kind), finding.case_id)))
    files = tuple(path for case in cases for path in _files(case))
    return CheckReport(rows, tuple(errors), ordered, tuple(advise(rows, cases)), thumbnails, task, files)


def _examine_all(cases, workers, progress, options):
    parallel = joblib.Parallel(n_jobs=workers, return_as="generator", pre_dispatch="2 * n_jobs")
    found = parallel(joblib.delayed(examine)(case, **options) for case in cases)
    if progress:
        from tqdm import tqdm

        found = tqdm(found, total=len(cases), desc="check", unit="case", disable=None, leave=False)
    return found


def _files(case):
    return (*case.images, *([case.mask] if case.mask else []))


def _workers(cases):
    paths = [path for case in cases for path in _files(case)]
    mib = sum(path.stat().st_size for path in paths if path.is_file()) / 2**20
    mib += _MIB_PER_SERIES * sum(path.is_dir() for path in paths)
    return int(max(1, min(joblib.cpu_count(), len(cases), 1 + mib // _MIB_PER_WORKER)))


def _summary(rows, findings):
    shapes = [row["shape"] for row in rows if "shape" in row]
    spacings = [row["spacing_mm"] for row in rows if "spacing_mm" in row]
    shares = [100 * row["foreground_fraction"] for row in rows if "foreground_fraction" in row]
    counts = {kind: sum(finding.kind == kind for finding in findings) for kind in ("error", "warning")}
    summary = {"cases": str(len(rows)), "patients": str(len({row["group"] for row in rows}))}
    summary |= {"errors": str(counts["error"]), "warnings": str(counts["warning"])}
    if shapes:
        summary["sizes"] = _range(shapes, "{:g}")
        summary["spacings mm"] = _range(spacings, "{:.4g}")
    if shares:
        summary["foreground %"] = f"{min(shares):.3g} to {max(shares):.3g}, median {np.median(shares):.3g}"
    return summary


def _range(values, form):
    low, high = np.min(values, axis=0), np.max(values, axis=0)
    pairs = [form.format(a) if a == b else f"{form.format(a)}-{form.format(b)}" for a, b in zip(low, high, strict=True)]
    return " x ".join(pairs)


def _names(cases, shown=6):
    return ", ".join(cases[:shown]) + (f" and {len(cases) - shown} more" if len(cases) > shown else "")
