"""BRATS 2015 as released: a folder a modality, the truth in `….OT.<id>/`.

    {HGG,LGG}/<case>/VSD.Brain.XX.O.MR_Flair.<id>/VSD.Brain.XX.O.MR_Flair.<id>.mha

Whatever modalities are there become channels in the order Flair, T1, T1c, T2. The masks hold 1 necrosis, 2 oedema,
3 non-enhancing and 4 enhancing tumour; without other words the whole tumour (1 to 4) is one class. Several scans belong
to one patient, so `group` is grade, source and patient: `HGG/tcia/pat118` for `HGG/brats_tcia_pat118_0001`.
"""

import re

from mcc_keras.datasets.paths import confined
from mcc_keras.errors import CaseError, DataErrors

MODALITIES = ("Flair", "T1", "T1c", "T2")
_FILE = re.compile(r"VSD\..*\.(?:MR_(Flair|T1c|T1|T2)|(OT))\..*\.mha", re.IGNORECASE)
_PATIENT = re.compile(r"brats_(.+)_(pat\d+)_\d+")
_NAMES = {name.lower(): name for name in MODALITIES}


def matches(source):
    """Whether a folder is a case in the form of the release, or holds cases, or grades with cases."""
    return source.is_dir() and any(True for _ in _case_folders(source))


def find(source):
    """Return the cases, with the modalities that all of them have."""
    found = [(folder, _files(folder, source)) for folder in _case_folders(source)]
    names = tuple(name for name in MODALITIES if any(name in files for _, files in found))
    problems = [
        CaseError(folder, f"expected the modalities {', '.join(names)}, found {', '.join(sorted(files))}")
        for folder, files in found
        if not set(names) <= set(files)
    ]
    if problems:
        raise problems[0] if len(problems) == 1 else DataErrors(problems)
    return [_case(folder, files, names) for folder, files in found], ((1, 2, 3, 4),)


def _case_folders(source):
    for pattern in ("VSD.*.MR_*", "*/VSD.*.MR_*", "*/*/VSD.*.MR_*"):
        folders = sorted({path.parent for path in source.glob(pattern) if path.is_dir()})
        if folders:
            yield from folders
            return


def _files(folder, source):
    files = {}
    for path in sorted(folder.glob("VSD.*/*.mha")):
        match = _FILE.fullmatch(path.name)
        if match:
            name = _NAMES[match[1].lower()] if match[1] else "OT"
            if name in files:
                raise CaseError(folder, f"expected one file of {name}, found {files[name].name} and {path.name}")
            files[name] = confined(path, source)
    return files


def _case(folder, files, names):
    folder = folder.resolve()
    grade = folder.parent.name
    patient = _PATIENT.fullmatch(folder.name)
    grade = grade if grade in ("HGG", "LGG") else ""
    group = "/".join(part for part in (grade, *(patient.groups() if patient else (folder.name,))) if part)
    return {
        "case_id": f"{grade}_{folder.name}" if grade else folder.name,
        "group": group,
        "images": tuple(files[name] for name in names),
        "mask": files.get("OT"),
        "channel_names": names,
    }
