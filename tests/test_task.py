import pytest

from mcc_keras.errors import UsageError
from mcc_keras.task import Task


def test_one_class_is_one_channel_and_several_are_one_more():
    assert Task(labels=((1, 2),)).num_classes == 1
    assert Task(labels=((1,), (2,))).num_classes == 3


def test_a_written_mask_holds_the_first_label_of_each_class():
    assert Task(labels=((3, 1),)).label_values == (0, 1)
    assert Task(labels=((3, 1), (2,))).label_values == (0, 3, 2)


@pytest.mark.parametrize(("label", "dtype"), [(255, "uint8"), (256, "uint16"), (65535, "uint16")])
def test_masks_are_of_the_smallest_type_that_holds_the_labels(label, dtype):
    assert Task(labels=((1,), (label,))).mask_dtype == dtype


def test_names_are_the_labels_unless_they_are_given():
    assert Task(labels=((1,), (2, 3))).names == ("1", "2+3")
    assert Task(labels=((1,), (2,)), names=("anterior", "posterior")).names == ("anterior", "posterior")


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        ({"labels": ()}, r"labels=\(\)"),
        ({"labels": ((1,), ())}, "labels="),
        ({"labels": ((1,), (2, 1))}, "labels="),
        ({"labels": ((1,), (2,)), "background": (2,)}, r"background=\(2,\)"),
        ({"labels": ((0,), (1,)), "background": (5,)}, "from 1 to 65535"),
        ({"labels": ((-1,), (1,))}, "from 1 to 65535"),
        ({"labels": ((1,), (65536,))}, "from 1 to 65535"),
        ({"labels": ((1,), (2,)), "names": ("one",)}, "names="),
        ({"labels": ((1,), (2,)), "names": ("one", "one")}, "names="),
        ({"channel_names": ()}, "channel_names="),
        ({"channel_names": ("T1", "T1")}, "channel_names="),
    ],
)
def test_a_task_that_contradicts_itself_or_cannot_be_written_is_refused(arguments, received):
    with pytest.raises(UsageError, match=received):
        Task(**arguments)
