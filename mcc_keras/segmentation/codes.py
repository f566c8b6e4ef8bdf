"""The segments of a DICOM SEG: names from the task of a run, codes from a JSON file.

    {"liver": {"category": {"value": "123037004", "scheme": "SCT", "meaning": "Anatomical Structure"},
               "type": {"value": "10200004", "scheme": "SCT", "meaning": "Liver"}}}

A key is the label that the mask is written with, or the name of its class.
"""

import dataclasses

from mcc_keras.documents import build, read_object
from mcc_keras.errors import LabelError, UsageError
from mcc_keras.formats.dicom_seg import Code, Segment, warn_without_codes

_AS_HERE = 'Write it as {"liver": {"category": CODE, "type": CODE}}, CODE as {"value": …, "scheme": …, "meaning": …}.'


@dataclasses.dataclass(frozen=True)
class SegmentCodes:
    """What a segment is.

    Args:
        category: `Code`, as "Anatomical Structure".
        type: `Code`, as "Liver".
    """

    category: Code
    type: Code


def find_segments(task, codes=None):
    """Return a `Segment` for each foreground class of a task.

    Args:
        task: `Task`, whose names and `label_values` the segments have.
        codes: JSON file with the codes of labels or names; a class that it does not name is Tissue, with a warning.

    Raises:
        LabelError: The file names labels that the task does not have, or one of them twice.
        DataError: The file is no JSON of this form.

    Example:

    >>> import warnings
    >>> from mcc_keras.task import Task
    >>> with warnings.catch_warnings(action="ignore"):
    ...     segments = find_segments(Task(labels=((1, 2), (4,)), names=("tumor", "cyst")))
    >>> [(each.label, each.name, each.type.meaning) for each in segments]
    [(1, 'tumor', 'Tissue'), (4, 'cyst', 'Tissue')]
    """
    names = dict(zip(task.label_values[1:], task.names, strict=True))
    found = {} if codes is None else _read_codes(codes, names)
    without = [name for label, name in names.items() if label not in found]
    warn_without_codes(without, 'Name them with segment_codes="codes.json".')
    return tuple(
        Segment(label, name, found[label].category, found[label].type) if label in found else Segment(label, name)
        for label, name in names.items()
    )


def _read_codes(path, names):
    content = read_object(path, error=LabelError, way_out=_AS_HERE)
    label_of = {name.lower(): label for label, name in names.items()} | {str(label): label for label in names}
    unknown = [key for key in content if key.lower() not in label_of]
    known = ", ".join(f"{label} ({name})" for label, name in names.items())
    if unknown:
        problem = f"expected codes of the labels {known}, found also {', '.join(map(repr, unknown[:5]))}"
        raise LabelError(path, problem, "Remove them, or correct their names.")
    found = {}
    for key, value in content.items():
        label = label_of[key.lower()]
        if label in found:
            raise LabelError(path, f"expected each label once, found {key!r} beside another", "Remove one of them.")
        found[label] = _codes_of(value, path, key)
    return found


def _codes_of(value, path, key):
    try:
        return build(value, SegmentCodes, path=f"{path}: {key}", error=LabelError, way_out=_AS_HERE)
    except UsageError as error:
        raise LabelError(path, f"{key}: {error}") from None
