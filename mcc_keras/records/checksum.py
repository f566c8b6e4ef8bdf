"""CRC-32C, which frames each TFRecord, in NumPy: so that workers that write records need no TensorFlow.

Checksums are remainders of polynomials over GF(2). x^5685 + x^1362 + x^426 + 1 is a multiple of Castagnoli's
polynomial, and so is its 32nd power, which has 32 times these exponents. A 32-bit word may thus be taken away where it
stands and added (XOR) 4323, 5259 and 5685 words further on: thousands of words at once, until few bytes are left.
"""

import functools

import numpy as np

POLYNOMIAL = 0x82F63B78  # bit-reversed
SHIFTS = 4323, 5259, 5685
_START = b"\x54\x64\x1f\x64"
_PIECE = 1 << 18
_ROW = 512
_MASK_DELTA = 0xA282EAD8


def crc32c(data):
    """Return the CRC-32C of bytes (Castagnoli; RFC 3720).

    Example:

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    # Zeros in front change nothing as long as the register is 0; after _START it is all ones, as the standard has it.
    data = np.frombuffer(data, np.uint8)
    head = bytes(-data.size % 4) + _START
    cut = data.size % _PIECE
    rest = np.concatenate([np.frombuffer(head, np.uint8), data[:cut]])
    for start in range(cut, data.size, _PIECE):
        rest = np.concatenate([rest, data[start : start + _PIECE]])
        rest = _folded(rest.view(np.uint32)).view(np.uint8)
    return ~_register(_folded(_folded(rest.view(np.uint32)).view(np.uint8))) & 0xFFFFFFFF


def masked_crc32c(data):
    """Return the checksum as TFRecords store it: rotated and shifted, since they may hold checksums themselves.

    Example:

    >>> hex(masked_crc32c(b"123456789"))
    '0xc78ab0e5'
    """
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def _folded(words):
    """Return as many words as the last shift, or fewer, that have the same remainder; `words` is overwritten."""
    block, last = SHIFTS[0], SHIFTS[-1]
    for start in range(0, words.size - last, block):
        moved = words[start : min(start + block, words.size - last)]
        for shift in SHIFTS:
            words[start + shift : start + shift + moved.size] ^= moved
    return words[-last:]


def _register(data):
    """Return the register after bytes, from 0: each byte is looked up by its place in a row."""
    table, places = _table()
    rows = np.zeros(-(-data.size // _ROW) * _ROW, np.uint8)
    rows[rows.size - data.size :] = data
    register = 0
    for row in rows.reshape(-1, _ROW):
        row[:4] ^= np.frombuffer(register.to_bytes(4, "little"), np.uint8)
        register = int(np.bitwise_xor.reduce(table[places + row]))
    return register


@functools.cache
def _table():
    """Return what each byte adds to the register from each place of a row, and where each place begins in it."""
    single = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        single = (single >> 1) ^ np.where(single & 1, np.uint32(POLYNOMIAL), np.uint32(0))
    table = np.empty((_ROW, 256), np.uint32)
    table[-1] = single
    for place in range(_ROW - 2, -1, -1):
        behind = table[place + 1]
        table[place] = (behind >> 8) ^ single[behind & 255]
    return table.ravel(), np.arange(_ROW) * 256
