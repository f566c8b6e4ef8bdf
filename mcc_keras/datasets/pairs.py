"""A folder of pairs: `X.nii.gz` and `X_mask.nii.gz`, also `.nrrd`, `.mha`, `.mhd`, and a folder `X` of DICOM files.

The mask is told by the end of its name: `_mask`, `_seg`, `_segmentation`, `_label`, `_labels` or `_gt`. A volume
without a mask is a case too.
"""

from mcc_keras.datasets.paths import confined, stem_of, volumes_in
from mcc_keras.errors import CaseError, DataErrors

MASKS = ("_mask", "_segmentation", "_seg", "_labels", "_label", "_gt")


def matches(source):
    """Whether a folder has any volumes."""
    return source.is_dir() and bool(volumes_in(source))


def find(source):
    """Return one case a volume, with its mask where there is one."""
    images, masks = {}, {}
    for path in volumes_in(source):
        stem = stem_of(path)
        end = next((end for end in MASKS if stem.endswith(end) and stem != end), "")
        found = masks if end else images
        found.setdefault(stem.removesuffix(end), []).append(confined(path, source))
    problems = [
        CaseError(source, f"expected one {what} of {stem}, found {', '.join(path.name for path in paths)}")
        for what, found in (("image", images), ("mask", masks))
        for stem, paths in found.items()
        if len(paths) > 1
    ]
    problems += [
        CaseError(paths[0], f"expected an image {stem} beside it, found none", "Or name both in a CSV table.")
        for stem, paths in masks.items()
        if stem not in images
    ]
    if problems:
        raise problems[0] if len(problems) == 1 else DataErrors(problems)
    cases = [
        {"case_id": stem, "images": (paths[0],), "mask": masks.get(stem, [None])[0]} for stem, paths in images.items()
    ]
    return cases, ((1,),), {}
