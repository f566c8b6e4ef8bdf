"""Two folders with the files of a case under one name: `images/` and `labels/`, or nnU-Net without `dataset.json`.

    images/a.nii.gz         labels/a.nii.gz         also masks/, segmentations/; the mask may end in _mask or the like
    imagesTr/a_0000.nii.gz  labelsTr/a.nii.gz       one file for each channel, numbered

An image without a mask is a case for prediction.
"""

import re

from mcc_keras.datasets.mask_names import FOLDERS, masked_image
from mcc_keras.datasets.paths import confined, stem_of, volumes_in
from mcc_keras.errors import CaseError, raise_all

_IMAGES = ("images", "imagesTr", "image", "scans", "volumes")
_NUMBERED = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")


def matches(source):
    """Whether a folder has volumes in a folder of images and in one of masks."""
    return source.is_dir() and all(folder and volumes_in(folder) for folder in _folders(source))


def find(source):
    """Return one case for each image, or for each set of numbered channels."""
    image_folder, mask_folder = _folders(source)
    masks = _by_stem(mask_folder, source, image_of=lambda stem: masked_image(stem) or stem)
    images = _by_stem(image_folder, source)
    if not set(images) & set(masks):
        images = _numbered(images, image_folder)
    else:
        images = {stem: (path,) for stem, path in images.items()}
    if not set(images) & set(masks):
        found = f"found {next(iter(images))} in {image_folder.name} and {next(iter(masks))} in {mask_folder.name}"
        raise CaseError(source, f"expected masks with the names of their images, {found}", "Or name both in a table.")
    raise_all(
        CaseError(path, f"expected an image {stem} in {image_folder.name}, found none", "Or name both in a table.")
        for stem, path in masks.items()
        if stem not in images
    )
    cases = [
        {"case_id": stem, "images": paths, "mask": masks.get(stem), "channel_names": _channels(len(paths))}
        for stem, paths in images.items()
    ]
    return cases, ((1,),), {}


def _folders(source):
    """Return the folder of the images and that of the masks, or None."""
    there = {path.name.lower(): path for path in sorted(source.iterdir(), reverse=True) if path.is_dir()}
    kinds = ([name.lower() for name in names] for names in (_IMAGES, FOLDERS))
    return [next((there[name] for name in names if name in there), None) for names in kinds]


def _by_stem(folder, source, image_of=str):
    found = {}
    for path in volumes_in(folder):
        stem = image_of(stem_of(path))
        if stem in found:
            raise CaseError(folder, f"expected one file of {stem}, found {found[stem].name} and {path.name}")
        found[stem] = confined(path, source)
    return found


def _numbered(images, folder):
    """Return case → paths of the channels _0000, _0001, …; images without a number are cases themselves."""
    found = {}
    for stem, path in images.items():
        match = _NUMBERED.fullmatch(stem)
        case, channel = (match["case"], int(match["channel"])) if match else (stem, 0)
        found.setdefault(case, {})[channel] = path
    raise_all(
        CaseError(folder, f"expected channels of {case} from _0000 on without a gap, found {sorted(channels)}")
        for case, channels in found.items()
        if sorted(channels) != list(range(len(channels)))
    )
    return {case: tuple(channels[index] for index in sorted(channels)) for case, channels in found.items()}


def _channels(count):
    return ("image",) if count == 1 else tuple(f"image_{index}" for index in range(count))
