"""The first elements of a DICOM file, parsed without a decoder: enough to recognise a file before it is decoded.

Files are recognised with the preamble (`DICM` at byte 128) or without it, as old scanners and planning systems wrote
them. A damaged header ends the search; it never raises.
"""

import re
import struct

SOP_CLASS, MODALITY = 0x00080016, 0x00080060
_LAST_GROUP = 0x0028
_MOST_ELEMENTS = 20_000
_LONGEST_VALUE = 64
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SHORT = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())


def read_tags(path):
    """Return the short text values of a DICOM file before its pixels, by tag, or None if it is not DICOM.

    Example:

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.dcm"
    >>> _ = path.write_bytes(bytes(128) + b"DICM" + bytes([8, 0, 0x60, 0]) + b"CS" + bytes([2, 0]) + b"MR")
    >>> read_tags(path)[MODALITY]
    'MR'
    """
    try:
        with open(path, "rb") as file:
            head = file.read(132)
            marked = head[128:] == b"DICM"
            # Without a preamble the first element is of group 2 or 8.
            if not marked and head[:2] not in (b"\2\0", b"\10\0"):
                return None
            file.seek(132 if marked else 0)
            tags = {tag: value.decode("ascii", "replace").strip(" \0") for tag, value in _elements(file)}
    except OSError:
        return None
    bare = tags.get(SOP_CLASS, "").startswith("1.2.840.10008.") or re.fullmatch("[A-Z]{2,16}", tags.get(MODALITY, ""))
    return tags if marked or bare else None


def _elements(file):
    """Yield the tags and short values of the elements outside sequences; tags ascend, or the header is damaged."""
    depth = last = 0
    for _ in range(_MOST_ELEMENTS):
        tag, length = _head(file)
        if tag is None:
            return
        if tag in (_ITEM_END, _SEQUENCE_END):
            depth = max(0, depth - 1)
        elif length == _UNDEFINED:
            depth += 1
        elif depth or length > _LONGEST_VALUE:
            file.seek(length, 1)
        else:
            yield tag, file.read(length)
        if tag < _ITEM and not depth:
            if tag <= last or tag >> 16 > _LAST_GROUP:
                return
            last = tag


def _head(file):
    """Return the tag of the next element and the length of its value, of which the file's position is the start."""
    head = file.read(8)
    if len(head) < 8:
        return None, 0
    group, element = struct.unpack("<HH", head[:4])
    if head[4:6] in _SHORT:
        (length,) = struct.unpack("<H", head[6:])
    elif head[4:6] in _LONG:
        (length,) = struct.unpack("<I", file.read(4).ljust(4, b"\0"))
    else:  # implicit, or an item
        (length,) = struct.unpack("<I", head[4:])
    return group << 16 | element, length
