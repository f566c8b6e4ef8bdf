"""One tree of typed errors: the problem, the file or case that has it, and the way out.

Every failure that a user can meet is an `MCCKerasError`. The command line prints its text, one line per problem, and
exits with its `exit_code`: 2 usage, 3 data, 5 environment (disk, memory, device). Anything else is a bug (1).
"""

import unicodedata
from pathlib import Path

# Control and format characters, lone surrogates, private ones, and the separators of lines and paragraphs.
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def printable(text):
    r"""Return text with every control character spelled out, so that it cannot move a cursor or forge a line.

    Example:

    >>> printable("case\x1b[2J\n7"), printable("Fräulein")
    ('case\\x1b[2J\\n7', 'Fräulein')
    """
    text = str(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(x.encode("unicode_escape").decode() if unicodedata.category(x) in _HIDDEN else x for x in text)


class MCCKerasError(Exception):
    """The root of the tree; catch it to catch everything that the package reports.

    Its text is one line: control characters in it, as of a file's name, are spelled out.

    Example:

    >>> print(MCCKerasError("a\\rb: not a scan."))
    a\\rb: not a scan.
    """

    exit_code = 1

    def __str__(self):
        return printable(super().__str__())


class UsageError(MCCKerasError, ValueError):
    """An invalid argument: an unknown name, a number out of range, settings that contradict each other."""

    exit_code = 2


class OutputExistsError(UsageError, FileExistsError):
    """The output exists already, and is only overwritten on request.

    Example:

    >>> str(OutputExistsError("run", "a run folder that is not empty", "Choose another folder."))
    'run: expected a free name, found a run folder that is not empty. Choose another folder.'
    """

    def __init__(self, path, found, way_out):
        super().__init__(f"{path}: expected a free name, found {found}. {way_out}")
        self.path = Path(path)


class BusyError(OutputExistsError):
    """Another process writes to the same place.

    Args:
        path: The place.
        owner: The other process, as text.
        way_out: How to solve it.

    Example:

    >>> str(BusyError("work", "host alpha, process 7", "Wait for it to end."))
    'work: expected no other writer, found one: host alpha, process 7. Wait for it to end.'
    """

    def __init__(self, path, owner, way_out):
        MCCKerasError.__init__(self, f"{path}: expected no other writer, found one: {owner}. {way_out}")
        self.path = Path(path)


class _AboutPath(MCCKerasError):
    """An error about one file, with its state and a way out."""

    def __init__(self, path, problem, way_out=""):
        super().__init__(f"{path}: {problem}. {way_out}".rstrip())
        self.path, self.problem, self.way_out = path, problem, way_out

    def __reduce__(self):
        return type(self), (self.path, self.problem, self.way_out)


class DataError(_AboutPath):
    """A file or a case is not what it should be.

    Args:
        path: The file, folder or case id that the problem is about.
        problem: The expected and the found state.
        way_out: How to solve it.

    Example:

    >>> str(DataError("scan.nii.gz", "expected finite voxels, found 3 NaN", "Mend the file."))
    'scan.nii.gz: expected finite voxels, found 3 NaN. Mend the file.'
    """

    exit_code = 3


class VolumeError(DataError):
    """A volume cannot be read: missing, truncated, malformed, of the wrong rank, or with voxels that are not finite."""


class GeometryError(DataError):
    """Shapes or affines that disagree, or an affine that is no map from voxels to millimetres."""


class LabelError(DataError):
    """A mask holds labels that were not asked for, or values that are no labels."""


class CaseError(DataError):
    """No cases where cases should be, equal case ids, or a patient on both sides of a split."""


class RecordError(DataError):
    """Records or their manifest are damaged, missing, or of other settings or another version."""


class RunError(DataError):
    """A run folder that does not hold a finished run."""


class TrainingInterrupted(MCCKerasError):
    """A training was stopped by a signal after it had saved its state; the same call goes on.

    Example:

    >>> str(TrainingInterrupted("run", "SIGINT"))
    'run: stopped by SIGINT, and saved. The same call again goes on.'
    """

    exit_code = 4

    def __init__(self, run, cause):
        super().__init__(f"{run}: stopped by {cause}, and saved. The same call again goes on.")
        self.run, self.cause = Path(run), cause


class DataErrors(DataError):
    """Several problems, collected so that one look shows them all: one line each, in `errors`."""

    def __init__(self, errors):
        self.errors = tuple(errors)
        MCCKerasError.__init__(self, self.errors)

    def __str__(self):
        return "\n".join(str(error) for error in self.errors)

    def __reduce__(self):
        return type(self), (self.errors,)


def raise_all(problems):
    """Raise the only error of a list, or `DataErrors` where there are several; do nothing where there is none.

    Example:

    >>> raise_all([])
    >>> raise_all([CaseError("a", "expected a mask, found none")])
    Traceback (most recent call last):
    mcc_keras.errors.CaseError: a: expected a mask, found none.
    """
    problems = tuple(problems)
    if problems:
        raise problems[0] if len(problems) == 1 else DataErrors(problems)


class EnvironmentFailure(MCCKerasError):
    """The machine is in the way: disk full, no memory, an extra not installed, a server that does not answer."""

    exit_code = 5


class MemoryFailure(_AboutPath, EnvironmentFailure):
    """The memory does not hold the work on one file.

    Args:
        path: The file that the work is on.
        problem: The expected and the found state.
        way_out: How to solve it.

    Example:

    >>> str(MemoryFailure("scan.nii", "expected memory for 900 × 900 × 900 voxels, found too little", "Crop it."))
    'scan.nii: expected memory for 900 × 900 × 900 voxels, found too little. Crop it.'
    """


def disk_failure(path, error):
    """Return the `EnvironmentFailure` of an `OSError` while writing to `path`.

    Example:

    >>> str(disk_failure("work", OSError(28, "No space left on device")))
    'work: cannot be written (No space left on device). Make room, or choose another disk.'
    """
    reason = error.strerror or error
    return EnvironmentFailure(f"{path}: cannot be written ({reason}). Make room, or choose another disk.")
