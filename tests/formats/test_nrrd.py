"""Headers of NRRD in all the ways that writers have, read as ITK reads them."""

import gzip

import numpy as np
import pytest
import SimpleITK as sitk

from mcc_keras.errors import GeometryError, VolumeError
from mcc_keras.formats.nrrd import encode_nrrd
from mcc_keras.volumes import read_volume

VOXELS = np.random.default_rng(0).integers(-100, 100, (5, 4, 3)).astype(np.int16)
PLAIN = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "5 4 3",
    "space directions": "(0.3,0.4,0) (-0.4,0.3,0) (0,0,2.5)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(-10.5,20,30)",
}


def write(path, data=None, **changes):
    changes = {name.replace("_", " "): value for name, value in changes.items()}
    fields = {name: value for name, value in {**PLAIN, **changes}.items() if value is not None}
    text = "NRRD0005\n# a comment: with a colon\n" + "".join(f"{name}: {value}\n" for name, value in fields.items())
    text += "my key:=my: value\n\n"
    path.write_bytes(text.encode() + (VOXELS.tobytes(order="F") if data is None else data))
    return path


def itk_affine(image):
    corners = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    points = np.array([image.TransformIndexToPhysicalPoint(corner) for corner in corners]) * (-1, -1, 1)
    return np.vstack([np.column_stack([*(points[1:] - points[0]), points[0]]), [0, 0, 0, 1]])


def agrees_with_itk(path, *, channels=1):
    volume, image = read_volume(path, channels=channels), sitk.ReadImage(str(path))
    expected = sitk.GetArrayFromImage(image)
    axes = (2, 1, 0) if channels == 1 else (2, 1, 0, 3)
    np.testing.assert_array_equal(volume.array, expected.transpose(axes))
    np.testing.assert_allclose(volume.affine, itk_affine(image), atol=1e-9)
    return volume


NO_SPACE = {"space": None, "space_directions": None, "space_origin": None}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"space": "right-anterior-superior"},
        {"space": "left-anterior-superior"},
        {"space": "RAS"},
        {"space": "LPS"},
        {"space": "LAS"},
        {"space": "scanner-xyz"},
        {"space": "3D-right-handed"},
        {"space_origin": None},
        {"space_directions": "(0,0.5,0) (-2,0,0) (0,0,-2.5)"},
        {"kinds": None},
        {"kinds": "space space space", "space_units": '"mm" "mm" "mm"', "content": "a scan"},
        {**NO_SPACE, "spacings": "0.5 0.75 3"},
        {**NO_SPACE},
        {"type": "int16"},
        {"type": "signed short"},
        {"type": "unsigned short"},
        {"type": "uint16_t"},
        {"thicknesses": "nan nan 2.5", "measurement_frame": "(1,0,0) (0,1,0) (0,0,1)"},
    ],
    ids=str,
)
def test_a_header_is_read_as_itk_reads_it(tmp_path, changes):
    agrees_with_itk(write(tmp_path / "a.nrrd", **changes))


def test_the_order_of_bytes_is_that_of_the_header(tmp_path):
    volume = agrees_with_itk(write(tmp_path / "a.nrrd", VOXELS.astype(">i2").tobytes(order="F"), endian="big"))
    np.testing.assert_array_equal(volume.array, VOXELS)
    with pytest.raises(VolumeError, match="endian little or big"):
        read_volume(write(tmp_path / "a.nrrd", endian=None))


@pytest.mark.parametrize("encoding", ["ascii", "text", "txt"])
def test_voxels_may_be_written_as_words(tmp_path, encoding):
    data = " ".join(str(value) for value in VOXELS.ravel(order="F")).encode()
    path = write(tmp_path / "a.nrrd", data, encoding=encoding, endian=None)
    np.testing.assert_array_equal(agrees_with_itk(path).array, VOXELS)


@pytest.mark.parametrize("encoding", ["gz", "gzip"])
def test_compressed_voxels_are_read(tmp_path, encoding):
    agrees_with_itk(write(tmp_path / "a.nrrd", gzip.compress(VOXELS.tobytes(order="F")), encoding=encoding))


@pytest.mark.parametrize("skip, before", [("7", 7), ("-1", 11)])
def test_bytes_before_the_voxels_are_skipped(tmp_path, skip, before):
    data = bytes(before) + VOXELS.tobytes(order="F")
    np.testing.assert_array_equal(agrees_with_itk(write(tmp_path / "a.nrrd", data, byte_skip=skip)).array, VOXELS)


@pytest.mark.parametrize("kind", ["vector", "2-vector", "list"])
def test_channels_that_run_fastest_are_those_of_itk(tmp_path, kind):
    changes = {
        "dimension": "4",
        "sizes": "2 5 4 3",
        "kinds": f"{kind} domain domain domain",
        "space_directions": f"none {PLAIN['space directions']}",
    }
    data = np.arange(120, dtype=np.int16).tobytes()
    agrees_with_itk(write(tmp_path / "a.nrrd", data, **changes), channels=2)


def test_channels_that_run_slowest_come_last(tmp_path):
    changes = {
        "dimension": "4",
        "sizes": "5 4 3 2",
        "kinds": "domain domain domain list",
        "space_directions": f"{PLAIN['space directions']} none",
    }
    data = np.arange(120, dtype=np.int16)
    agrees_with_itk(write(tmp_path / "a.nrrd", data.tobytes(), **changes), channels=2)


def test_a_data_file_beside_the_header_is_read(tmp_path):
    (tmp_path / "ü 1.raw").write_bytes(VOXELS.tobytes(order="F"))
    agrees_with_itk(write(tmp_path / "a.nrrd", b"", data_file="ü 1.raw"))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"dimension": "83"}, "as many sizes as dimension: 83"),
        ({"sizes": "5 4 -3"}, "at least one voxel"),
        ({"type": "block"}, "integer or real voxels"),
        ({"encoding": "hex"}, "raw, gzip or text"),
        ({"encoding": "bzip2"}, "raw, gzip or text"),
        ({"encoding": "gzip", "byte_skip": "4"}, "nothing to skip"),
        ({"line_skip": "2"}, "nothing to skip"),
        ({"space_directions": "(1,0,0) (0,1,0)"}, "3 space directions, found 2"),
        ({"space_directions": "(1,0) (0,1,0) (0,0,1)"}, "3 numbers in space directions"),
        ({"space_origin": "(a,b,c)"}, "3 numbers in space origin"),
        ({"space_directions": "none none (0,0,1)"}, "at most one axis of channels"),
        ({**NO_SPACE, "spacings": "1 1"}, "3 numbers in spacings"),
    ],
    ids=str,
)
def test_an_invalid_header_is_refused_with_the_field(tmp_path, changes, message):
    with pytest.raises(VolumeError, match=message):
        read_volume(write(tmp_path / "a.nrrd", **changes))


def test_a_field_that_is_there_twice_is_refused(tmp_path):
    path = write(tmp_path / "a.nrrd")
    path.write_bytes(path.read_bytes().replace(b"kinds", b"sizes: 3 4 5\nkinds"))
    with pytest.raises(VolumeError, match="expected sizes once"):
        read_volume(path)


@pytest.mark.parametrize("vector", ["(0,0,0)", "(nan,0,0)", "(inf,0,0)", "(0,1,0)"])
def test_directions_that_lead_nowhere_are_refused(tmp_path, vector):
    with pytest.raises(GeometryError):
        read_volume(write(tmp_path / "a.nrrd", space_directions=f"{vector} (0,1,0) (0,0,1)"))


def test_what_is_encoded_is_read_by_itk(tmp_path):
    affine = np.array([[0.3, -0.4, 0, 5], [0.4, 0.3, 0, -6], [0, 0, -2.5, 7], [0, 0, 0, 1]])
    mask = np.random.default_rng(1).integers(0, 300, (5, 4, 3)).astype(np.uint16)
    (tmp_path / "a.nrrd").write_bytes(encode_nrrd(mask, affine))
    np.testing.assert_array_equal(agrees_with_itk(tmp_path / "a.nrrd").array, mask)
    np.testing.assert_allclose(itk_affine(sitk.ReadImage(str(tmp_path / "a.nrrd"))), affine, atol=1e-12)


@pytest.mark.parametrize(
    "changes",
    [
        {"spacings": "0.5 0.75 3", "axis_mins": "1 2 3"},
        {"spacings": "0.5 0.75 3", "axis_mins": "1 2 3", "centers": "cell cell cell"},
        {"spacings": "0.5 0.75 3", "axis_mins": "1 2 3", "centerings": "node node node"},
        {"spacings": "0.5 0.75 3", "axis_maxs": "1 2 3"},
        {"axis_mins": "1 2 3"},
    ],
    ids=str,
)
def test_the_lower_ends_of_axes_place_the_first_voxel_as_in_itk(tmp_path, changes):
    agrees_with_itk(write(tmp_path / "a.nrrd", **NO_SPACE, **changes))


@pytest.mark.parametrize(
    "centers, steps, first", [("cell", (0.8, 2, 4), (1.4, 3, 5)), ("node", (1, 8 / 3, 6), (1, 2, 3))]
)
def test_both_ends_of_an_axis_give_the_step_between_voxels(tmp_path, centers, steps, first):
    ends = {"axis_mins": "1 2 3", "axis_maxs": "5 10 15", "centers": " ".join([centers] * 3)}
    volume = read_volume(write(tmp_path / "a.nrrd", **NO_SPACE, **ends))
    assert volume.spacing_mm == pytest.approx(steps)
    np.testing.assert_allclose(volume.affine[:3, 3], np.array(first) * (-1, -1, 1))


@pytest.mark.parametrize(
    "unit, mm", [("um", 0.001), ("m", 1000), ("cm", 10), ("mm", 1), ("microns", 0.001), ("Millimeter", 1), ("", 1)]
)
def test_units_of_length_become_millimetres(tmp_path, unit, mm):
    units = f'"{unit}" "{unit}" "{unit}"'
    plain = read_volume(write(tmp_path / "a.nrrd")).affine
    volume = read_volume(write(tmp_path / "a.nrrd", space_units=units))
    np.testing.assert_allclose(volume.affine, np.diag([mm, mm, mm, 1]) @ plain)
    changes = {**NO_SPACE, "spacings": "0.5 0.75 3", "axis_mins": "1 2 3", "centers": "node node node", "units": units}
    volume = read_volume(write(tmp_path / "a.nrrd", **changes))
    np.testing.assert_allclose(
        volume.affine[:3], np.diag([-mm, -mm, mm]) @ np.array([[0.5, 0, 0, 1], [0, 0.75, 0, 2], [0, 0, 3, 3]])
    )


def test_an_unknown_unit_counts_as_millimetres_with_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="expected a unit of length .* found 'furlong'"):
        volume = read_volume(write(tmp_path / "a.nrrd", space_units='"furlong" "mm" "mm"'))
    assert volume.spacing_mm == pytest.approx((0.5, 0.5, 2.5))
    with pytest.raises(VolumeError, match="3 units in space units, found 2"):
        read_volume(write(tmp_path / "a.nrrd", space_units='"mm" "mm"'))


def test_a_header_of_many_segments_is_read(tmp_path):
    path = write(tmp_path / "a.seg.nrrd")
    tags = "Tags:=" + "Segmentation category and type~SCT^123037004^Anatomical Structure~" * 7
    lines = "".join(f"Segment{index}_{tags}\n" for index in range(3000))
    path.write_bytes(path.read_bytes().replace(b"my key", lines.encode() + b"my key"))
    assert path.stat().st_size > 1 << 20
    np.testing.assert_array_equal(agrees_with_itk(path).array, VOXELS)


@pytest.mark.parametrize("length", range((1 << 16) - 2, (1 << 16) + 3))
def test_a_header_that_ends_where_the_first_read_does_is_whole(tmp_path, length):
    path = write(tmp_path / "a.nrrd")
    head, body = path.read_bytes().split(b"\n\n", 1)
    path.write_bytes(head + b"\n#".ljust(length - len(head) - 4, b"x") + b"\r\n\r\n" + body)
    np.testing.assert_array_equal(read_volume(path).array, VOXELS)
