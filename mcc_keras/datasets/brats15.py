"""BRATS 2015 as released: one folder per modality, the truth in `….OT.<id>/`.

    {HGG,LGG}/<case>/VSD.Brain.XX.O.MR_Flair.<id>/VSD.Brain.XX.O.MR_Flair.<id>.mha

The modalities that are there become channels in the order Flair, T1, T1c, T2; `find_cases(…, channels=("T1c",))` takes
some of them, in the order given. The masks hold 1 necrosis, 2 oedema, 3 non-enhancing and 4 enhancing tumour, and
`REGIONS` names combinations of them; by default the whole tumour is one class. Several scans belong to one
patient, so `group` is grade, source and patient: `HGG/tcia/pat118` for `HGG/brats_tcia_pat118_0001`. The grade is a
column.
"""

import re

from mcc_keras.datasets.paths import confined
from mcc_keras.errors import CaseError

MODALITIES = ("Flair", "T1", "T1c", "T2")
REGIONS = {
    "whole": (1, 2, 3, 4),
    "core": (1, 3, 4),
    "enhancing": (4,),
    "necrosis": (1,),
    "oedema": (2,),
    "non_enhancing": (3,),
}
_FILE = re.compile(r"VSD\..*\.(?:MR_(Flair|T1c|T1|T2)|(OT))\..*\.mha", re.IGNORECASE)
_PATIENT = re.compile(r"brats_(.+)_(pat\d+)_\d+")
_NAMES = {name.lower(): name for name in MODALITIES}


def matches(source):
    """Whether a folder is a case in the form of the release, or holds cases, or grades with cases."""
    return source.is_dir() and any(True for _ in _case_folders(source))


def find(source):
    """Return the cases, the whole tumour, and the labels of each region."""
    return [_case(folder, _files(folder, source)) for folder in _case_folders(source)], (REGIONS["whole"],), REGIONS


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


def _case(folder, files):
    folder = folder.resolve()
    grade = folder.parent.name if folder.parent.name in ("HGG", "LGG") else ""
    patient = _PATIENT.fullmatch(folder.name)
    group = "/".join(part for part in (grade, *(patient.groups() if patient else (folder.name,))) if part)
    names = tuple(name for name in MODALITIES if name in files)
    return {
        "case_id": f"{grade}_{folder.name}" if grade else folder.name,
        "group": group,
        "images": tuple(files[name] for name in names),
        "mask": files.get("OT"),
        "channel_names": names,
        "columns": {"grade": grade} if grade else {},
    }
