import copy

import msgspec
import pytest

from mcc_keras.datasets import Case
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.provenance import describe_cases, differences, record_keys, same_split
from mcc_keras.task import Task


@pytest.fixture
def settings(tmp_path):
    cases = []
    for name in "abc":
        for end in ("", "_mask"):
            (tmp_path / f"{name}{end}.nii").write_text(name + end)
        cases.append(Case(name, (tmp_path / f"{name}.nii",), mask=tmp_path / f"{name}_mask.nii"))
    made = {"task": msgspec.to_builtins(Task(labels=((1,),))), "compression": None}
    made |= {"split": [0.7, 0.2, 0.1], "seed": 1, "stratify": None}
    return made | {"cases": [{**entry, "part": "train"} for entry in describe_cases(cases)]}


def changed(settings, change):
    other = copy.deepcopy(settings)
    change(other)
    return other


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: None, []),
        (lambda s: s.update(seed=2), ["seed"]),
        (lambda s: s["task"].update(labels=((2,),)), ["labels"]),
        (lambda s: s["cases"][1]["sources"][0].update(sha256="0"), ["sources of b"]),
        (lambda s: s["cases"][2].update(part="test"), ["part of c"]),
        (lambda s: s["cases"][2].update(group="x"), ["patient of c"]),
        (lambda s: s["cases"].pop(0), ["cases that are gone a"]),
        (lambda s: s["cases"][0].update(mask="/elsewhere/a_mask.nii"), ["places of the source files"]),
    ],
)
def test_what_differs_is_told_in_words(settings, change, words):
    assert differences(settings, changed(settings, change)) == words


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        (lambda s: s["cases"][1]["sources"][1].update(sha256="0"), "b"),
        (lambda s: s["cases"][1].update(affine="qform"), "b"),
        (lambda s: s["task"].update(labels=((2,),)), "abc"),
        (lambda s: s["task"].update(background=(0, 3)), "abc"),
        (lambda s: s["task"].update(names=("organ",)), ""),
        (lambda s: s["cases"][1].update(nonfinite="zero"), "b"),
        (lambda s: s.update(compression="gzip"), "abc"),
        (lambda s: s.update(seed=9), ""),
        (lambda s: s["cases"][1].update(part="test", group="x"), ""),
    ],
)
def test_a_record_has_another_key_if_its_bytes_may_differ(settings, change, moved):
    box = Preprocessing(size=8)
    before, after = record_keys(settings, box), record_keys(changed(settings, change), box)
    assert "".join(name for name in before if before[name] != after[name]) == moved
    assert not set(before.values()) & set(record_keys(settings, Preprocessing(size=9)).values())


def test_the_stored_split_holds_for_the_same_cases_and_wish_only(settings):
    assert same_split(settings, changed(settings, lambda s: s["cases"][0].pop("part")))
    for change in (
        lambda s: s.update(seed=2),
        lambda s: s.update(stratify="foreground"),
        lambda s: s.update(split=None),
        lambda s: s["cases"].pop(),
        lambda s: s["cases"][0]["sources"][1].update(sha256="0"),
    ):
        assert not same_split(settings, changed(settings, change))
