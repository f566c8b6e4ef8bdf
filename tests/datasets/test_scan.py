import nibabel as nib
import numpy as np
import pytest

from mcc_keras.datasets import write_synthetic
from mcc_keras.datasets.scan import read_scan
from mcc_keras.errors import UsageError


@pytest.fixture
def files(tmp_path):
    for index in range(2):
        nib.save(nib.Nifti1Image(np.full((3, 4, 5), index, np.float32), np.eye(4)), tmp_path / f"{index}.nii.gz")
    return [tmp_path / "0.nii.gz", tmp_path / "1.nii.gz"]


def test_one_file_is_one_channel_given_alone_or_in_a_list(files):
    assert read_scan(files[1], ("T2",)).array.shape == (3, 4, 5, 1)
    assert (read_scan([files[1]], ("T2",)).array == 1).all()


def test_several_files_are_the_channels_in_their_order(files):
    assert read_scan(files, ("T1", "T2")).array[0, 0, 0].tolist() == [0, 1]


@pytest.mark.parametrize("as_list", [False, True])
def test_a_case_folder_holds_the_channels_of_its_case(tmp_path, as_list):
    source = write_synthetic(tmp_path / "brats", num_cases=2, size=(16, 16, 8), layout="brats15")
    folder = sorted((source / "HGG").iterdir())[0]
    scan = read_scan([folder] if as_list else folder, ("Flair", "T1", "T1c", "T2"))
    assert scan.array.shape[3] == 4


def test_regions_that_overlap_need_no_choice_since_no_mask_is_read(tmp_path):
    source = write_synthetic(tmp_path / "brats", num_cases=1, size=(16, 16, 8), layout="brats15")
    assert read_scan(source, ("Flair", "T1", "T1c", "T2")).array.shape[3] == 4


def test_a_network_of_some_channels_finds_them_by_name_in_a_case_folder(tmp_path):
    source = write_synthetic(tmp_path / "brats", num_cases=1, size=(16, 16, 8), layout="brats15")
    folder = next((source / "HGG").iterdir())
    every = read_scan(folder, ("Flair", "T1", "T1c", "T2")).array
    np.testing.assert_array_equal(read_scan(folder, ("T2", "Flair")).array, every[..., [3, 0]])


def test_a_folder_of_several_cases_is_refused(tmp_path):
    source = write_synthetic(tmp_path / "pairs", num_cases=2, size=(16, 16, 8), layout="pairs")
    with pytest.raises(UsageError, match="found 2 cases"):
        read_scan(source, ("image",))


def test_another_number_of_files_is_refused(files):
    with pytest.raises(UsageError, match=r"3 files, one per channel \(a, b, c\). Received 2"):
        read_scan(files, ("a", "b", "c"))
