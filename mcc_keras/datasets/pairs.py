"""A folder of pairs: `X.nii.gz` and `X_mask.nii.gz`, also `.nrrd`, `.mha`, `.mhd`.

A volume without a mask is a case too.
"""

from mcc_keras.datasets.paths import confined, stem_of, volumes_in
from mcc_keras.errors import CaseError, DataErrors

MASK = "_mask"


def matches(source):
    """Whether a folder has any volumes."""
    return source.is_dir() and bool(volumes_in(source))


def find(source):
    """Return one case a volume, with its mask where there is one."""
    stems = {}
    for path in volumes_in(source):
        stems.setdefault(stem_of(path), []).append(confined(path, source))
    problems = [
        CaseError(source, f"expected one file of {stem}, found {', '.join(path.name for path in paths)}")
        for stem, paths in stems.items()
        if len(paths) > 1
    ]
    problems += [
        CaseError(paths[0], f"expected an image {stem.removesuffix(MASK)} beside it, found none")
        for stem, paths in stems.items()
        if stem.endswith(MASK) and stem.removesuffix(MASK) not in stems
    ]
    if problems:
        raise problems[0] if len(problems) == 1 else DataErrors(problems)
    return (
        [
            {"case_id": stem, "images": (paths[0],), "mask": stems.get(stem + MASK, [None])[0]}
            for stem, paths in stems.items()
            if not stem.endswith(MASK)
        ],
        ((1,),),
        {},
    )
