"""What a server answers is not trusted: its size is bounded by the scan's, its type, shape and labels are checked."""

import re

import numpy as np

from mcc_keras.errors import EnvironmentFailure, VolumeError
from mcc_keras.formats.nifti import parse_header, scaling, stored_dtype, stored_shape
from mcc_keras.task import MAX_CLASSES

OTHER = "Serve a model that export_saved_model wrote."
LARGEST_CHANNELS = 64  # per scan; larger sizes in a signature are refused before memory is allocated
ROOM = 1 << 20  # bytes of names, types and signatures in an answer
LABEL_BYTES = 3  # of a uint16 label, where a server answers in protocol fields
_STARTS = {348: 352, 540: 544}
_NAMED = re.compile(r"mcc_keras (?P<version>[\w.+!-]{1,40}) (?P<fingerprint>[0-9a-f]{64})", re.ASCII)


def mask_of_file(data, *, shape, address):
    """Return the mask (x, y, z) in the bytes of a NIfTI file, uint8 or uint16.

    Args:
        data: The bytes.
        shape: Of the scan.
        address: The server's, for errors.

    Raises:
        EnvironmentFailure: They are no mask of the scan.
    """
    try:
        header = parse_header(data[:540], address, single=True)
        found, dtype = stored_shape(header, address), stored_dtype(header, address)
        start = _STARTS[int(header["sizeof_hdr"])]
        plain = scaling(header, address) is None and float(header["vox_offset"]) == start
    except VolumeError as error:
        raise EnvironmentFailure(f"{address}: expected a mask, found: {error.problem}. {OTHER}") from None
    refuse_other_mask(dtype.newbyteorder("=").name, found, shape=shape, address=address)
    count = int(np.prod(shape))
    if not plain or len(data) != start + count * dtype.itemsize:
        raise EnvironmentFailure(
            f"{address}: expected a mask of {start + count * dtype.itemsize} bytes without scaling, found another file"
            f" of {len(data)}. {OTHER}"
        )
    array = np.frombuffer(data, dtype, count, start).reshape(shape, order="F")
    return checked_labels(array.astype(dtype.newbyteorder("="), copy=False), address=address)


def named_model(text):
    """Return the version of the package that exported a model and the fingerprint, of what a server says of a mask.

    Args:
        text: The output `fingerprint`; anything.

    Returns:
        (version, fingerprint), or `None` where the text is another.

    Example:

    >>> named_model("mcc_keras 0.1.0 " + "a" * 64)[0], named_model("resnet")
    ('0.1.0', None)
    """
    found = _NAMED.fullmatch(text) if isinstance(text, str) else None
    return found and (found["version"], found["fingerprint"])


def refuse_other_mask(dtype, found, *, shape, address):
    """Refuse another type than uint8 and uint16, and another shape than the scan's."""
    if dtype not in ("uint8", "uint16") or tuple(found) != tuple(shape):
        raise EnvironmentFailure(
            f"{address}: expected a mask of uint8 or uint16 and shape {tuple(shape)}, found {dtype} and shape"
            f" {tuple(found)}. {OTHER}"
        )


def checked_labels(mask, *, address):
    """Return a mask that has no more labels than a model has classes."""
    number = 0 if mask.dtype == np.uint8 else int(np.count_nonzero(np.bincount(mask.ravel(order="K"), minlength=1)))
    if number > MAX_CLASSES + 1:
        raise EnvironmentFailure(f"{address}: expected a mask of at most {MAX_CLASSES + 1} labels, found {number}.")
    return mask
