import gc
import json

import keras
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from mcc_keras.cli import main
from mcc_keras.datasets.dicom_slices import write_slices
from mcc_keras.errors import GeometryError, OutputExistsError, UsageError, VolumeError
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.runs.data import SeenCase
from mcc_keras.runs.run import MODEL
from mcc_keras.segmentation.segment import segment
from mcc_keras.segmentation.segmenter import load_segmenter
from mcc_keras.task import Task
from mcc_keras.volumes import read_volume

# Oblique; axis 0 runs along −y, axis 1 along −x.
COS, SIN = np.cos(0.2), np.sin(0.2)
AFFINE = np.array([[SIN, -1.2 * COS, 0, 4], [-COS, -1.2 * SIN, 0, -7], [0, 0, 2.5, 30], [0, 0, 0, 1]])


@pytest.fixture
def bright_voxels_run(write_run):
    """Return a function that writes a run whose network finds the brighter voxels of the first channel."""

    def write(folder, channels=1, **settings):
        box = Preprocessing(size=(8, 10, 12), clip_percentiles=None, normalize="minmax")
        return write_run(folder, bright_voxels_network(channels), box, **settings).folder

    return write


def bright_voxels_network(channels):
    inputs = keras.Input((None, None, None, channels))
    layer = keras.layers.Conv3D(1, 1, activation="sigmoid")
    model = keras.Model(inputs, layer(inputs))
    kernel = np.zeros((1, 1, 1, channels, 1))
    kernel[..., 0, 0] = 100
    layer.set_weights([kernel, np.array([-50.0])])
    return model


@pytest.fixture
def scan(tmp_path):
    # Axis 0 of the scan runs along y and axis 1 along x, so that the box of 8×10×12 takes it voxel by voxel.
    image = np.zeros((10, 8, 12), np.int16)
    image[2:5, 1:4, 3:9] = 1000
    image[8, 7, 11] = 1000
    nib.save(nib.Nifti1Image(image, AFFINE), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz", image


def test_the_mask_lies_on_the_scan(bright_voxels_run, scan, tmp_path):
    path, image = scan
    segment(bright_voxels_run(tmp_path / "run"), path, tmp_path / "mask.nii.gz")
    mask = nib.load(tmp_path / "mask.nii.gz")
    assert mask.get_data_dtype() == np.uint8
    assert np.allclose(mask.affine, AFFINE, atol=1e-6)
    assert np.array_equal(np.asarray(mask.dataobj), image > 0)


def test_another_program_sees_scan_and_mask_on_one_grid(bright_voxels_run, scan, tmp_path):
    path, _ = scan
    segment(bright_voxels_run(tmp_path / "run"), path, tmp_path / "mask.nii.gz")
    image, mask = sitk.ReadImage(str(path)), sitk.ReadImage(str(tmp_path / "mask.nii.gz"))
    assert np.allclose(image.GetDirection(), mask.GetDirection(), atol=1e-6)
    assert np.allclose(image.GetOrigin(), mask.GetOrigin(), atol=1e-6)
    assert np.array_equal(sitk.GetArrayFromImage(mask), sitk.GetArrayFromImage(image) > 0)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd", ".mhd"])
def test_other_formats_give_the_same_mask(bright_voxels_run, scan, tmp_path, suffix):
    path, image = scan
    sitk.WriteImage(sitk.ReadImage(str(path)), str(tmp_path / f"scan{suffix}"))
    segment(bright_voxels_run(tmp_path / "run"), tmp_path / f"scan{suffix}", tmp_path / "mask.nii.gz")
    mask = nib.load(tmp_path / "mask.nii.gz")
    assert np.array_equal(np.asarray(mask.dataobj), image > 0)
    assert np.allclose(mask.affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd"])
def test_the_mask_comes_in_the_format_of_its_name(bright_voxels_run, scan, tmp_path, suffix):
    path, image = scan
    out = segment(bright_voxels_run(tmp_path / "run"), path, tmp_path / f"mask{suffix}")
    mask, source = sitk.ReadImage(str(out)), sitk.ReadImage(str(path))
    assert mask.GetPixelIDTypeAsString() == "8-bit unsigned integer"
    assert np.array_equal(sitk.GetArrayFromImage(mask).T, image > 0)
    assert np.allclose(mask.GetDirection(), source.GetDirection(), atol=1e-6)
    assert np.allclose(mask.GetOrigin(), source.GetOrigin(), atol=1e-5)


def test_a_folder_of_dicom_files_is_one_scan(bright_voxels_run, scan, tmp_path):
    path, image = scan
    source = sitk.ReadImage(str(path))
    (tmp_path / "dicom").mkdir()
    direction = source.GetDirection()
    for index in range(image.shape[2]):
        plane = sitk.GetImageFromArray(image[:, :, index].T)
        plane.SetSpacing(source.GetSpacing()[:2])
        corner = source.TransformIndexToPhysicalPoint((0, 0, index))
        plane.SetMetaData("0008|0060", "MR")
        plane.SetMetaData("0020|000e", "1.2.3")
        plane.SetMetaData("0020|0032", "\\".join(f"{x:.12g}" for x in corner))
        plane.SetMetaData("0020|0037", "\\".join(f"{x:.12g}" for x in (*direction[0::3], *direction[1::3])))
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(tmp_path / "dicom" / f"{(5 * index) % 12}.dcm"))
        writer.Execute(plane)
    segment(bright_voxels_run(tmp_path / "run"), tmp_path / "dicom", tmp_path / "mask.nii.gz")
    mask = sitk.ReadImage(str(tmp_path / "mask.nii.gz"))
    for index in np.argwhere(image > 0)[::7]:
        place = source.TransformIndexToPhysicalPoint([int(x) for x in index])
        assert mask[mask.TransformPhysicalPointToIndex(place)] == 1
    assert sitk.GetArrayFromImage(mask).sum() == (image > 0).sum()
    assert (
        main(["segment", "--run", str(tmp_path / "run"), str(tmp_path / "dicom"), "-o", str(tmp_path / "mask.nrrd")])
        == 0
    )
    same = sitk.ReadImage(str(tmp_path / "mask.nrrd"))
    assert np.array_equal(sitk.GetArrayFromImage(same), sitk.GetArrayFromImage(mask))


LIVER = {"value": "10200004", "scheme": "SCT", "meaning": "Liver"}


def test_a_dicom_series_gets_a_dicom_mask_that_equals_the_nifti_mask(bright_voxels_run, scan, tmp_path, capsys):
    highdicom = pytest.importorskip("highdicom", reason="the extra dicom is not installed")
    _, image = scan
    turn = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    write_slices(image, tmp_path / "series", affine=turn @ AFFINE @ np.diag([1, 1, -1, 1]), number=3)
    run = bright_voxels_run(tmp_path / "run", task=Task(names=("liver",)))
    (tmp_path / "codes.json").write_text(json.dumps({"liver": {"category": LIVER, "type": LIVER}}))
    options = ["--segment-codes", str(tmp_path / "codes.json")]
    segment(run, tmp_path / "series", tmp_path / "mask.nii.gz")
    command = ["segment", "--run", str(run), str(tmp_path / "series"), "-o", str(tmp_path / "mask.dcm"), *options]
    assert main(command) == 0
    assert main(command) == 2 and "allow overwriting" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    found = highdicom.seg.segread(tmp_path / "mask.dcm")
    uids = [one.uid for one in read_volume(tmp_path / "series").slices]
    frames = found.get_pixels_by_source_instance(uids, combine_segments=True)
    mask = np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj)
    assert mask.any()
    np.testing.assert_array_equal(frames.T, mask)
    assert (found.SegmentSequence[0].SegmentLabel, found.number_of_segments) == ("liver", 1)


def test_a_dicom_mask_needs_a_series_and_codes_a_dicom_mask(bright_voxels_run, scan, tmp_path):
    pytest.importorskip("highdicom", reason="the extra dicom is not installed")
    run, (path, _) = bright_voxels_run(tmp_path / "run"), scan
    with (
        pytest.warns(match="No codes for 1"),
        pytest.raises(UsageError, match=r"scan\.nii\.gz, which is no folder of DICOM files\. Write a \.nii\.gz mask"),
    ):
        segment(run, path, tmp_path / "mask.dcm")
    with pytest.raises(UsageError, match=r"written to a \.dcm mask only"):
        segment(run, path, tmp_path / "mask.nii.gz", segment_codes="codes.json")


def test_several_channels_are_a_file_each(bright_voxels_run, scan, tmp_path):
    path, image = scan
    noise = np.random.default_rng(0).normal(size=image.shape)
    nib.save(nib.Nifti1Image(noise, AFFINE), tmp_path / "other.nii.gz")
    run = bright_voxels_run(tmp_path / "run", channels=2)
    segment(run, [path, tmp_path / "other.nii.gz"], tmp_path / "mask.nii.gz")
    assert np.array_equal(np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj), image > 0)
    with pytest.raises(UsageError, match="2 files"):
        segment(run, [path] * 3, tmp_path / "more.nii.gz")


def test_the_largest_component_is_an_option(bright_voxels_run, scan, tmp_path):
    path, image = scan
    segment(bright_voxels_run(tmp_path / "run"), path, tmp_path / "mask.nii.gz", largest_component=True)
    expected = image > 0
    expected[8, 7, 11] = False
    assert np.array_equal(np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj), expected)


def test_a_mask_that_exists_is_kept_unless_told_otherwise(bright_voxels_run, scan, tmp_path):
    run, (path, _), out = bright_voxels_run(tmp_path / "run"), scan, tmp_path / "mask.nii.gz"
    out.write_text("mine")
    with pytest.raises(OutputExistsError, match="overwriting"):
        segment(run, path, out)
    assert out.read_text() == "mine"
    segment(run, path, out, overwrite=True)
    assert nib.load(out).shape == (10, 8, 12)


def test_a_scan_that_is_not_there_leaves_nothing(bright_voxels_run, tmp_path):
    run = bright_voxels_run(tmp_path / "run")
    with pytest.raises(VolumeError, match=r"nowhere\.nii"):
        segment(run, tmp_path / "nowhere.nii", tmp_path / "mask.nii.gz")
    assert not (tmp_path / "mask.nii.gz").exists()


def seen(**reading):
    return {"train": (SeenCase(case_id="a", group="a", images=(), mask="", sources={}, **reading),)}


def write_two_forms(path, image):
    """A scan whose sform lies 5 mm beside its qform."""
    moved = AFFINE.copy()
    moved[0, 3] += 5
    scan = nib.Nifti1Image(image, AFFINE)
    scan.set_qform(AFFINE, code=1)
    scan.set_sform(moved, code=2)
    nib.save(scan, path)
    return moved


def test_a_scan_is_read_as_the_cases_of_the_run_were(bright_voxels_run, scan, tmp_path):
    moved = write_two_forms(tmp_path / "two.nii.gz", scan[1])
    run = bright_voxels_run(tmp_path / "run", cases=seen(affine="sform", nonfinite="error"))
    mask = nib.load(segment(run, tmp_path / "two.nii.gz", tmp_path / "mask.nii.gz"))
    assert np.allclose(mask.get_sform(), moved, atol=1e-5)
    assert np.array_equal(np.asarray(mask.dataobj), scan[1] > 0)


def test_without_a_recorded_choice_forms_that_disagree_are_refused_until_one_is_chosen(
    bright_voxels_run, scan, tmp_path
):
    write_two_forms(tmp_path / "two.nii.gz", scan[1])
    run = bright_voxels_run(tmp_path / "run")
    with pytest.raises(GeometryError):
        segment(run, tmp_path / "two.nii.gz", tmp_path / "mask.nii.gz")
    assert segment(run, tmp_path / "two.nii.gz", tmp_path / "mask.nii.gz", affine="qform").exists()


def test_voxels_that_are_not_finite_are_read_as_the_run_read_them(bright_voxels_run, scan, tmp_path):
    image = scan[1].astype(np.float32)
    image[0, 0, 0] = np.nan
    nib.save(nib.Nifti1Image(image, AFFINE), tmp_path / "nan.nii.gz")
    run = bright_voxels_run(tmp_path / "run", cases=seen(affine=None, nonfinite="zero"))
    mask = nib.load(segment(run, tmp_path / "nan.nii.gz", tmp_path / "mask.nii.gz"))
    assert np.array_equal(np.asarray(mask.dataobj), scan[1] > 0)
    with pytest.raises(VolumeError, match="found 1 NaN"):
        segment(run, tmp_path / "nan.nii.gz", tmp_path / "other.nii.gz", nonfinite="error")


def test_the_scan_is_never_replaced_by_its_mask(scan, tmp_path):
    path, _ = scan
    before = path.read_bytes()
    (tmp_path / "link.nii.gz").symlink_to(path)
    for images, output in ((path, tmp_path / "link.nii.gz"), (tmp_path, path), ([path], path)):
        with pytest.raises(UsageError, match="must not be an input"):
            segment(tmp_path / "run", images, output, overwrite=True)
    assert path.read_bytes() == before


def test_masks_of_one_run_have_one_type_whatever_labels_they_hold(write_run, scan, tmp_path):
    inputs = keras.Input((None, None, None, 1))
    model = keras.Model(inputs, keras.layers.Conv3D(3, 1, activation="softmax", bias_initializer="ones")(inputs))
    task = Task(labels=((1,), (300,)))
    run = write_run(tmp_path / "run", model, Preprocessing(size=8), task=task).folder
    model.layers[-1].set_weights([np.zeros((1, 1, 1, 1, 3)), np.array([0.0, 1, 0])])
    model.save(run / MODEL)
    mask = nib.load(segment(run, scan[0], tmp_path / "mask.nii.gz"))
    assert mask.get_data_dtype() == np.uint16
    assert np.unique(mask.dataobj).tolist() == [1]


def test_the_segmenter_is_kept_and_traced_once_until_a_file_changes(bright_voxels_run, scan, tmp_path):
    run = bright_voxels_run(tmp_path / "run")
    for index in range(4):
        segment(run, scan[0], tmp_path / f"{index}.nii.gz")
    kept = load_segmenter(run)
    assert kept.segment.experimental_get_tracing_count() == 1
    keras.models.load_model(run / MODEL).save(run / MODEL)
    assert load_segmenter(run) is not kept


def test_segmenting_again_and_again_leaves_nothing_behind(bright_voxels_run, scan, tmp_path):
    run, counts = bright_voxels_run(tmp_path / "run"), []
    gc.freeze()  # what earlier tests have left is neither searched nor counted
    for _ in range(12):
        segment(run, scan[0], tmp_path / "mask.nii.gz", overwrite=True)
        gc.collect()
        counts.append(len(gc.get_objects()))
    gc.unfreeze()
    assert counts[-1] - counts[3] <= 20


def test_beside_a_mask_stand_its_origin_and_on_request_its_probabilities(bright_voxels_run, scan, tmp_path):
    run, (path, image) = bright_voxels_run(tmp_path / "run"), scan
    out = segment(run, path, tmp_path / "out" / "mask.nrrd", probability=True)
    names = ["mask.nrrd", "mask.nrrd.json", "mask_probability.nii.gz"]
    assert sorted(each.name for each in out.parent.iterdir()) == names
    assert json.loads((tmp_path / "out" / "mask.nrrd.json").read_text())["options"]["probability"] is True
    found = nib.load(tmp_path / "out" / "mask_probability.nii.gz")
    assert found.shape == (*image.shape, 1)
    assert np.array_equal(found.get_fdata()[..., 0] >= 0.5, image > 0)


@pytest.mark.parametrize("name", ["mask.nii.gz.json", "mask_probability.nii.gz"])
def test_a_file_of_somebody_else_beside_a_mask_is_kept(bright_voxels_run, scan, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputExistsError, match=name):
        segment(bright_voxels_run(tmp_path / "run"), scan[0], tmp_path / "mask.nii.gz", probability=True)
    assert (tmp_path / name).read_text() == "mine"
    assert not (tmp_path / "mask.nii.gz").exists()
