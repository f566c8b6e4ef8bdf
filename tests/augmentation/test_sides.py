"""A flip that turns one side into the other is refused until it swaps them."""

import numpy as np
import pytest

from mcc_keras.augmentation import Augmentation
from mcc_keras.augmentation.sides import refuse_sided_flip, with_class_numbers
from mcc_keras.errors import UsageError
from mcc_keras.task import Task

LUNGS = Task(labels=((5,), (3,), (8,)), names=("right lung", "left lung", "heart"))


@pytest.mark.parametrize("policy", [Augmentation(), Augmentation(swap_labels=((8, 3),))])
def test_a_flip_that_leaves_sides_unswapped_is_refused_with_both_ways_out(policy):
    with pytest.raises(UsageError, match="`right lung` and `left lung`(.*)--swap-labels 5:3(.*)--no-flip"):
        refuse_sided_flip(policy, LUNGS)


@pytest.mark.parametrize(
    "policy",
    [
        None,
        Augmentation(flip=(False, True, True)),
        Augmentation(swap_labels=((3, 5),)),
        Augmentation(swap_labels=(("right lung", "Left Lung"),)),
    ],
)
def test_no_flip_and_a_swap_by_label_or_name_are_accepted(policy):
    refuse_sided_flip(policy, LUNGS)


@pytest.mark.parametrize("pair", [(1, 2), ("right lung", "liver"), (5, "right lung")])
def test_a_swap_of_what_is_no_class_or_twice_the_same_is_refused(pair):
    with pytest.raises(UsageError):
        with_class_numbers(Augmentation(swap_labels=(pair,)), LUNGS)


def test_labels_become_the_class_numbers_that_records_hold():
    assert with_class_numbers(Augmentation(swap_labels=((3, "right lung"),)), LUNGS).swap_labels == ((2, 1),)
    assert with_class_numbers(None, LUNGS) is None


def test_a_policy_with_names_keeps_them_in_json_and_is_refused_on_a_mask():
    policy = Augmentation(swap_labels=(("a", "b"),))
    assert Augmentation.from_json(policy.to_json()) == policy
    with pytest.raises(UsageError, match="values of the mask"):
        policy((1, 2), np.zeros((4, 4, 4, 1), np.float32), np.zeros((4, 4, 4, 1), np.uint8), spacing_mm=(1, 1, 1))


def test_load_dataset_refuses_the_flip_of_sides_and_takes_the_swap(tmp_path):
    import mcc_keras as mk
    from mcc_keras.volumes import write_volume

    mask = np.zeros((8, 8, 8), np.uint8)
    mask[1:3, 2:6, 2:6], mask[5:7, 2:6, 2:6] = 3, 5
    for name in "abc":
        write_volume(
            np.random.default_rng(ord(name)).normal(size=mask.shape), tmp_path / f"{name}.nii", affine=np.eye(4)
        )
        write_volume(mask, tmp_path / f"{name}_mask.nii", affine=np.eye(4))
    cases = [mk.Case(c.case_id, c.images, c.mask, task=LUNGS) for c in mk.find_cases(tmp_path)]
    mk.write_tfrecords(cases, tmp_path / "work", preprocessing=mk.Preprocessing(size=8), workers=1)
    with pytest.raises(UsageError, match="--no-flip"):
        mk.load_dataset(tmp_path / "work", "train", batch_size=1, augment=True)
    policy = Augmentation(swap_labels=((5, 3),))
    data = mk.load_dataset(tmp_path / "work", "train", batch_size=1, augment=policy, seed=0)
    sides = [np.argwhere(mask[0, ..., 0] == 1)[:, 0].mean() for _ in range(4) for _, mask in data]
    assert min(sides) > 3.5  # class 1, the right lung, stays on its side in every epoch
