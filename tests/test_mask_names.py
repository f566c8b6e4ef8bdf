"""Names of masks: those that a header or a file system cannot hold are refused before anything is written."""

import numpy as np
import pytest
import SimpleITK as sitk

from mcc_keras.errors import OutputExistsError, UsageError
from mcc_keras.volumes import Volume, read_volume, refuse_mask_path, write_mask, write_volume

MASK = np.random.default_rng(0).integers(0, 2, (5, 4, 3)).astype(np.uint8)
LIKE = Volume(MASK, np.eye(4))


@pytest.mark.parametrize("name", ["LIST", "LISTED", "100%", "a%03d", " a", "a\nNDims = 2", "a\tb"])
def test_a_name_that_a_header_would_misread_is_refused_and_one_file_is_the_way_out(tmp_path, name):
    for refuse in (refuse_mask_path, lambda path: write_mask(MASK, path, like=LIKE)):
        with pytest.raises(UsageError, match=r"name that its header can hold.*or \.mha, which is one file"):
            refuse(tmp_path / f"{name}.mhd")
    assert not list(tmp_path.iterdir())
    np.testing.assert_array_equal(read_volume(write_mask(MASK, tmp_path / f"{name}.mha", like=LIKE)).array, MASK)


@pytest.mark.parametrize("name", ["list", "LocaL", "List of 5", "Schädel ☃", "a=b:c", "#1", "a.b.c"])
def test_every_other_name_is_read_again_here_and_by_itk(tmp_path, name):
    path = write_mask(MASK, tmp_path / f"{name}.mhd", like=LIKE)
    np.testing.assert_array_equal(read_volume(path).array, MASK)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T, MASK)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha", ".mhd"])
def test_a_name_too_long_a_file_for_a_folder_and_a_folder_for_a_file_are_typed_errors(tmp_path, suffix):
    (tmp_path / "file").write_text("text")
    (tmp_path / f"folder{suffix}").mkdir()
    like = {"like": LIKE, "overwrite": True}
    with pytest.raises(UsageError, match="at most 255 bytes"):
        write_mask(MASK, tmp_path / ("a" * 252 + suffix), **like)
    with pytest.raises(UsageError, match="at most 255 bytes"):  # the file beside it, a.zraw
        write_mask(MASK, tmp_path / ("a" * 251 + ".mhd"), **like)
    with pytest.raises(OutputExistsError, match="a file where a folder"):
        write_mask(MASK, tmp_path / "file" / f"a{suffix}", **like)
    with pytest.raises(OutputExistsError, match="found a folder"):
        write_mask(MASK, tmp_path / f"folder{suffix}", **like)
    with pytest.raises(UsageError, match="at most 255 bytes"):
        write_volume(MASK, tmp_path / ("a" * 252 + ".nii"), affine=np.eye(4))


@pytest.mark.parametrize("target", ["LIST.raw", "100%.raw"])
def test_scans_that_others_wrote_with_such_names_are_read(tmp_path, target):
    header = f"NDims = 3\nDimSize = 5 4 3\nElementType = MET_UCHAR\nElementDataFile = {target}\n"
    (tmp_path / "a.mhd").write_text(header)
    (tmp_path / target).write_bytes(MASK.tobytes(order="F"))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mhd").array, MASK)
