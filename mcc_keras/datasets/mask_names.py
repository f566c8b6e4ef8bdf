"""Common names of mask files: `X_mask`, `X.seg`, `X-label`, or `mask` alone in a case's folder."""

import re

_WORDS = "masks?|d?seg|segmentations?|labels?|labelmap|gt|(ground[._-]?)?truth|gold|annotations?|lesions?|tumou?rs?"
_MASK = re.compile(rf"((?P<image>.+?)[._-])?({_WORDS})", re.IGNORECASE | re.DOTALL)
FOLDERS = ("labels", "masks", "segmentations", "labelsTr", "label", "mask", "seg", "segs", "segmentation", "gt")


def masked_image(stem):
    """Return the stem of the image that a mask of this stem belongs to, "" for a mask without one, None for no mask.

    >>> [masked_image(stem) for stem in ("X_mask", "X.seg", "X-label", "X_Ground_Truth", "GOLD", "X_t1")]
    ['X', 'X', 'X', 'X', '', None]
    """
    found = _MASK.fullmatch(stem)
    return None if found is None else found["image"] or ""
