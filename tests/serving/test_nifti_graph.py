"""A NIfTI file read in the graph is what `read_volume` reads: every kind of file, hostile ones, and real ones."""

import functools
import gzip
import importlib.util
import itertools
import os
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tensorflow as tf
from nifti_files import AXES, patch, save, voxels

from mcc_keras.errors import DataError
from mcc_keras.serving.nifti_graph import NiftiReader
from mcc_keras.volumes import read_volume

TYPES = ("uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
OBLIQUE = np.array([[0, -0.9, 1.2, 10], [1.2, 0, 0, -20], [0, 0.4, 2.7, 5], [0, 0, 0, 1.0]])
SMALL = 1 << 20  # voxels that a hostile file may have
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # what `read_volume` warns of, a graph cannot


@functools.cache
def reader(affine=None, nonfinite="error", max_voxels=1 << 30):
    return NiftiReader(affine=affine, nonfinite=nonfinite, max_voxels=max_voxels)


def read_both(path, *, channels=1, **options):
    """Return the `GraphVolume` of a file, and the `Volume` or the error of `read_volume`."""
    found = reader(**options).read(tf.constant(path.read_bytes()), tf.constant(channels, tf.int64))
    try:
        return found, read_volume(path, channels=channels, **options)
    except DataError as error:
        return found, error


def assert_same(found, expected, *, channels=1):
    assert found.problem.numpy() == b""
    array = expected.array.astype(np.float32)
    np.testing.assert_array_equal(found.image(channels), array.reshape(*array.shape[:3], channels))
    affine = expected.affine.astype(np.float32)
    # nibabel computes the rotation of a quaternion in long double, a graph in double: an axis of 0 is 1e-17 there.
    np.testing.assert_allclose(found.affine.numpy().astype(np.float32), affine, rtol=2e-7, atol=1e-9)


def assert_refused(found, error, words):
    assert isinstance(error, DataError), error
    assert words in found.problem.numpy().decode()


# Several files a test: the seeds that are set before each one make TensorFlow prepare its functions again.


@pytest.mark.parametrize("name", TYPES)
def test_every_type_order_and_version_is_read_to_the_last_bit(tmp_path, name):
    dtype, rng = np.dtype(name), np.random.default_rng(3)
    if dtype.kind == "f":
        array = rng.normal(0, 1e6, (5, 4, 3)).astype(dtype)
    else:
        ends = np.iinfo(dtype)
        array = rng.integers(ends.min, ends.max, (5, 4, 3), dtype=dtype, endpoint=True)
    kinds = (nib.Nifti1Header, nib.Nifti2Header)
    for order, kind, scaling in itertools.product("<>", kinds, ((1, 0), (0.0123, -1024.5))):
        path = write(tmp_path / "a.nii", array.astype(dtype.newbyteorder(order)), kind(endianness=order), scaling)
        assert_same(*read_both(path))


def write(path, array, header, scaling):
    """Write a file with the array's bytes as they are."""
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header.set_slope_inter(*scaling)
    header.set_sform(OBLIQUE, 1)
    header.set_qform(OBLIQUE, 1)
    header["vox_offset"] = int(header["sizeof_hdr"]) + 4
    path.write_bytes(header.binaryblock + bytes(4) + array.tobytes(order="F"))
    return path


def test_a_scan_of_one_channel_may_have_axes_of_one(tmp_path):
    for shape in ((5, 4, 3), (5, 4, 3, 1), (5, 4, 3, 1, 1), (1, 1, 1), (5, 4, 1)):
        assert_same(*read_both(save(tmp_path / "a.nii.gz", voxels(shape))))


def test_channels_are_the_fourth_axis_or_the_fifth(tmp_path):
    for shape in ((5, 4, 3, 2), (5, 4, 3, 1, 2), (5, 4, 3, 2, 1)):
        assert_same(*read_both(save(tmp_path / "a.nii", voxels(shape)), channels=2), channels=2)


def test_another_shape_is_refused(tmp_path):
    for channels, shape in ((1, (5, 4)), (1, (5, 4, 3, 2)), (2, (5, 4, 3)), (2, (5, 4, 3, 3)), (2, (5, 4, 3, 2, 2))):
        path = save(tmp_path / "a.nii", voxels(shape))
        assert_refused(*read_both(path, channels=channels), "expected a volume (x, y, z)")


def forms(name):
    """Return keywords of `save` for a header with both forms, one, or none, and units."""
    angle = np.pi - 1e-5
    turn = np.eye(4)
    turn[:2, :2] = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * 0.5
    return {
        "both": {},
        "oblique": {"affine": OBLIQUE, "qform": 0},
        "sform": {"qform": 0},
        "qform": {"sform": 0},
        "none": {"sform": 0, "qform": 0},
        "near half a turn": {"affine": turn},
        "metres": {"xyzt_units": 1},
        "micrometres": {"xyzt_units": 11},
        "apart by rounding": {"qoffset_x": 0.05},
        "apart": {"qoffset_x": 2.0},
        "sheared": {"affine": np.array([[1, 0.4, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])},
    }[name]


NAMES = ("both", "oblique", "sform", "qform", "none", "near half a turn", "metres", "micrometres", "apart by rounding")
NAMES += ("apart", "sheared")


@pytest.mark.parametrize("which", [None, "sform", "qform"])
def test_the_affine_follows_the_rule_of_the_two_forms(tmp_path, which):
    for name in NAMES:
        options = forms(name)
        path = save(tmp_path / "a.nii", voxels(), options.pop("affine", AXES), **options)
        found, expected = read_both(path, affine=which)
        if isinstance(expected, DataError):
            assert found.problem.numpy().startswith(b"expected sform and qform to agree, found corners"), name
        else:
            assert_same(found, expected)
        assert isinstance(expected, DataError) == (which is None and name in ("apart", "sheared")), name


PATCHED = {
    "handedness 0": {"pixdim": [0, 0.5, 0.75, 3, 1, 1, 1, 1]},
    "handedness -3": {"pixdim": [-3, 0.5, 0.75, 3, 1, 1, 1, 1]},
    "negative step, sform": {"pixdim": [-1, 0.5, -0.75, 3, 1, 1, 1, 1]},
    "NaN step, sform": {"pixdim": [-1, 0.5, np.nan, 3, 1, 1, 1, 1]},
    "negative step": {"pixdim": [-1, 0.5, -0.75, 3, 1, 1, 1, 1], "sform_code": 0},
    "no quaternion": {"quatern_b": 3.0, "sform_code": 0},
    "no quaternion, sform": {"quatern_b": 3.0},
    "NaN quaternion": {"quatern_c": np.nan, "sform_code": 0},
    "singular": {"srow_x": [0, 0, 0, 0]},
    "dependent axes": {"srow_x": [0, 1, 0, 0], "srow_y": [0, 1, 0, 0], "qform_code": 0},
    "infinite": {"srow_x": [np.inf, 0, 0, 0]},
    "huge spacing": {"srow_x": [1e7, 0, 0, 0], "qform_code": 0},
    "bitpix 0": {"bitpix": 0},
    "bitpix 8": {"bitpix": 8},
    "complex": {"datatype": 32, "bitpix": 64},
    "magic of a pair": {"magic": b"ni1"},
    "no magic": {"magic": b"abc"},
    "voxels in the header": {"vox_offset": 0},
    "voxels at a half": {"vox_offset": 352.5},
    "voxels at NaN": {"vox_offset": np.nan},
    "voxels far away": {"vox_offset": 1e30},
    "slope 0": {"scl_slope": 0, "scl_inter": 7},
    "slope NaN": {"scl_slope": np.nan, "scl_inter": 7},
    "slope infinite": {"scl_slope": np.inf},
    "intercept NaN": {"scl_slope": 2, "scl_inter": np.nan},
    "scaled": {"scl_slope": 2.5, "scl_inter": -3},
    "scaled by nearly nothing": {"scl_slope": 2e-38, "scl_inter": -3},
    "rank 0": {"dim": [0, 5, 4, 3, 1, 1, 1, 1]},
    "rank 8": {"dim": [8, 5, 4, 3, 1, 1, 1, 1]},
    "empty": {"dim": [3, 5, 0, 3, 1, 1, 1, 1]},
    "negative": {"dim": [3, 5, -4, 3, 1, 1, 1, 1]},
    "longer than the file": {"dim": [3, 5, 4, 4, 1, 1, 1, 1]},
    "of 4 GiB": {"dim": [3, 32767, 32767, 2, 1, 1, 1, 1]},
    "of 2 ^ 105 voxels": {"dim": [7, 32767, 32767, 32767, 32767, 32767, 32767, 32767]},
}


@pytest.mark.parametrize("packed", [False, True])
def test_an_odd_header_is_read_or_refused_as_read_volume_does(tmp_path, packed):
    for name, fields in PATCHED.items():
        path = patch(save(tmp_path / "a.nii", voxels()), **fields)
        if packed:
            path.write_bytes(gzip.compress(path.read_bytes()))
        found, expected = read_both(path)
        if isinstance(expected, DataError):
            assert found.problem.numpy().startswith(b"expected "), name
        else:
            assert_same(found, expected)


def test_voxels_that_are_not_finite_are_refused_or_zero_as_chosen(tmp_path):
    for dtype in (np.float32, np.float64):
        array = voxels(dtype=dtype)
        array[1, 2, 0], array[0, 0, 1], array[2, 2, 2], array[3, 3, 2] = np.nan, np.inf, -np.inf, 1e-39
        path = save(tmp_path / "a.nii", array)
        assert_refused(*read_both(path), "expected finite voxels, found 3 NaN or infinite")
        assert_same(*read_both(path, nonfinite="zero"))


def test_voxels_that_a_graph_flushes_are_zero_in_both(tmp_path):
    smallest = float(np.finfo(np.float32).tiny)
    values = np.array([smallest, -smallest, smallest / 2, -smallest / 2, 1e-45, 0.0, -0.0, -1.0])
    for dtype in (np.float32, np.float64):
        assert_same(*read_both(save(tmp_path / "a.nii", values.reshape(2, 2, 2).astype(dtype))))


def test_values_beyond_float32_are_refused(tmp_path):
    found, _ = read_both(save(tmp_path / "a.nii", np.full((2, 2, 2), 1e300)))
    assert found.problem.numpy() == b"expected values that float32 can hold, found larger ones"


# ---- gzip -----------------------------------------------------------------------------------------------------------


def test_a_stream_that_is_cut_anywhere_is_refused(tmp_path):
    whole = save(tmp_path / "a.nii.gz", voxels()).read_bytes()
    for size in (*range(30), *range(30, len(whole) - 20, 17), *range(len(whole) - 20, len(whole))):
        (tmp_path / "a.nii.gz").write_bytes(whole[:size])
        found, expected = read_both(tmp_path / "a.nii.gz")
        assert isinstance(expected, DataError) and found.problem.numpy(), size


def test_a_stream_with_a_wrong_byte_is_refused(tmp_path):
    whole = save(tmp_path / "a.nii.gz", voxels()).read_bytes()
    for place in (-1, -5, 3, 100):
        data = bytearray(whole)
        data[place] ^= 0xFF
        (tmp_path / "a.nii.gz").write_bytes(data)
        found, expected = read_both(tmp_path / "a.nii.gz")
        assert isinstance(expected, DataError) and found.problem.numpy(), place


def test_a_header_behind_the_first_piece_of_a_large_file_is_found(tmp_path):
    noise = np.random.default_rng(0).integers(-30000, 30000, (64, 64, 40)).astype(np.int16)
    path = save(tmp_path / "a.nii.gz", noise)
    assert path.stat().st_size > 1 << 17
    assert_same(*read_both(path))


# What `read_volume` reads and a graph refuses, as the module says.
DIFFERENT = {
    "several members": lambda data: gzip.compress(data[:400]) + gzip.compress(data[400:]),
    "zeros behind the end": lambda data: gzip.compress(data) + bytes(512),
    "bytes behind the voxels": lambda data: gzip.compress(data + b"more"),
}


def test_what_is_listed_as_different_is_refused_with_words(tmp_path):
    for name, change in DIFFERENT.items():
        path = save(tmp_path / "a.nii", voxels())
        path.write_bytes(change(path.read_bytes()))
        found, expected = read_both(path)
        assert not isinstance(expected, DataError)
        assert b"gzip stream" in found.problem.numpy(), name


def test_bytes_behind_the_voxels_of_a_plain_file_are_ignored(tmp_path):
    path = save(tmp_path / "a.nii", voxels())
    path.write_bytes(path.read_bytes() + b"more")
    assert_same(*read_both(path))


def test_a_bomb_is_refused_before_it_is_inflated(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape((2, 2, 2))
    header["vox_offset"], header["magic"], header["sform_code"] = 352, b"n+1", 0
    data = gzip.compress(header.binaryblock + bytes(4) + bytes(64 << 20))
    found = reader().read(tf.constant(data), tf.constant(1, tf.int64))
    assert found.problem.numpy().startswith(b"expected a gzip stream of 384 bytes, found 67109216 at its end")
    claims = data[:-4] + (384).to_bytes(4, "little")  # its end lies
    found = reader().read(tf.constant(claims), tf.constant(1, tf.int64))
    assert found.problem.numpy().startswith(b"expected one whole gzip stream")


# ---- hostile and real files -----------------------------------------------------------------------------------------


@functools.cache
def hostile():
    path = Path(__file__).parents[1] / "faults" / "test_hostile_volumes.py"
    specification = importlib.util.spec_from_file_location("hostile_volumes", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", ["nii", "nii.gz", "nii.gz stream"])
def test_a_mutant_is_read_as_read_volume_reads_it_or_refused(tmp_path, kind):
    read, whole = 0, hostile().seeds(kind, tmp_path)
    for index in range(300 if kind == "nii" else 100):
        name, data = whole[index % len(whole)]
        path = tmp_path / name
        path.write_bytes(hostile().packed(kind, data, index))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found, expected = read_both(path, nonfinite="zero", max_voxels=SMALL)
        if isinstance(expected, DataError):
            assert found.problem.numpy(), f"mutant {index} is read, which {expected}"
        elif not found.problem.numpy():
            assert_same(found, expected)
            read += 1
        else:
            assert any(words in found.problem.numpy() for words in (b"gzip stream", b"found a tiny one")), index
    # A damaged gzip stream is read only where the damage is in a field that nobody uses.
    assert read >= {"nii": 60, "nii.gz": 3, "nii.gz stream": 1}[kind]


def test_random_bytes_are_refused():
    rng = np.random.default_rng(0)
    for size in (0, 1, 2, 3, 4, 17, 347, 348, 352, 5000):
        for start in (b"", b"\x1f\x8b", b"\x1f\x8b\x08\x00", (348).to_bytes(4, "little")):
            data = (start + rng.bytes(size))[:size]
            assert reader().read(tf.constant(data), tf.constant(1, tf.int64)).problem.numpy(), data[:8]


def test_real_files_are_read_as_read_volume_reads_them():
    folder = os.environ.get("MCC_KERAS_DATA")
    if not folder:
        pytest.skip("MCC_KERAS_DATA names no folder of real scans")
    paths = sorted(path for end in ("*.nii", "*.nii.gz") for path in Path(folder).rglob(end))
    assert paths
    for path in paths:
        shape = nib.load(path).shape
        channels = shape[3] if len(shape) > 3 else 1
        found, expected = read_both(path, channels=channels)
        if not isinstance(expected, DataError):
            assert_same(found, expected, channels=channels)
