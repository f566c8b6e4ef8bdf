import dataclasses
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcc_keras.datasets import Case
from mcc_keras.datasets.splits import (
    PARTS,
    check_split,
    fold_cases,
    foreground_fraction,
    read_split,
    repeated,
    split_cases,
    write_split,
)
from mcc_keras.errors import CaseError, DataErrors, OutputExistsError, UsageError
from mcc_keras.task import Task


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


@settings(max_examples=60)
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


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected JSON in UTF-8"),
        ("[]", "expected a JSON object, found list"),
        ("{}", "missing required field `train`"),
        ('{"train": [], "validation": []}', "missing required field `test`"),
        ('{"train": "ab", "validation": [], "test": []}', "expected `array`, got `str` - at `$.train`"),
        ('{"train": [1], "validation": [], "test": []}', "at `$.train[0]`"),
        ('{"train": [], "validaton": [], "validation": [], "test": []}', "found also validaton"),
        ('{"train": [], "validation": [], "test": [], "seed": Infinity}', "expected JSON in UTF-8"),
        ("[" * 100_000, "expected JSON in UTF-8"),
        ('{"train": ' + "[" * 5000 + "]" * 5000 + "}", "split.json: "),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_file_that_holds_no_split_is_refused_with_its_key(tmp_path, text, problem, encoding):
    (tmp_path / "split.json").write_text(text, encoding=encoding)
    problem = "expected JSON in UTF-8" if encoding == "utf-16" else problem
    with pytest.raises(CaseError, match=re.escape(problem)):
        read_split(tmp_path / "split.json")


def test_a_missing_split_is_named(tmp_path):
    with pytest.raises(CaseError, match="gone.json: expected a JSON file, found: No such file"):
        read_split(tmp_path / "gone.json")


def test_ids_are_compared_a_few_times_each_however_many_there_are():
    class Counted(str):
        compared = 0

        def __eq__(self, other):
            Counted.compared += 1
            return str(self) == str(other)

        __hash__ = str.__hash__

    assert repeated([Counted(number) for number in range(2000)] + [Counted(7)]) == ["7"]
    assert Counted.compared < 20_000


def test_a_case_in_two_parts_of_a_file_is_refused(tmp_path):
    path = write_split({"train": ("a", "b"), "test": ("b",)}, tmp_path / "split.json")
    with pytest.raises(CaseError, match="found b in two places"):
        read_split(path)


def test_every_misfit_of_a_split_is_reported():
    cases = make_cases(4, 2)
    split = {"train": ("p0_s0", "p1_s0", "p1_s1"), "test": ("p0_s1", "other")}
    with pytest.raises(DataErrors) as caught:
        check_split(split, cases)
    text = str(caught.value)
    assert "other: expected a case of the data set" in text
    assert "p0: expected a patient in one part, found in test and train" in text


def test_a_case_left_out_of_a_split_is_reported():
    with pytest.raises(CaseError, match="p1_s0: expected in a part, found in none"):
        check_split({"train": ("p0_s0",)}, make_cases(2))


def with_masks(folder, sizes):
    """Cases whose masks hold so many of 64 voxels."""
    cases = []
    for index, size in enumerate(sizes):
        mask = (np.arange(64).reshape(4, 4, 4) < size).astype(np.uint8)
        nib.save(nib.Nifti1Image(mask, np.eye(4)), folder / f"{index}.nii")
        cases.append(Case(f"c{index:02d}", (Path("x.nii"),), mask=folder / f"{index}.nii"))
    return cases


def with_column(values, scans_each=1, name="site"):
    cases = make_cases(len(values) * scans_each, scans_each)
    return [dataclasses.replace(case, columns={name: values[index // scans_each]}) for index, case in enumerate(cases)]


def test_the_foreground_of_a_mask_is_a_fraction_of_its_voxels(tmp_path):
    (case,) = with_masks(tmp_path, [16])
    assert foreground_fraction(case) == 0.25
    assert foreground_fraction(dataclasses.replace(case, task=Task(labels=((2,),)))) == 0
    with pytest.raises(CaseError, match="expected a mask to stratify by"):
        foreground_fraction(dataclasses.replace(case, mask=None))


def test_stratified_by_foreground_every_part_has_its_share_of_each_size(tmp_path):
    cases = with_masks(tmp_path, range(1, 31))
    size_of = {case.case_id: number for number, case in enumerate(cases, start=1)}
    for seed in range(5):
        split = split_cases(cases, seed=seed, stratify="foreground")
        assert counts(split) == [21, 6, 3]
        for third in (range(1, 11), range(11, 21), range(21, 31)):
            assert [sum(size_of[name] in third for name in split[part]) for part in PARTS] == [7, 2, 1]


def test_chance_alone_does_not_do_what_stratifying_does(tmp_path):
    cases = with_masks(tmp_path, range(1, 31))
    tests = [split_cases(cases, seed=seed)["test"] for seed in range(5)]
    assert any(len({int(name[1:]) // 10 for name in test}) < 3 for test in tests)


def test_stratified_by_a_column_every_part_has_its_share_of_each_value():
    cases = with_column(["Leeds"] * 20 + ["Oslo"] * 10)
    site = {case.case_id: case.columns["site"] for case in cases}
    split = split_cases(cases, seed=3, stratify="site")
    found = {part: [site[name] for name in split[part]] for part in PARTS}
    assert {part: (found[part].count("Leeds"), found[part].count("Oslo")) for part in PARTS} == {
        "train": (14, 7),
        "validation": (4, 2),
        "test": (2, 1),
    }


def test_a_column_of_many_numbers_is_ordered_and_not_named():
    cases = with_column([f"{age}.5" for age in range(90, 60, -1)], name="age")
    split = split_cases(cases, (0.5, 0.5, 0), seed=1, stratify="age")
    ages = {case.case_id: float(case.columns["age"]) for case in cases}
    means = [np.mean([ages[name] for name in split[part]]) for part in PARTS[:2]]
    assert counts(split) == [15, 15, 0]
    assert abs(means[0] - means[1]) <= 1  # pairs of neighbors are parted


def test_a_column_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(UsageError, match=r"a column of every case \(site\).*stratify='sex'"):
        split_cases(with_column(["a", "b", "c"]), stratify="sex")


@settings(max_examples=60)
@given(st.lists(st.sampled_from("abc"), min_size=3, max_size=40), st.integers(1, 3), st.integers(0, 2**32))
def test_strata_change_neither_the_sizes_nor_what_holds_for_every_split(values, scans_each, seed):
    cases = with_column(values, scans_each)
    split = split_cases(cases, seed=seed, stratify="site")
    check_split(split, cases)
    assert counts(split) == counts(split_cases(cases, seed=seed))
    assert split == split_cases(cases[::-1], seed=seed, stratify="site")


@settings(max_examples=60)
@given(st.integers(5, 40), st.integers(2, 5), st.integers(1, 3), st.sampled_from([None, "site"]))
def test_every_patient_is_tested_in_exactly_one_fold_and_never_leaks(count, folds, scans_each, stratify):
    cases = with_column(["a", "b", "b"] * 14, scans_each)[: count * scans_each]
    splits = fold_cases(cases, folds, validation=0.1, seed=count, stratify=stratify)
    for split in splits:
        check_split(split, cases)
        assert len(split["validation"]) == scans_each * max(1, round(0.1 * count))
    tested = [name for split in splits for name in split["test"]]
    assert sorted(tested) == sorted(case.case_id for case in cases)
    sizes = [len(split["test"]) // scans_each for split in splits]
    assert max(sizes) - min(sizes) <= 1


def test_folds_by_foreground_hold_small_and_large_organs_each(tmp_path):
    cases = with_masks(tmp_path, range(1, 21))
    for split in fold_cases(cases, folds=5, seed=2, stratify="foreground"):
        assert sorted(int(name[1:]) // 5 for name in split["test"]) == [0, 1, 2, 3]


def test_folds_depend_on_the_seed_and_not_on_the_order_of_the_cases():
    cases = make_cases(20)
    assert fold_cases(cases, seed=1) == fold_cases(cases[::-1], seed=1)
    assert fold_cases(cases, seed=1) != fold_cases(cases, seed=2)


def test_folds_without_validation_train_on_everything_else():
    for split in fold_cases(make_cases(6), folds=3, validation=0):
        assert counts(split) == [4, 0, 2]


@pytest.mark.parametrize(
    ("count", "keywords", "text"),
    [
        (2, {"folds": 3}, "one patient for each of 3 folds, found 2"),
        (2, {"folds": 2}, "beside 1 for test and 1 for validation, found 2 in all"),
        (9, {"folds": 1}, "at least 2. Received: folds=1"),
        (9, {"folds": 2.5}, "an integer"),
        (9, {"folds": 2, "validation": 0.5}, "at least 0 and below 0.5"),
        (9, {"validation": -0.1}, "validation=-0.1"),
    ],
)
def test_folds_that_cannot_be_are_refused_with_the_numbers(count, keywords, text):
    with pytest.raises((CaseError, UsageError), match=text):
        fold_cases(make_cases(count), **keywords)


def test_folds_of_cases_with_given_parts_are_refused():
    with pytest.raises(DataErrors, match="expected no part yet, found 'train'"):
        fold_cases(make_cases(2, 1, ["train", "test"]), folds=2)


def test_an_id_twice_is_refused_with_a_given_split_too():
    split = {"train": ("p0_s0",), "validation": (), "test": ()}
    with pytest.raises(CaseError, match="expected each case id once"):
        check_split(split, make_cases(1) * 2)


def test_a_given_split_that_contradicts_the_table_is_refused():
    cases = make_cases(2, 1, ["train", "test"])
    with pytest.raises(CaseError, match="p1_s0: expected the part of its table, test, found validation"):
        check_split({"train": ("p0_s0",), "validation": ("p1_s0",)}, cases)
    check_split({"train": ("p0_s0",), "test": ("p1_s0",)}, cases)
