import hashlib

import pytest

from mcc_keras.records.sources import hash_files, source_files


def names(paths):
    return [path.name for path in paths]


@pytest.mark.parametrize(
    ("header", "text", "data"),
    [
        ("a.mhd", "NDims = 3\nElementDataFile = voxels of a.raw\n", "voxels of a.raw"),
        ("a.mhd", "ElementDataFile=a.zraw\r\n", "a.zraw"),
        ("a.nhdr", "NRRD0004\ndata file: a.raw.gz\n\n", "a.raw.gz"),
        ("a.nhdr", "NRRD0004\ndatafile: a.raw\n", "a.raw"),
        ("a.hdr", "", "a.img"),
        ("a.img", "", "a.hdr"),
        ("a.HDR.GZ", "", "a.img.gz"),
    ],
)
def test_the_data_file_of_a_header_belongs_to_its_sources(tmp_path, header, text, data):
    (tmp_path / header).write_text(text)
    (tmp_path / data).write_bytes(b"voxels")
    (tmp_path / "other.raw").write_bytes(b"")
    assert names(source_files(tmp_path / header)) == [header, data]


def test_a_file_that_stands_alone_is_its_only_source(tmp_path):
    (tmp_path / "a.mha").write_text("ElementDataFile = LOCAL\n")
    assert names(source_files(tmp_path / "a.mha")) == ["a.mha"]
    assert names(source_files(tmp_path / "missing.mhd")) == ["missing.mhd"]


def test_every_file_of_a_folder_of_slices_is_a_source(tmp_path):
    for name in ("2.dcm", "1.dcm", ".hidden"):
        (tmp_path / name).write_bytes(b"")
    assert names(source_files(tmp_path)) == ["1.dcm", "2.dcm"]


def test_hashes_are_those_of_the_bytes_whatever_the_number_of_workers(tmp_path):
    for index in range(5):
        (tmp_path / str(index)).write_bytes(bytes(range(index)))
    paths = sorted(tmp_path.iterdir())
    expected = {path: (len(path.read_bytes()), hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths}
    assert hash_files(paths, workers=1) == hash_files(paths, workers=4) == expected
    assert hash_files([]) == {}
