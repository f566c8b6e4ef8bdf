"""A folder for each case: `sub01/FLAIR.nii.gz`, `sub01/T1.nii.gz` and the mask `sub01/GOLD.nii.gz`.

    BraTS20_Training_001/BraTS20_Training_001_flair.nii.gz, …_t1.nii.gz, …_seg.nii.gz

The mask is the file whose name, without that of the folder, is or ends in mask, seg, label, gt, gold, truth, … (see
`pairs`). The others are the channels.
"""

from mcc_keras.datasets.mask_names import masked_image
from mcc_keras.datasets.paths import confined, stem_of, volumes_in
from mcc_keras.datasets.seen import command
from mcc_keras.errors import CaseError, raise_all


def matches(source):
    """Whether folders in a folder hold volumes, at least one of them a mask beside an image."""
    return source.is_dir() and any(
        any(_is_mask(name) for name in names) and not all(_is_mask(name) for name in names)
        for names in map(_named, _case_folders(source))
    )


def find(source):
    """Return one case for each folder."""
    cases, problems = [], []
    for folder in _case_folders(source):
        try:
            cases.append(_case(folder, source))
        except CaseError as problem:
            problems.append(problem)
    raise_all(problems)
    if all(len(case["images"]) == 1 for case in cases) and len({case["channel_names"] for case in cases}) > 1:
        cases = [{**case, "channel_names": ("image",)} for case in cases]
    return cases, ((1,),), {}


def _case_folders(source):
    folders = [path for path in sorted(source.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    return [folder for folder in folders if volumes_in(folder)]


def _case(folder, source):
    files = _named(folder)
    masks = [name for name in files if _is_mask(name)]
    channels = [name for name in files if name not in masks]
    if len(masks) > 1 or not channels:
        found = f"found {', '.join(files[name].name for name in files)}"
        images = [f"*/*{name}*" for name in channels[:1]] or ["*/*"]
        way_out = f"Choose the files, such as: {command(source, images, f'*/*{masks[0]}*' if masks else None)}."
        raise CaseError(folder, f"expected images and at most one mask, {found}", way_out)
    return {
        "case_id": folder.name,
        "images": tuple(confined(files[name], source) for name in channels),
        "mask": confined(files[masks[0]], source) if masks else None,
        "channel_names": ("image",) if channels == [""] else tuple(name or "image" for name in channels),
    }


def _named(folder):
    """Return the volumes of a folder by their names without that of the folder."""
    return {stem_of(path).removeprefix(folder.name).strip("._-"): path for path in volumes_in(folder)}


def _is_mask(name):
    return masked_image(name) is not None
