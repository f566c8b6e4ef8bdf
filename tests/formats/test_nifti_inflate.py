"""gzip streams are read alike by both decoders: the fast one, and the one that is always there."""

import gzip
import zlib

import numpy as np
import pytest

from mcc_keras.formats import nifti

isal_zlib = pytest.importorskip("isal.isal_zlib", reason="no wheel of isal for this machine")
DECODERS = zlib, isal_zlib


def mutants(data, *, count):
    rng = np.random.default_rng(5)
    for index in range(count):
        changed = bytearray(data)
        position = int(rng.integers(len(data)))
        match index % 6:
            case 0:
                changed[position] ^= 1 << int(rng.integers(8))
            case 1:
                del changed[position:]
            case 2:
                changed += rng.bytes(int(rng.integers(1, 20)))
            case 3:
                changed += bytes(int(rng.integers(30))) + data[: len(data) * int(rng.integers(2))]
            case 4:  # checksum and length
                changed[-int(rng.integers(1, 9))] ^= 1 << int(rng.integers(8))
            case 5:  # the header of ten bytes
                changed[int(rng.integers(10))] = int(rng.integers(256))
        yield bytes(changed)


def inflated(data, decoder, monkeypatch):
    monkeypatch.setattr(nifti, "inflater", decoder)
    try:
        return b"".join(nifti.inflate(data, 5000))
    except (zlib.error, EOFError):
        return None


def test_both_decoders_accept_and_refuse_the_same_streams(monkeypatch):
    voxels = np.random.default_rng(0).normal(0, 20, 60_000).astype(np.int16).tobytes()
    whole = gzip.compress(voxels, 6, mtime=0)
    accepted = 0
    for data in mutants(whole, count=600):
        one, other = (inflated(data, decoder, monkeypatch) for decoder in DECODERS)
        assert one == other
        accepted += one is not None
    assert 100 < accepted < 300


@pytest.mark.parametrize("flags", range(256))
def test_both_decoders_take_the_same_headers(monkeypatch, flags):
    head = bytes([31, 139, 8, flags, 0, 0, 0, 0, 0, 255])
    optional = [b"\2\0ab" if flags & 4 else b"", b"name\0" if flags & 8 else b"", b"note\0" if flags & 16 else b""]
    body, data = gzip.compress(b"voxels" * 99, mtime=0)[10:], head + b"".join(optional)
    checksum = (zlib.crc32(data) & 0xFFFF).to_bytes(2, "little") if flags & 2 else b""
    for stored in (checksum, bytes(byte ^ 4 for byte in checksum)):
        one, other = (inflated(data + stored + body, decoder, monkeypatch) for decoder in DECODERS)
        expected = flags < 32 and stored == checksum
        assert one == other == (b"voxels" * 99 if expected else None)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("position", [-1, -4, -5, -8])  # length, then checksum
def test_a_wrong_checksum_or_length_is_refused(monkeypatch, decoder, position):
    data = bytearray(gzip.compress(bytes(range(256)) * 50, mtime=0))
    data[position] ^= 1
    monkeypatch.setattr(nifti, "inflater", decoder)
    with pytest.raises(zlib.error):
        list(nifti.inflate(bytes(data), 1 << 20))
