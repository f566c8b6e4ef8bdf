"""Many scans to segment: files, folders and data sets become cases, each with a name of its own.

    segment --run RUN a.nii.gz b.nii.gz series/ dataset/ table.csv list.txt -o OUT

A folder of DICOM files is one scan, any other folder a data set in a layout that `find_cases` knows, as is a table or
a `dataset.json`. A `.txt` file has the path of one scan in each line, or the paths of its channels with tabs between;
they are relative to the file, and lines that begin with # are passed over. The name of a mask is that of the scan's
file without its suffix, or the id of the case in its data set.
"""

from dataclasses import replace
from pathlib import Path

from mcc_keras.datasets.cases import Case, find_images
from mcc_keras.datasets.choices import match_channels
from mcc_keras.datasets.paths import plain_id, possible_file, safe_id, stem_of
from mcc_keras.errors import CaseError, DataErrors, MCCKerasError, UsageError
from mcc_keras.formats.dicom import holds_dicom
from mcc_keras.task import Task
from mcc_keras.volumes import SUFFIXES, refuse_remote, suffix_of

LIST = ".txt"


def find_scans(sources, channel_names, *, affine=None, nonfinite="error"):
    """Return the scans of all sources in their order, and what is wrong with others.

    Args:
        sources: Paths: files, folders of DICOM files, data sets, `.txt` files of paths.
        channel_names: Names of the channels of a run, which are taken by name from a case that has all of them.
        affine: As for `find_cases`.
        nonfinite: As for `find_cases`.

    Returns:
        List of `Case`s without masks, whose ids are the names of their masks; list of `MCCKerasError`s.
    """
    cases, problems, reading = [], [], {"affine": affine, "nonfinite": nonfinite}
    for source in sources:
        try:
            found = _find(source, reading)
        except MCCKerasError as error:
            problems += error.errors if isinstance(error, DataErrors) else [error]
            continue
        for case in found:
            try:
                cases.append(_with_channels(case, tuple(channel_names)))
            except MCCKerasError as error:
                problems.append(error)
    return cases, problems


def take_shard(cases, shard):
    """Return every n-th case from the k-th on, so that n processes share the work without a word between them.

    Args:
        cases: Sequence.
        shard: (k, n), k from 1; `None` takes all.

    Raises:
        UsageError: A shard that is none.

    Example:

    >>> take_shard("abcdefgh", (2, 3))
    'beh'
    """
    if shard is None:
        return cases
    if len(shard) != 2 or not 1 <= shard[0] <= shard[1]:
        raise UsageError(f"`shard` must be (k, n) with k from 1 to n. Received: shard={shard!r}.")
    return cases[shard[0] - 1 :: shard[1]]


def _find(source, reading):
    refuse_remote(source)
    source = Path(source)
    if source.suffix.lower() == LIST and source.is_file():
        return [_case(paths, reading) for paths in _read_list(source)]
    if suffix_of(source) in SUFFIXES or (source.is_dir() and holds_dicom(source)):
        return [_case((source,), reading)]
    return [replace(case, case_id=_plain_name(case.case_id)) for case in find_images(source, **reading)]


def _case(paths, reading):
    names = tuple(f"image_{number}" for number in range(len(paths)))
    name = stem_of(paths[0]) or stem_of(paths[0].resolve())  # of a folder ".", that of the folder
    return Case(_plain_name(safe_id(name)), images=paths, task=Task(channel_names=names), **reading)


def _plain_name(case_id):
    """Return the name that an id was made from, if a file can have it in any folder."""
    name = plain_id(case_id)
    return name if Path(name).name == name and not name.startswith(".") and name.isprintable() else case_id


def _read_list(path):
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CaseError(path, f"expected paths in UTF-8, found: {error}", "Mend the file.") from None
    rows = [line.strip().split("\t") for line in lines if line.strip() and not line.startswith("#")]
    if not rows:
        raise CaseError(path, "expected the path of a scan in each line, found none", "Write them into it.")
    return [tuple(path.parent / possible_file(name.strip(), path) for name in names) for names in rows]


def _with_channels(case, names):
    """Return a case with the channels of a run, whose files are taken by name or in their order."""
    case = match_channels(case, names)
    found = case.task.channel_names
    if len(case.images) != len(names) and not (len(case.images) == 1 and len(found) in (1, len(names))):
        problem = f"expected {len(names)} channels ({', '.join(names)}), found {len(found)} ({', '.join(found)})"
        raise CaseError(case.images[0], problem, "Segment it with a run that was trained on these channels.")
    return replace(case, task=Task(channel_names=names))
