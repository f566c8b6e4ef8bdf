import dataclasses

import pytest

from mcc_keras.datasets import Case
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.entries import Settings
from mcc_keras.records.provenance import describe_cases, differences, record_keys, same_split
from mcc_keras.task import Task


@pytest.fixture
def settings(tmp_path):
    cases = []
    for name in "abc":
        for end in ("", "_mask"):
            (tmp_path / f"{name}{end}.nii").write_text(name + end)
        cases.append(Case(name, (tmp_path / f"{name}.nii",), mask=tmp_path / f"{name}_mask.nii"))
    entries = tuple(dataclasses.replace(entry, part="train") for entry in describe_cases(cases))
    asked = {"split": (0.7, 0.2, 0.1), "seed": 1, "stratify": None, "compression": None, "preprocessing": {}}
    return Settings(task=Task(labels=((1,),)), cases=entries, **asked)


def with_task(**changes):
    return lambda s: dataclasses.replace(s, task=dataclasses.replace(s.task, **changes))


def with_case(number, **changes):
    def change(s):
        changed = [dataclasses.replace(e, **changes) if i == number else e for i, e in enumerate(s.cases)]
        return dataclasses.replace(s, cases=tuple(changed))

    return change


def with_source(number, place):
    def change(s):
        sources = list(s.cases[number].sources)
        sources[place] = dataclasses.replace(sources[place], sha256="0")
        return with_case(number, sources=tuple(sources))(s)

    return change


def changed(**changes):
    return lambda s: dataclasses.replace(s, **changes)


def without_case(number):
    return lambda s: dataclasses.replace(s, cases=s.cases[:number] + s.cases[number + 1 :])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s, []),
        (changed(seed=2), ["seed"]),
        (with_task(labels=((2,),)), ["labels"]),
        (with_source(1, 0), ["sources of b"]),
        (with_case(2, part="test"), ["part of c"]),
        (with_case(2, group="x"), ["patient of c"]),
        (without_case(0), ["cases that are gone a"]),
        (with_case(0, mask="/elsewhere/a_mask.nii"), ["places of the source files"]),
    ],
)
def test_what_differs_is_told_in_words(settings, change, words):
    assert differences(settings, change(settings)) == words


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        (with_source(1, 1), "b"),
        (with_case(1, affine="qform"), "b"),
        (with_task(labels=((2,),), names=()), "abc"),
        (with_task(background=(0, 3)), "abc"),
        (with_task(names=("organ",)), ""),
        (with_case(1, nonfinite="zero"), "b"),
        (changed(compression="gzip"), "abc"),
        (changed(seed=9), ""),
        (with_case(1, part="test", group="x"), ""),
    ],
)
def test_a_record_has_another_key_if_its_bytes_may_differ(settings, change, moved):
    box = Preprocessing(size=8)
    before, after = record_keys(settings, box), record_keys(change(settings), box)
    assert "".join(name for name in before if before[name] != after[name]) == moved
    assert not set(before.values()) & set(record_keys(settings, Preprocessing(size=9)).values())


def test_the_stored_split_holds_for_the_same_cases_and_wish_only(settings):
    assert same_split(settings, with_case(0, part=None)(settings))
    for change in (
        changed(seed=2),
        changed(stratify="foreground"),
        changed(split=None),
        without_case(2),
        with_source(0, 1),
    ):
        assert not same_split(settings, change(settings))
