"""DICOM SEG beside the NIfTI mask of the same array, over all orientations of a series.

MCC_KERAS_DCMQI names `segimage2itkimage` of PyPI's dcmqi, which runs in an environment of its own. GDCM is no reader to
test by: it decodes one-bit pixels wrongly.
"""

import itertools
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from mcc_keras.datasets.dicom_slices import write_slices
from mcc_keras.errors import EnvironmentFailure, OutputExistsError, UsageError, VolumeError
from mcc_keras.formats.dicom_seg import Code, Segment
from mcc_keras.volumes import Volume, read_volume, write_mask

highdicom = pytest.importorskip("highdicom", reason="the extra dicom is not installed")
pydicom = pytest.importorskip("pydicom")

DCMQI = os.environ.get("MCC_KERAS_DCMQI")
SHAPE = (7, 5, 4)
SEGMENTS = (Segment(2, "Leber", type=Code("10200004", "SCT", "Liver")), Segment(5, "cyst", type=Code("1", "99X", "C")))
AXES = list(itertools.permutations(range(3)))
SIGNS = list(itertools.product((1, -1), repeat=3))
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
COS, SIN = np.cos(0.3), np.sin(0.3)
OBLIQUE = np.array([[COS, -SIN, 0], [SIN, COS, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, SIN, COS], [0, -COS, SIN]])


def grid(axes, signs, *, turn=None):
    """Return an affine whose columns run along the given axes of the patient, or turned ones."""
    affine = np.eye(4)
    affine[:3, :3] = (
        (np.eye(3) if turn is None else turn) @ np.eye(3)[:, axes] @ np.diag(signs) @ np.diag([0.75, 0.5, 3.0])
    )
    affine[:3, 3] = -11.5, 20.25, 30
    return affine


GRIDS = {f"{axes}{signs}": grid(axes, signs) for axes in AXES for signs in SIGNS}
GRIDS |= {f"oblique {signs}": grid((2, 0, 1), signs, turn=OBLIQUE) for signs in SIGNS}
assert len({grid.tobytes() for grid in GRIDS.values()}) == 56


def random_mask(seed=0):
    mask = np.random.default_rng(seed).choice([0, 2, 5], SHAPE)
    mask[:, :, 1] = 0  # a slice without any
    return mask


def write_both(folder, affine, *, mask=None, segments=SEGMENTS):
    """Write a series, and one mask of it as NIfTI and as DICOM SEG."""
    voxels = np.random.default_rng(1).integers(0, 900, SHAPE).astype(np.int16)
    write_slices(voxels, folder / "scan", affine=affine, number=7)
    volume = read_volume(folder / "scan")
    mask = random_mask() if mask is None else mask
    write_mask(mask, folder / "mask.nii.gz", like=volume)
    return write_mask(mask, folder / "mask.dcm", like=volume, segments=segments)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return a function that writes a series of an orientation and its masks, once."""
    root, made = tmp_path_factory.mktemp("seg"), {}

    def write(name):
        if name not in made:
            made[name] = root / str(len(made))
            write_both(made[name], GRIDS[name])
        return made[name]

    return write


def nifti_at(folder, places):
    """Return the labels of the NIfTI mask at places (n, 3) in DICOM's millimetres, which must be centers of voxels."""
    image = nib.load(folder / "mask.nii.gz")
    to_voxel = np.linalg.inv(TO_LPS @ image.affine)
    voxels = places @ to_voxel[:3, :3].T + to_voxel[:3, 3]
    assert np.abs(voxels - np.rint(voxels)).max() < 1e-3
    return np.asarray(image.dataobj)[tuple(np.rint(voxels).astype(int).T)]


def places_of(shape, affine):
    return np.indices(shape).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]


def numbers_to_labels(numbers):
    return np.array([0, *(segment.label for segment in SEGMENTS)])[numbers]


@pytest.mark.parametrize("name", GRIDS)
def test_each_frame_holds_the_nifti_mask_at_the_place_of_its_source_slice(written, name):
    folder = written(name)
    found = highdicom.seg.segread(folder / "mask.dcm")
    seen = 0
    for path in (folder / "scan").iterdir():
        source = pydicom.dcmread(path)
        row, column = np.reshape(source.ImageOrientationPatient, (2, 3)).astype(float)
        between_rows, between_columns = map(float, source.PixelSpacing)
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1] = column * between_rows, row * between_columns
        affine[:3, 3] = source.ImagePositionPatient
        frame = found.get_pixels_by_source_instance([source.SOPInstanceUID], combine_segments=True)[0]
        expected = nifti_at(folder, places_of((*frame.shape, 1), affine))
        np.testing.assert_array_equal(numbers_to_labels(frame).ravel(), expected)
        seen += np.count_nonzero(frame)
    assert seen == np.count_nonzero(random_mask())


@pytest.mark.parametrize("name", GRIDS)
def test_the_volume_that_highdicom_reads_is_the_nifti_mask(written, name):
    folder = written(name)
    volume = highdicom.seg.segread(folder / "mask.dcm").get_volume(combine_segments=True)
    expected = nifti_at(folder, places_of(volume.spatial_shape, volume.affine))
    np.testing.assert_array_equal(numbers_to_labels(volume.array).ravel(), expected)
    assert volume.array.size == np.prod(SHAPE)


@pytest.mark.skipif(not DCMQI, reason="MCC_KERAS_DCMQI names no segimage2itkimage")
@pytest.mark.parametrize("name", GRIDS)
def test_dcmqi_reads_the_nifti_mask(written, name, tmp_path):
    folder = written(name)
    command = [DCMQI, "--inputDICOM", folder / "mask.dcm", "--outputDirectory", tmp_path, "-t", "nii"]
    subprocess.run(command, check=True, capture_output=True)
    for number, segment in enumerate(SEGMENTS, start=1):
        image = nib.load(tmp_path / f"{number}.nii.gz")
        expected = nifti_at(folder, places_of(image.shape, TO_LPS @ image.affine)) == segment.label
        np.testing.assert_array_equal(np.asarray(image.dataobj).ravel() > 0, expected)
        assert expected.sum() == (random_mask() == segment.label).sum()


def test_it_refers_to_its_series_and_keeps_frames_without_voxels(written):
    folder = written(next(iter(GRIDS)))
    sources = {pydicom.dcmread(path).SOPInstanceUID for path in (folder / "scan").iterdir()}
    source = pydicom.dcmread(next((folder / "scan").iterdir()))
    found = highdicom.seg.segread(folder / "mask.dcm")
    series = found.ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == source.SeriesInstanceUID != found.SeriesInstanceUID
    assert {each.ReferencedSOPInstanceUID for each in series.ReferencedInstanceSequence} == sources
    for name in ("StudyInstanceUID", "PatientID", "PatientName", "FrameOfReferenceUID"):
        assert found.get(name) == source.get(name)
    assert found.NumberOfFrames == len(SEGMENTS) * SHAPE[2]
    named = [
        (each.SegmentLabel, each.SegmentedPropertyTypeCodeSequence[0].CodeMeaning) for each in found.SegmentSequence
    ]
    assert named == [("Leber", "Liver"), ("cyst", "C")]


def test_a_gantry_tilt_is_not_straightened(tmp_path):
    affine = grid((0, 1, 2), (1, 1, 1))
    affine[1, 2] = 0.6
    found = highdicom.seg.segread(write_both(tmp_path, affine))
    paths = sorted((tmp_path / "scan").iterdir())
    frames = found.get_pixels_by_source_instance(
        [pydicom.dcmread(path).SOPInstanceUID for path in paths], combine_segments=True
    )
    np.testing.assert_array_equal(numbers_to_labels(frames.T), random_mask())


@pytest.mark.parametrize("labels", [[], [1], [300, 7]])
def test_without_segments_each_label_is_tissue_with_a_warning(tmp_path, labels):
    mask = np.random.default_rng(0).choice([0, *labels], SHAPE)
    with pytest.warns(UserWarning, match=r"No codes for label .*: written as Tissue \(SCT 85756007\)"):
        path = write_both(tmp_path, grid((0, 1, 2), (1, 1, 1)), mask=mask, segments=None)
    found = highdicom.seg.segread(path)
    names = [each.SegmentLabel for each in found.SegmentSequence]
    assert names == [f"label {label}" for label in sorted(labels)] or (names, labels) == (["label 1"], [])
    assert {each.SegmentedPropertyTypeCodeSequence[0].CodeValue for each in found.SegmentSequence} == {"85756007"}
    pixels = found.get_volume(combine_segments=True).array
    assert [np.sum(pixels == index) for index in range(1, len(labels) + 1)] == [
        np.sum(mask == x) for x in sorted(labels)
    ]


def change_sources(folder, change):
    for path in folder.iterdir():
        source = pydicom.dcmread(path)
        change(source)
        source.save_as(path)


@pytest.mark.filterwarnings("ignore:Invalid value:UserWarning")
def test_names_in_another_character_set_stay(tmp_path):
    write_slices(np.zeros(SHAPE, np.int16), tmp_path / "scan", affine=np.eye(4), number=1)

    def change(source):
        source.SpecificCharacterSet, source.PatientName, source.PatientSex = "ISO_IR 100", "Müller^Jürgen", "m"

    change_sources(tmp_path / "scan", change)
    segments = (Segment(2, "Größe\\肝" + "x" * 90, type=SEGMENTS[0].type), SEGMENTS[1])
    write_mask(random_mask(), tmp_path / "mask.dcm", like=read_volume(tmp_path / "scan"), segments=segments)
    found = pydicom.dcmread(tmp_path / "mask.dcm")
    assert str(found.PatientName) == "Müller^Jürgen"
    assert found.SegmentSequence[0].SegmentLabel == "Größe/肝" + "x" * 57


def test_a_series_without_patient_and_study_is_enough_but_each_slice_needs_its_uid(tmp_path):
    write_slices(np.zeros(SHAPE, np.int16), tmp_path / "scan", affine=np.eye(4), number=1)

    def strip(source):
        for name in ("PatientName", "PatientID", "StudyDate", "FrameOfReferenceUID"):
            delattr(source, name)

    change_sources(tmp_path / "scan", strip)
    volume = read_volume(tmp_path / "scan")
    write_mask(random_mask(), tmp_path / "mask.dcm", like=volume, segments=SEGMENTS)
    pixels = highdicom.seg.segread(tmp_path / "mask.dcm").get_volume(combine_segments=True).array
    assert np.count_nonzero(pixels) == np.count_nonzero(random_mask())

    def strip_study(source):
        del source.StudyInstanceUID

    change_sources(tmp_path / "scan", strip_study)
    with pytest.raises(VolumeError, match=r"found none of StudyInstanceUID\. Write a \.nii\.gz mask instead"):
        write_mask(random_mask(), tmp_path / "other.dcm", like=volume, segments=SEGMENTS)
    assert not (tmp_path / "other.dcm").exists()


def test_a_volume_of_no_series_is_refused_with_the_way_out(tmp_path):
    like = Volume(np.zeros(SHAPE), np.eye(4))
    with pytest.raises(UsageError, match=r"refers to the slices of the DICOM series.*Write a \.nii\.gz mask instead"):
        write_mask(random_mask(), tmp_path / "mask.dcm", like=like)
    assert not list(tmp_path.iterdir())


def test_it_is_neither_written_among_its_slices_nor_over_a_file(written, tmp_path):
    folder = written(next(iter(GRIDS)))
    like = read_volume(folder / "scan")
    with pytest.raises(UsageError, match="must not lie among the slices"):
        write_mask(random_mask(), folder / "scan" / "mask.dcm", like=like, segments=SEGMENTS)
    (tmp_path / "mask.dcm").write_text("mine")
    with pytest.raises(OutputExistsError):
        write_mask(random_mask(), tmp_path / "mask.dcm", like=like, segments=SEGMENTS)
    write_mask(random_mask(), tmp_path / "mask.dcm", like=like, segments=SEGMENTS, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mask.dcm"]
    assert highdicom.seg.segread(tmp_path / "mask.dcm").number_of_segments == 2


def test_labels_without_a_segment_are_refused(written, tmp_path):
    like = read_volume(written(next(iter(GRIDS))) / "scan")
    for segments, found in ((SEGMENTS[:1], r"\[5\]"), ((SEGMENTS[0], SEGMENTS[0], SEGMENTS[1]), r"2, 2, 5")):
        with pytest.raises(UsageError, match=rf"name each label of the mask once.*{found}"):
            write_mask(random_mask(), tmp_path / "mask.dcm", like=like, segments=segments)
    assert not list(tmp_path.iterdir())


def test_without_highdicom_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(EnvironmentFailure, match=r"pip install 'mcc_keras\[dicom\]'"):
        write_mask(random_mask(), tmp_path / "mask.dcm", like=Volume(np.zeros(SHAPE), np.eye(4)))
