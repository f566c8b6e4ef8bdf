"""`mcc-keras prepare`: records of other settings are kept, the same command twice does nothing."""

import json

from mcc_keras.datasets.splits import read_split
from mcc_keras.records.manifest import read_manifest


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_records_of_other_settings_are_kept(prepare, tmp_path, run, complaints):
    command = prepare()
    run(*command)
    before = contents(tmp_path / "work")
    code, lines = complaints(*command, "--seed", 5)
    assert (code, len(lines)) == (2, 1)
    assert str(tmp_path / "work") in lines[0]
    assert contents(tmp_path / "work") == before


def test_the_same_line_again_prepares_nothing_and_reports_it(prepare, tmp_path, run, capsys):
    command = prepare()
    run(*command)
    assert "3 train, 1 validation, 1 test (5 prepared, 0 reused)" in capsys.readouterr().out
    run(*command[:-2], "--workers=2", "--overwrite")
    assert "nothing to prepare" in capsys.readouterr().out
    noted = read_manifest(tmp_path / "work").command
    assert noted == f"mcc-keras prepare {tmp_path / 'pairs'} WORK --size 16"


def test_a_stored_split_is_used_and_its_patients_are_checked(prepare, tmp_path, run, complaints):
    parts = {"train": ["case0", "case1"], "validation": ["case2", "case4"], "test": ["case3"]}
    (tmp_path / "split.json").write_text(json.dumps(parts))
    command = prepare(lambda folder: None, "--split", tmp_path / "split.json")
    run(*command)
    assert read_split(read_manifest(tmp_path / "work").folder / "split.json") == {p: tuple(i) for p, i in parts.items()}
    parts["test"].append("case2")
    (tmp_path / "split.json").write_text(json.dumps(parts))
    code, lines = complaints(*command)
    assert (code, len(lines)) == (3, 1)
    assert "case2" in lines[0]


def test_the_split_of_another_work_folder_is_taken(prepare, tmp_path, run, complaints):
    command = prepare()
    run(*command, "--seed", 3)
    other = [tmp_path / "other" if word == tmp_path / "work" else word for word in command]
    run(*other, "--split", tmp_path / "work")
    splits = [read_split(read_manifest(tmp_path / name).folder / "split.json") for name in ("work", "other")]
    assert splits[0] == splits[1]
    code, lines = complaints(*other, "--split", tmp_path / "pairs")
    assert (code, len(lines)) == (3, 1)
    assert "expected prepared records" in lines[0]
