"""PROMISE12 as released: `CaseNN.mhd` and `CaseNN_segmentation.mhd`, flat or in `TrainingData_Part1/` to `Part3/`."""

import re

from mcc_keras.datasets.paths import confined

_IMAGE = re.compile(r"Case\d+\.(mhd|mha)")


def matches(source):
    """Whether a folder, or a folder of parts in it, has files `CaseNN.mhd`."""
    return source.is_dir() and any(True for _ in _images(source))


def find(source):
    """Return the cases; masks hold 1 for the gland."""
    cases = []
    for image in _images(source):
        mask = image.with_name(f"{image.stem}_segmentation{image.suffix}")
        mask = confined(mask, source) if mask.is_file() else None
        images = (confined(image, source),)
        cases.append({"case_id": image.stem, "images": images, "mask": mask, "channel_names": ("T2",)})
    return cases, ((1,),), {"prostate": (1,)}


def _images(source):
    for folder in (source, *sorted(source.glob("*Data_Part*"))):
        if folder.is_dir():
            yield from (path for path in sorted(folder.iterdir()) if _IMAGE.fullmatch(path.name))
