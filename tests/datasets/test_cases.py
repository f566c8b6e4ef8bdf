import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcc_keras.datasets import Case, find_cases, read_image, read_mask
from mcc_keras.datasets.cases import count_labels
from mcc_keras.datasets.paths import plain_id, safe_id
from mcc_keras.errors import CaseError, GeometryError, LabelError, MCCKerasError, UsageError, VolumeError
from mcc_keras.task import Task
from mcc_keras.volumes import write_volume

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def image(seed=0, shape=(6, 5, 4)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def pair(folder, mask, *, shape=None, affine=AFFINE, name="a"):
    mask = np.asarray(mask)
    write_volume(image(shape=shape or mask.shape), folder / f"{name}.nii.gz", affine=AFFINE)
    write_volume(mask, folder / f"{name}_mask.nii.gz", affine=affine)
    return folder


def labels(*values):
    mask = np.zeros((6, 5, 4), np.uint8)
    mask.flat[: len(values)] = values
    return mask


def read(folder, **options):
    case = find_cases(folder, **options)[0]
    return read_mask(case, read_image(case))


def test_merged_labels_are_one_class_and_labels_kept_apart_are_several(tmp_path):
    pair(tmp_path, labels(1, 2, 2, 4))
    merged = find_cases(tmp_path, foreground=(1, 2, 4))[0]
    apart = find_cases(tmp_path, labels=(1, (2, 4)))[0]
    assert (merged.task.labels, merged.task.num_classes, merged.task.label_values) == (((1, 2, 4),), 1, (0, 1))
    assert (apart.task.labels, apart.task.num_classes, apart.task.label_values) == (((1,), (2, 4)), 3, (0, 1, 2))
    assert read(tmp_path, foreground=(1, 2, 4)).ravel()[:5].tolist() == [1, 1, 1, 1, 0]
    assert read(tmp_path, labels=(1, (2, 4))).ravel()[:5].tolist() == [1, 2, 2, 2, 0]


def test_labels_that_were_not_asked_for_are_refused_with_their_counts(tmp_path):
    pair(tmp_path, labels(1, 2, 2, 7))
    with pytest.raises(LabelError, match=r"expected labels 0, 1, found also 2 \(2 voxels\), 7 \(1 voxels\)"):
        read(tmp_path)
    with pytest.raises(LabelError, match=r"foreground=\(1, 2, 7\)"):
        read(tmp_path)
    assert read(tmp_path, background=(0, 2, 7)).sum() == 1


def test_a_residue_of_float_arithmetic_is_rounded_and_more_is_refused(tmp_path):
    mask = labels(1, 1).astype(np.float32)
    mask[mask == 1] = 0.9999999
    assert read(pair(tmp_path / "near", mask)).sum() == 2
    mask[0, 0, 0] = 0.998
    with pytest.raises(LabelError, match=r"found 1 others, like 0\.998 at \(0, 0, 0\)"):
        read(pair(tmp_path / "far", mask))


def test_a_mask_of_another_shape_is_refused_with_both_shapes(tmp_path):
    pair(tmp_path, labels(1), shape=(6, 5, 3))
    with pytest.raises(GeometryError, match=r"expected the shape \(6, 5, 3\) of a\.nii\.gz, found \(6, 5, 4\)"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("shift", "expected"), [(0.005, "fine"), (0.02, "warning"), (0.49, "warning"), (0.51, "error"), (30, "error")]
)
def test_a_mask_in_another_place_is_recognized_by_its_distance_in_voxels(tmp_path, shift, expected):
    moved = AFFINE.copy()
    moved[2, 3] = 2 * shift
    pair(tmp_path, labels(1), affine=moved)
    if expected == "error":
        with pytest.raises(GeometryError, match="expected the place of a.nii.gz"):
            read(tmp_path)
    elif expected == "warning":
        with pytest.warns(UserWarning, match="voxels from"):
            read(tmp_path)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read(tmp_path)


def test_a_flipped_mask_of_the_same_shape_is_refused(tmp_path):
    pair(tmp_path, labels(1), affine=np.diag([-1.0, 1.0, 2.0, 1.0]))
    with pytest.raises(GeometryError):
        read(tmp_path)


def test_channels_are_stacked_in_their_order(tmp_path):
    for index in range(2):
        write_volume(image(index), tmp_path / f"{index}.nii", affine=AFFINE)
    case = Case("a", (tmp_path / "1.nii", tmp_path / "0.nii"), task=Task(channel_names=("b", "a")))
    array = read_image(case).array
    assert (array.shape, array.dtype) == ((6, 5, 4, 2), np.float32)
    np.testing.assert_array_equal(array[..., 0], image(1))


def test_channels_on_different_grids_are_refused(tmp_path):
    write_volume(image(), tmp_path / "0.nii", affine=AFFINE)
    write_volume(image(shape=(6, 5, 5)), tmp_path / "1.nii", affine=AFFINE)
    case = Case("a", (tmp_path / "0.nii", tmp_path / "1.nii"), task=Task(channel_names=("a", "b")))
    with pytest.raises(GeometryError, match="Save the channel on the grid of the image"):
        read_image(case)


def test_values_beyond_float32_are_refused(tmp_path):
    write_volume(np.full((2, 2, 2), 1e300), tmp_path / "a.nii", affine=AFFINE)
    with pytest.raises(VolumeError, match="float32"):
        read_image(find_cases(tmp_path)[0])


def test_a_case_without_a_mask_is_found_and_refused_only_when_its_mask_is_read(tmp_path):
    write_volume(image(), tmp_path / "a.nii", affine=AFFINE)
    case = find_cases(tmp_path)[0]
    assert case.mask is None
    with pytest.raises(CaseError, match="a: expected a mask, found none"):
        read_mask(case, read_image(case))


@pytest.mark.parametrize(
    "options",
    [
        {"foreground": (1,), "labels": (1,)},
        {"labels": (1, 1)},
        {"labels": ((1, 2), 2)},
        {"foreground": (0, 1)},
        {"foreground": ()},
        {"labels": ()},
        {"foreground": (1.5,)},
        {"foreground": ("1",)},
        {"foreground": (True,)},
        {"foreground": (1,), "background": (0, 1)},
    ],
)
def test_labels_that_contradict_each_other_are_refused(tmp_path, options):
    pair(tmp_path, labels(1))
    with pytest.raises(UsageError):
        find_cases(tmp_path, **options)


def test_an_empty_or_missing_folder_names_the_layouts(tmp_path):
    with pytest.raises(CaseError, match="found no volume(.*)the folder is empty. Known layouts: a dataset.json"):
        find_cases(tmp_path)
    with pytest.raises(CaseError, match="found nothing"):
        find_cases(tmp_path / "none")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(CaseError, match="found the file a.txt"):
        find_cases(tmp_path / "a.txt")


@pytest.mark.parametrize("source", ["gs://bucket/data", "https://host/dataset.json", "a\0b"])
def test_a_source_that_is_no_path_of_this_machine_is_refused(source):
    with pytest.raises(UsageError):
        find_cases(source)


def test_labels_are_counted_whatever_their_range():
    assert count_labels(np.array([[[-3, 5, 5]]])) == {-3: 1, 5: 2}
    assert count_labels(np.array([[[0, 10**9]]])) == {0: 1, 10**9: 1}


@given(st.text(min_size=1, max_size=40))
def test_any_name_becomes_a_safe_id_and_comes_back(name):
    try:
        case_id = safe_id(name)
    except MCCKerasError:
        return
    assert plain_id(case_id) == name
    assert case_id.isascii() and not set(case_id) & set("/\\{}%: \0") and case_id[0].isalnum()


@given(st.lists(st.text(min_size=1, max_size=6), unique=True, max_size=20))
def test_different_names_become_different_ids(names):
    assert len({safe_id(name) for name in names}) == len(names)


@pytest.mark.parametrize("name", ["", "a" * 200])
def test_a_name_too_short_or_too_long_is_refused(name):
    with pytest.raises(CaseError):
        safe_id(name)


def test_a_case_is_its_own_patient_where_none_is_named():
    assert Case("a", (Path("a.nii"),)).group == "a"
