"""A folder of pairs: `X.nii.gz` and `X_mask.nii.gz`, also `.nrrd`, `.mha`, `.mhd`, and a folder `X` of DICOM files.

A mask is recognized by the end of its name, in any case and after `_`, `-` or `.`: mask, seg, segmentation, label,
labels, labelmap, gt, ground_truth, truth, gold, annotation, dseg, lesion or tumour. A volume without a mask is a
case as well.
"""

import re
import warnings

from mcc_keras.datasets.mask_names import masked_image
from mcc_keras.datasets.paths import confined, stem_of, volumes_in
from mcc_keras.datasets.seen import command
from mcc_keras.errors import CaseError, raise_all

_END = re.compile(r"[._-][A-Za-z]\w*")


def matches(source):
    """Whether a folder has any volumes."""
    return source.is_dir() and bool(volumes_in(source))


def find(source):
    """Return one case per volume, with its mask where there is one."""
    images, masks = {}, {}
    for path in volumes_in(source):
        stem = stem_of(path)
        image = masked_image(stem)
        (masks if image else images).setdefault(image or stem, []).append(confined(path, source))
    problems = [
        CaseError(source, f"expected one {what} of {stem}, found {', '.join(path.name for path in paths)}")
        for what, found in (("image", images), ("mask", masks))
        for stem, paths in found.items()
        if len(paths) > 1
    ]
    problems += [
        CaseError(paths[0], f"expected an image {stem} beside it, found none", _way_out(paths[0], stem, images))
        for stem, paths in masks.items()
        if stem not in images
    ]
    raise_all(problems)
    if not masks:
        _warn_of_pairs(source, images)
    cases = [
        {"case_id": stem, "images": (paths[0],), "mask": masks.get(stem, [None])[0]} for stem, paths in images.items()
    ]
    return cases, ((1,),), {}


def _way_out(mask, stem, images):
    ends = sorted({end for name in images if (end := name.removeprefix(stem)) != name and _END.fullmatch(end)})
    if not ends:
        return "Or name both in a CSV table."
    mask_pattern = f"*{stem_of(mask).removeprefix(stem)}*"
    return f"If it belongs to {stem}{ends[0]}: {command(mask.parent, [f'*{end}*' for end in ends], mask_pattern)}."


def _warn_of_pairs(source, images):
    """Warn of X and X_roi, for each X, which are two cases as they are named."""
    ends = {name[len(stem) :] for stem in images for name in images if name.startswith(stem) and name != stem}
    for end in sorted(end for end in ends if _END.fullmatch(end)):
        bare = [stem for stem in images if not stem.endswith(end)]
        if {f"{stem}{end}" for stem in bare} == set(images) - set(bare):
            text = f"{source}: {bare[0]} and {bare[0]}{end} are read as two scans without masks."
            warnings.warn(f"{text} If the second is a mask: {command(source, ['*'], f'*{end}*')}.", stacklevel=5)
