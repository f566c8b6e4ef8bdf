"""Cases found by patterns: `image="*/FLAIR*"`, `mask="*/GOLD*"`, relative to the folder.

`*` and `?` match text within a name, `**` any folders. The text that the wildcards of an image match is its case id;
its mask and its other channels are the files whose wildcards match the same text. The text of the first wildcard is
the patient, so `*/*/FLAIR*` reads the scans of each patient's sessions.
"""

import re

from mcc_keras.datasets.paths import confined, is_volume
from mcc_keras.errors import CaseError, UsageError, raise_all
from mcc_keras.volumes import SUFFIXES, suffix_of

_WILDCARDS = {"**/": "(?:(.*)/)?", "**": "(.*)", "*": "([^/]*)", "?": "([^/])"}
_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|[^*?]+")
_WAY_OUT = "The wildcards of all patterns must match the same text in the files of a case."


def find(source, image, mask):
    """Return the cases whose files match patterns.

    Args:
        source: The folder.
        image: Pattern of the images, or a sequence with one pattern for each channel.
        mask: Pattern of the masks; None: cases for prediction.
    """
    patterns = tuple(image) if isinstance(image, tuple | list) else (image,)
    for pattern in (*patterns, *([] if mask is None else [mask])):
        _check(pattern)
    masks = {} if mask is None else _matching(source, mask, "mask", without=())
    taken = set(masks.values())
    channels = [_matching(source, pattern, "image", without=taken) for pattern in patterns]
    keys = dict.fromkeys(key for found in channels for key in found)
    raise_all(_problems(keys, channels, patterns, masks))
    names = _names(patterns)
    cases = [
        {
            "case_id": "_".join(dict.fromkeys(part.replace("/", "_") for part in key if part)) or "case",
            "group": key[0] if key else "",
            "images": tuple(found[key] for found in channels),
            "mask": masks.get(key),
            "channel_names": names,
        }
        for key in keys
    ]
    return cases, ((1,),), {}


def _matching(source, pattern, what, *, without):
    """Return the volumes that match a pattern, by the text that its wildcards match."""
    expression, found = _expression(pattern), {}
    for path in sorted(source.glob(pattern.replace("[", "[[]"))):
        name = path.relative_to(source).as_posix()
        if path in without or any(part.startswith(".") for part in name.split("/")) or not is_volume(path):
            continue
        bare = name if path.is_dir() else name[: len(name) - len(suffix_of(name))]
        key = _case_key((expression.fullmatch(bare) or expression.fullmatch(name)).groups(""))
        if key in found:
            problem = f"expected one {what} for {' '.join(key) or pattern!r}, found {found[key].name} and {path.name}"
            raise CaseError(path.parent, problem, "Choose a narrower pattern.")
        found[key] = confined(path, source)
    if not found:
        way_out = "Patterns are relative to the folder, such as 'images/*' or '*/T1*'."
        raise CaseError(source, f"expected volumes that match {what}={pattern!r}, found none", way_out)
    return found


def _case_key(texts):
    """Return the texts without empty ones at the end, so that `*` and `*_mask*` give the same case.

    >>> _case_key(("sub01", "", ""))
    ('sub01',)
    """
    return texts[: max((index for index, text in enumerate(texts, start=1) if text), default=0)]


def _problems(keys, channels, patterns, masks):
    for found, pattern in zip(channels, patterns, strict=True):
        for key in keys:
            if key not in found:
                yield CaseError(" ".join(key), f"expected a file that matches image={pattern!r}, found none", _WAY_OUT)
    for key, path in masks.items():
        if key not in keys:
            yield CaseError(path, f"expected an image of {' '.join(key)}, found none", _WAY_OUT)


def _check(pattern):
    if not isinstance(pattern, str) or not pattern or "\0" in pattern:
        raise UsageError(f"A pattern must be text such as '*/T1*'. Received: {pattern!r}")
    if pattern.startswith("/") or ".." in pattern.split("/") or re.search(r"[^/]\*\*|\*\*[^/]", pattern):
        rule = "A pattern must be relative to the folder, without `..`, and `**` must be a whole part of it."
        raise UsageError(f"{rule} Received: {pattern!r}")


def _expression(pattern):
    return re.compile("".join(_WILDCARDS.get(token, re.escape(token)) for token in _TOKEN.findall(pattern)), re.DOTALL)


def _names(patterns):
    """Return a name for each channel: the letters of its pattern's last part, or image_0, image_1, …"""
    if len(patterns) == 1:
        return (_letters(patterns[0]) or "image",)
    names = tuple(_letters(pattern) for pattern in patterns)
    return names if all(names) and len(set(names)) == len(names) else tuple(f"image_{i}" for i in range(len(patterns)))


def _letters(pattern):
    last = pattern.rsplit("/", 1)[-1]
    last = last[: len(last) - max((len(end) for end in SUFFIXES if last.lower().endswith(end)), default=0)]
    return re.sub(r"[*?]+", "", last).strip("._- ")
