import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcc_keras.datasets import Case
from mcc_keras.errors import CaseError, DataErrors, OutputExistsError, UsageError
from mcc_keras.splits import PARTS, check_split, read_split, split_cases, write_split


def make_cases(count, scans_each=1, parts=None):
    return [
        Case(
            f"p{i // scans_each}_s{i % scans_each}",
            (Path("x.nii"),),
            group=f"p{i // scans_each}",
            part=parts and parts[i],
        )
        for i in range(count)
    ]


def counts(split):
    return [len(split[part]) for part in PARTS]


@pytest.mark.parametrize(
    ("count", "expected"), [(3, [1, 1, 1]), (4, [2, 1, 1]), (5, [3, 1, 1]), (10, [7, 2, 1]), (50, [35, 10, 5])]
)
def test_seventy_twenty_ten_is_exact_for_small_sets(count, expected):
    assert counts(split_cases(make_cases(count))) == expected


def test_a_share_of_zero_leaves_its_part_empty():
    assert counts(split_cases(make_cases(1), (0, 0, 1))) == [0, 0, 1]
    assert counts(split_cases(make_cases(5), (0.8, 0.2, 0))) == [4, 1, 0]


def test_fewer_patients_than_parts_are_refused_with_the_numbers():
    with pytest.raises(CaseError, match="one patient for each of train, validation, test, found 2 in all"):
        split_cases(make_cases(6, scans_each=3))


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 60), st.integers(1, 4), st.integers(0, 2**32))
def test_every_case_is_in_one_part_and_every_patient_too(count, scans_each, seed):
    cases = make_cases(count * scans_each, scans_each)
    split = split_cases(cases, seed=seed)
    assert sorted(name for ids in split.values() for name in ids) == sorted(case.case_id for case in cases)
    check_split(split, cases)


def test_the_split_depends_on_the_seed_and_not_on_the_order_of_the_cases():
    cases = make_cases(20)
    assert split_cases(cases, seed=1) == split_cases(cases[::-1], seed=1)
    assert split_cases(cases, seed=1) != split_cases(cases, seed=2)


def test_the_split_of_a_seed_never_changes():
    assert split_cases(make_cases(6), seed=7)["test"] == ("p4_s0",)


def test_every_case_is_sometimes_in_the_test_part():
    cases = make_cases(10)
    hits = [split_cases(cases, seed=seed)["test"][0] for seed in range(200)]
    assert len(set(hits)) == 10
    assert max(hits.count(name) for name in set(hits)) < 40


def test_a_part_on_every_case_is_the_split():
    parts = ["train", "train", "test", "test"]
    assert split_cases(make_cases(4, 2, parts)) == {
        "train": ("p0_s0", "p0_s1"),
        "validation": (),
        "test": ("p1_s0", "p1_s1"),
    }


def test_a_patient_in_two_parts_is_refused():
    with pytest.raises(CaseError, match="p0: expected a patient in one part, found in test and train"):
        split_cases(make_cases(4, 2, ["train", "test", "test", "test"]))


def test_a_part_on_some_cases_only_is_refused():
    with pytest.raises(CaseError, match="p1_s0: expected a part of train, validation, test, found None"):
        split_cases(make_cases(2, 1, ["train", None]))


def test_an_id_twice_is_refused():
    with pytest.raises(CaseError, match="expected each case id once"):
        split_cases(make_cases(3) + make_cases(1))


def test_no_cases_are_refused():
    with pytest.raises(CaseError, match="expected cases, found none"):
        split_cases([])


@pytest.mark.parametrize("shares", [(0.7, 0.3), (0.7, 0.2, 0.2), (1.5, -0.5, 0), ("a", 0, 1), 1, (float("nan"), 0, 1)])
def test_shares_that_are_no_shares_are_refused(shares):
    with pytest.raises(UsageError, match="three numbers from 0 to 1 that sum to 1"):
        split_cases(make_cases(3), shares)


def test_a_written_split_reads_back_and_is_readable(tmp_path):
    split = split_cases(make_cases(10), seed=3)
    path = write_split(split, tmp_path / "split.json", seed=3, shares=(0.7, 0.2, 0.1))
    assert read_split(path) == split
    assert json.loads(path.read_text())["seed"] == 3


def test_a_split_is_not_overwritten(tmp_path):
    path = write_split({"train": ("a",)}, tmp_path / "split.json")
    with pytest.raises(OutputExistsError):
        write_split({"train": ("b",)}, path)
    assert read_split(path)["train"] == ("a",)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"train": "ab", "validation": [], "test": []}', "[" * 100_000])
def test_a_file_that_holds_no_split_is_refused(tmp_path, text):
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(CaseError, match=r"split\.json: expected"):
        read_split(tmp_path / "split.json")


def test_a_case_in_two_parts_of_a_file_is_refused(tmp_path):
    path = write_split({"train": ("a", "b"), "test": ("b",)}, tmp_path / "split.json")
    with pytest.raises(CaseError, match="found b in two places"):
        read_split(path)


def test_every_misfit_of_a_split_is_told():
    cases = make_cases(4, 2)
    split = {"train": ("p0_s0", "p1_s0", "p1_s1"), "test": ("p0_s1", "other")}
    with pytest.raises(DataErrors) as caught:
        check_split(split, cases)
    text = str(caught.value)
    assert "other: expected a case of the data set" in text
    assert "p0: expected a patient in one part, found in test and train" in text


def test_a_case_left_out_of_a_split_is_told():
    with pytest.raises(CaseError, match="p1_s0: expected in a part, found in none"):
        check_split({"train": ("p0_s0",)}, make_cases(2))
