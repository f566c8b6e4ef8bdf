import nibabel as nib
import numpy as np
import pytest

from mcc_keras.datasets import write_synthetic
from mcc_keras.errors import GeometryError, LabelError, UsageError, VolumeError
from mcc_keras.reporting.thumbnails import COLORS
from mcc_keras.viewing.scene import largest_slices, read_scene
from mcc_keras.volumes import Volume, read_volume, write_mask

SCAN = Volume(np.random.default_rng(0).integers(0, 99, (5, 6, 7)).astype(np.int16), np.diag([2.0, 2, 3, 1]))


def labels(*values):
    mask = np.zeros(SCAN.shape, np.int32)
    mask[1:3, 1:3, range(len(values))] = values
    return mask


def on_grid(array, affine=SCAN.affine):
    return Volume(array, affine)


def test_labels_become_classes_in_their_order():
    scene = read_scene(SCAN, [on_grid(labels(4, 300)), on_grid(labels(2))])
    assert scene.names == ("label 2", "label 4", "label 300")
    assert [mask.present for mask in scene.masks] == [(2, 3), (1,)]
    assert scene.masks[0].classes[1, 1].tolist() == [2, 3, 0, 0, 0, 0, 0]
    assert scene.masks[0].classes.dtype == np.uint8


def test_named_labels_come_first_and_may_be_merged():
    scene = read_scene(SCAN, [on_grid(labels(1, 2, 4, 3))], names={"core": (4, 1), "edema": 2, "absent": 9})
    assert scene.names == ("core", "edema", "absent", "label 3")
    assert scene.masks[0].classes[1, 1, :4].tolist() == [1, 2, 1, 4]


def test_a_class_has_one_color_in_all_masks_unless_it_is_the_only_one():
    several = read_scene(SCAN, [on_grid(labels(1, 2)), on_grid(labels(2))])
    assert [several.color(0, 2), several.color(1, 2)] == [COLORS[1], COLORS[1]]
    one = read_scene(SCAN, [on_grid(labels(1))] * 3)
    assert [one.color(mask, 1) for mask in range(3)] == list(COLORS[:3])


def test_a_mask_in_another_order_of_axes_is_turned_to_that_of_the_scan():
    mask = labels(1, 2)
    affine = SCAN.affine.copy()
    affine[0, 0], affine[0, 3] = -2, 2 * (SCAN.shape[0] - 1)
    scene = read_scene(SCAN, [on_grid(mask[::-1], affine)])
    assert np.array_equal(scene.masks[0].classes, mask)


@pytest.mark.parametrize(
    ("mask", "error", "text"),
    [
        (on_grid(labels(1)[:4]), GeometryError, "mask 1: expected the shape (5, 6, 7)"),
        (on_grid(labels(1), np.diag([2.0, 2, 2, 1])), GeometryError, "expected the place"),
        (on_grid(labels(1) * 0.5), LabelError, "mask 1: expected whole numbers"),
        (on_grid(labels(-1)), LabelError, "found -1 to 0"),
        (on_grid(labels(70_000)), LabelError, "found 0 to 70000"),
        (np.ones((4, 4)), UsageError, "(x, y, z). Received: float64 of shape (4, 4)"),
        (labels(1) * np.nan, UsageError, "finite"),
        ("absent.nii.gz", VolumeError, "absent.nii.gz"),
    ],
)
def test_what_is_no_mask_of_the_scan_is_refused(mask, error, text):
    with pytest.raises(error) as caught:
        read_scene(SCAN, [mask])
    assert text in str(caught.value)


@pytest.mark.parametrize("names", [["liver"], {"a": 1, "b": (2, 1)}, {"a": 0}, {"a": 70_000}, {"a": "1"}])
def test_names_that_are_not_those_of_labels_are_refused(names):
    with pytest.raises(UsageError, match="`names` must"):
        read_scene(SCAN, [on_grid(labels(1))], names=names)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"])
def test_every_format_of_a_mask_is_read(suffix, tmp_path):
    path = write_mask(labels(1, 2), tmp_path / f"mask{suffix}", like=SCAN)
    scene = read_scene(SCAN, [path])
    assert scene.masks[0].name == path.name
    assert np.array_equal(scene.masks[0].classes, labels(1, 2))


def test_a_folder_of_dicom_files_is_a_scan(tmp_path):
    folder = write_synthetic(tmp_path / "scans", num_cases=1, size=(16, 16, 8), empty_fraction=0, layout="dicom")
    scene = read_scene(folder / "case_000", [folder / "case_000_mask.nii.gz"])
    assert scene.name == "case_000"
    assert np.array_equal(scene.scan.array, read_volume(folder / "case_000").array)
    assert scene.masks[0].present == (1,)


def test_the_choice_of_an_affine_and_of_zeros_reaches_the_reader(tmp_path):
    array = np.ones((4, 4, 4), np.float32)
    array[0, 0, 0] = np.nan
    image = nib.Nifti1Image(array, np.eye(4))
    image.set_qform(np.diag([3.0, 3, 3, 1]), code=1)
    nib.save(image, tmp_path / "scan.nii")
    scene = read_scene(tmp_path / "scan.nii", affine="qform", nonfinite="zero")
    assert (scene.scan.spacing_mm, scene.scan.array[0, 0, 0]) == ((3.0, 3.0, 3.0), 0)


def test_the_first_look_is_at_the_largest_slices_of_the_first_mask_with_voxels():
    mask = np.zeros(SCAN.shape, int)
    mask[1, 1:5, 3] = 1
    mask[3, 4, 3:6] = 1
    assert largest_slices(mask) == (1, 4, 3)
    assert read_scene(SCAN, [on_grid(mask * 0), on_grid(mask)]).focus == (1, 4, 3)
    assert read_scene(SCAN).focus == (2, 3, 3)


def test_of_slices_with_as_many_voxels_the_middle_one_is_the_largest():
    mask = np.zeros((9, 9, 9), int)
    mask[2:7, 1:4, 8] = 1
    assert largest_slices(mask) == (4, 2, 8)
