import numpy as np
import pytest

from mcc_keras.datasets.cases import find_images
from mcc_keras.datasets.dicom_slices import write_slices
from mcc_keras.errors import CaseError, UsageError
from mcc_keras.segmentation.scans import find_scans, take_shard
from mcc_keras.volumes import write_volume

VOXELS = np.zeros((3, 3, 3), np.int16)


@pytest.fixture
def write(tmp_path):
    def write_scans(*names):
        for name in names:
            write_volume(VOXELS, tmp_path / name, affine=np.eye(4))
        return tmp_path

    return write_scans


def found_in(*sources, channels=("image",)):
    cases, problems = find_scans(sources, channels)
    assert problems == []
    return {case.case_id: [path.name for path in case.images] for case in cases}


def test_files_keep_their_names_in_the_order_given(write):
    folder = write("b.nii.gz", "a.nii", "Fräulein 1.nii.gz")
    found = found_in(*(folder / name for name in ("b.nii.gz", "a.nii", "Fräulein 1.nii.gz")))
    assert list(found) == ["b", "a", "Fräulein 1"]


def test_a_folder_is_a_data_set_whose_masks_are_no_scans(write):
    folder = write("s/b.nii.gz", "s/a 1.nii.gz", "s/a 1_mask.nii.gz")
    assert found_in(folder / "s") == {"a 1": ["a 1.nii.gz"], "b": ["b.nii.gz"]}
    assert all(case.mask is None for case in find_scans([folder / "s"], ("image",))[0])


def test_a_name_that_would_leave_the_folder_stays_escaped(write):
    folder = write("a.nii.gz")
    (folder / "t.csv").write_text("case,image\n../evil,a.nii.gz\n.hidden,a.nii.gz\n")
    assert list(found_in(folder / "t.csv")) == ["x-..-2fevil", "x-.hidden"]


def test_channels_of_a_table_are_taken_by_name(write):
    folder = write("f.nii.gz", "t.nii.gz", "x.nii.gz")
    (folder / "t.csv").write_text("case,image_T1,image_PD,image_FLAIR\na,t.nii.gz,x.nii.gz,f.nii.gz\n")
    assert found_in(folder / "t.csv", channels=("FLAIR", "T1")) == {"a": ["f.nii.gz", "t.nii.gz"]}
    cases, problems = find_scans([folder / "t.csv"], ("a", "b"))
    assert cases == [] and "expected 2 channels (a, b), found 3 (T1, PD, FLAIR)" in str(problems[0])


def test_a_list_has_paths_relative_to_itself_with_tabs_between_channels(write):
    folder = write("s/a.nii.gz", "s/b.nii.gz")
    (folder / "s" / "list.txt").write_text("# scans\n\na.nii.gz\tb.nii.gz\r\n", "utf-8")
    assert found_in(folder / "s" / "list.txt", channels=("x", "y")) == {"a": ["a.nii.gz", "b.nii.gz"]}


@pytest.mark.parametrize(("data", "problem"), [(b"# nothing\n", "found none"), (b"\xff\xfe\x00", "UTF-8")])
def test_a_list_without_paths_is_a_problem(tmp_path, data, problem):
    (tmp_path / "list.txt").write_bytes(data)
    cases, problems = find_scans([tmp_path / "list.txt"], ("image",))
    assert cases == [] and problem in str(problems[0])


def test_a_folder_of_dicom_files_is_one_scan_and_series_in_a_folder_are_several(tmp_path):
    for name in ("x", "y"):
        write_slices(VOXELS + 1, tmp_path / "all" / name, affine=np.diag([-1, -1, 1, 1]), number=1)
    assert found_in(tmp_path / "all" / "x") == {"x": ["x"]}
    assert found_in(tmp_path / "all") == {"x": ["x"], "y": ["y"]}


def test_bids_scans_are_found_beside_any_derivatives(write):
    folder = write("sub-1/ses-a/anat/sub-1_ses-a_T1w.nii.gz")
    for name in ("mcc", "manual"):
        mask = f"derivatives/{name}/sub-1/ses-a/anat/sub-1_ses-a_desc-{name}_dseg.nii.gz"
        write(mask)
    assert found_in(folder) == {"sub-1_ses-a": ["sub-1_ses-a_T1w.nii.gz"]}
    assert find_images(folder)[0].mask is None


def test_what_is_not_there_is_a_problem_and_a_remote_path_is_none_of_this_machine(tmp_path):
    (tmp_path / "empty").mkdir()
    cases, problems = find_scans([tmp_path / "no", tmp_path / "empty", "gs://bucket/scan.nii.gz"], ("image",))
    assert cases == [] and [type(each) for each in problems] == [CaseError, CaseError, UsageError]


def test_shards_are_disjoint_and_together_everything():
    parts = [take_shard(list(range(10)), (k, 3)) for k in (1, 2, 3)]
    assert parts == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]
