"""Contents of a folder without a recognized layout, and the command that would read it."""

import itertools
import os
import re
import shlex
from collections import Counter
from pathlib import Path

from mcc_keras.datasets.mask_names import masked_image
from mcc_keras.datasets.paths import is_volume, stem_of

KNOWN = (
    "Known layouts: a dataset.json, BRATS 2015, PROMISE12, BIDS, a table (.csv, .tsv), images/ and labels/, pairs"
    " X.nii.gz and X_mask.nii.gz, a folder for each case."
)
_MOST_FILES, _DEEPEST, _SHOWN = 2000, 6, 3
_LAST_WORD = re.compile(r"[._-]([A-Za-z]\w*?)\d*$")


def command(source, images, mask=None):
    """Return the command that reads cases by patterns.

    >>> command("scans", ["*/FLAIR*"], "*/GOLD*")
    "mcc-keras check scans --image '*/FLAIR*' --mask '*/GOLD*'"
    """
    source, images = shlex.quote(str(source)), shlex.quote(",".join(images))
    if mask is None:
        return f"mcc-keras check {source} --image {images}"
    return f"mcc-keras check {source} --image {images} --mask {shlex.quote(mask)}"


def describe(source):
    """Return the problem and the way out for a source without a recognized layout."""
    if not source.is_dir():
        return f"expected a folder, a dataset.json or a table (.csv, .tsv), found the file {source.name}", KNOWN
    names = list(itertools.islice(_files(source), _MOST_FILES))
    volumes = [name for name in names if is_volume(Path(source, name))]
    if not volumes:
        shown = f"; there are {_sample(names)}" if names else "; the folder is empty"
        return f"expected cases, found no volume (.nii.gz, .nii, .nrrd, .mha, .mhd, DICOM){shown}", KNOWN
    stems = Counter(stem_of(name) for name in volumes)
    kinds = Counter(_pattern(name, repeated=stems[stem_of(name)] > 1) for name in volumes)
    masks = [kind for kind in kinds if masked_image(_bare(kind)) is not None]
    images = [kind for kind in kinds if kind not in masks] or masks
    likely = kinds.most_common(2)
    if not masks and len(likely) == 2:  # two kinds of file: the rarer or later one may be the mask
        masks = [likely[1][0]]
        images = [likely[0][0]]
    advice = f"If these are cases: {command(source, images[:1], masks[0] if masks else None)}. {KNOWN}"
    return f"expected cases, found none among {len(volumes)} volumes, such as {_sample(volumes)}", advice


def _files(source):
    for folder, folders, files in os.walk(source):
        inner = Path(folder).relative_to(source)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if len(inner.parts) < _DEEPEST else []
        yield from ((inner / name).as_posix() for name in sorted(files) if not name.startswith("."))


def _sample(names):
    return ", ".join(names[:_SHOWN]) + (" and others" if len(names) > _SHOWN else "")


def _pattern(name, *, repeated=False):
    """Return a pattern that matches a volume and similar ones: the depth of its folder and the last word of its name.

    >>> [_pattern(name) for name in ("sub01/FLAIR.nii.gz", "scans/a01_ct.nii.gz", "a/b/sub01.nii.gz")]
    ['*/FLAIR*', '*/*_ct*', '*/*/*']
    >>> _pattern("sub01/t1.nii.gz", repeated=True)
    '*/t1*'
    """
    *folders, last = name.split("/")
    stem = stem_of(last)
    word = _LAST_WORD.search(stem)
    if repeated and folders:
        end = f"{stem}*"
    elif word:
        end = f"*{stem[word.start() : word.end(1)]}*"
    else:
        end = "*" if any(letter.isdigit() for letter in stem) or not folders else f"{stem}*"
    return "/".join([*("*" for _ in folders), end])


def _bare(pattern):
    return pattern.rsplit("/", 1)[-1].strip("*").strip("._-")
