"""The first elements of a DICOM file, parsed without a decoder: enough to recognize a file before it is decoded.

Files are recognized with the preamble (`DICM` at byte 128) or without it, as old scanners and planning systems wrote
them. A damaged header ends the search; it never raises.
"""

import re
import struct

SOP_CLASS, MODALITY = 0x00080016, 0x00080060
_MOST_ELEMENTS = 20_000
_LONGEST_VALUE = 64
_ZEROS = bytes(1 << 20)
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
            marked = _to_first_element(file)
            if marked is None:
                return None
            tags = {tag: _text(file, length) for tag, length in _walk(file) if length <= _LONGEST_VALUE}
    except OSError:
        return None
    bare = tags.get(SOP_CLASS, "").startswith("1.2.840.10008.") or re.fullmatch("[A-Z]{2,16}", tags.get(MODALITY, ""))
    return tags if marked or bare else None


def ends_in_zeros(path):
    """Whether a mebibyte of zeros follows the elements of a DICOM file: GDCM would parse them for hours."""
    with open(path, "rb") as file:
        _to_first_element(file)
        for _ in _walk(file, last_group=0xFFFF):
            pass
        return file.read(len(_ZEROS)) == _ZEROS


def _to_first_element(file):
    """Move to the first element; return whether a preamble is before it, or None if there is no such element."""
    head = file.read(132)
    marked = head[128:] == b"DICM"
    file.seek(132 if marked else 0)
    # Without a preamble the first element is of group 2 or 8.
    return marked if marked or head[:2] in (b"\2\0", b"\10\0") else None


def _text(file, length):
    return file.read(length).decode("ascii", "replace").strip(" \0")


def _walk(file, *, last_group=0x0028):
    """Yield tag and length of the elements outside sequences, the file at the value; stop at a damaged one.

    Tags ascend; what lies in a sequence of undefined length is passed over.
    """
    depth = last = 0
    for _ in range(_MOST_ELEMENTS):
        tag, length = _head(file)
        if tag is None or (tag < _ITEM and not depth and (tag <= last or tag >> 16 > last_group)):
            return
        last = last if depth else tag
        if tag in (_ITEM_END, _SEQUENCE_END):
            depth = max(0, depth - 1)
        elif length == _UNDEFINED:
            depth += 1
        else:
            end = file.tell() + length
            if not depth:
                yield tag, length
            file.seek(end)


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
