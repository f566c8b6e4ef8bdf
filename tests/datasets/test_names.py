"""Names that reach the terminal, and names, folders and seeds that cannot be."""

import warnings

import numpy as np
import pytest

from mcc_keras.checks import check_cases
from mcc_keras.cli import main
from mcc_keras.datasets import find_cases, write_synthetic
from mcc_keras.datasets.splits import split_cases, write_split
from mcc_keras.errors import CaseError, DataErrors, MCCKerasError, OutputExistsError, UsageError
from mcc_keras.task import Task
from mcc_keras.volumes import write_volume

TITLE, FORGED, CURSOR, TURNED = "a\x1b]0;x\x07", "a\rerrors: 0", "a\x1b[2J\nmask: fine", "a\u202egnp"


@pytest.mark.parametrize("name", [TITLE, FORGED, CURSOR, TURNED])
def test_no_control_character_of_a_file_name_reaches_the_terminal(tmp_path, capsys, name):
    for end in ("", "_mask"):
        write_volume(np.full((4, 4, 4), 7.0 + bool(end)), tmp_path / f"{name}{end}.nii", affine=np.eye(4))
        (tmp_path / f"{name}b{end}.nii").write_bytes(b"no volume")
    assert main(["check", str(tmp_path)]) == 3
    written = "".join(capsys.readouterr()) + warnings.formatwarning(name, UserWarning, "", 0)
    assert not set(written) & set("\x1b\x07\r\u202e") and "\nmask: fine" not in written


@pytest.mark.parametrize("name", [TITLE, FORGED, CURSOR, TURNED])
def test_the_text_of_an_error_is_printable(name):
    for error in (CaseError(name, "found \r"), UsageError(f"no {name}"), DataErrors([CaseError(name, "x")])):
        assert str(error).isprintable()


def test_several_errors_are_one_line_each_whatever_their_files_are_called():
    assert len(str(DataErrors([CaseError(CURSOR, "x"), CaseError("b", "y")])).splitlines()) == 2


@pytest.mark.parametrize("arguments", [{"names": (TITLE,)}, {"channel_names": (FORGED,)}])
def test_names_of_classes_and_channels_are_printable_text(arguments):
    with pytest.raises(UsageError, match="printable"):
        Task(**arguments)
    assert Task(names=("Läsion 大\xa0x",)).names == ("Läsion 大\xa0x",)


def test_a_column_with_control_characters_is_spelled_out_in_the_report(tmp_path):
    write_volume(np.arange(64.0).reshape(4, 4, 4), tmp_path / "a.nii", affine=np.eye(4))
    (tmp_path / "t.csv").write_bytes(b"case,image,si\x1bte\nx,a.nii,R\n")
    text = str(check_cases(find_cases(tmp_path), workers=1, pictures=False))
    assert "\x1b" not in text and "si\\x1bte" in text


def test_a_name_that_no_file_can_have_is_an_error_of_the_package(tmp_path):
    long = "a" * 300
    with pytest.raises(CaseError, match="found nothing: File name too long"):
        find_cases(tmp_path / long)
    for write in (
        lambda path: write_split({"train": ("a",)}, path),
        lambda path: write_synthetic(path, num_cases=1, size=(16, 16, 8)),
    ):
        with pytest.raises(UsageError, match="at most 255 bytes"):
            write(tmp_path / long)


def test_a_file_where_a_folder_should_be_is_an_error_of_the_package(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CaseError, match="found nothing: Not a directory"):
        find_cases(tmp_path / "file" / "x")
    with pytest.raises(OutputExistsError, match="a file where a folder is needed"):
        write_split({"train": ("a",)}, tmp_path / "file" / "split.json")
    with pytest.raises(OutputExistsError, match="a file where a folder is needed"):
        write_synthetic(tmp_path / "file", num_cases=1, size=(16, 16, 8))


@pytest.mark.parametrize("seed", [-1, 2**32, 10**400, 1.5, "7", None, True])
def test_a_seed_out_of_range_is_refused(tmp_path, seed):
    cases = [type("C", (), {"case_id": n, "group": n, "part": None})() for n in "abc"]
    with pytest.raises(UsageError, match="`seed` must be a whole number from 0 to 4294967295"):
        split_cases(cases, seed=seed)
    with pytest.raises(MCCKerasError, match="`seed`"):
        write_synthetic(tmp_path / "x", num_cases=1, size=(16, 16, 8), seed=seed)
