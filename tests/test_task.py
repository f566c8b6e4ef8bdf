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


@pytest.mark.parametrize(
    ("names", "sided"),
    [
        (("right lung", "left lung"), ((1, 2),)),
        (("Kidney_L", "spleen", "Kidney_R"), ((1, 3),)),
        (("lh-hippocampus", "rh-hippocampus", "LeftEye", "RightEye"), ((1, 2), (3, 4))),
        (("liver", "spleen"), ()),
        (("left ventricle", "right atrium"), ()),
        (("left lung", "left lung 2"), ()),
    ],
)
def test_names_that_differ_in_left_and_right_are_sides(names, sided):
    assert Task(labels=tuple((n,) for n in range(1, len(names) + 1)), names=names).sided == sided


@pytest.mark.parametrize("sided", [((1, 1),), ((0, 1),), ((1, 3),), ((1,),)])
def test_sides_that_are_no_classes_are_refused(sided):
    with pytest.raises(UsageError, match="sided="):
        Task(labels=((1,), (2,)), sided=sided)


def test_a_class_is_found_by_any_of_its_labels_and_by_its_name():
    task = Task(labels=((3, 4), (1,)), names=("tumour", "cyst"))
    assert [task.class_number(label) for label in (3, 4, 1, "tumour", "CYST")] == [1, 1, 2, 1, 2]
    for label in (2, "edema"):
        with pytest.raises(UsageError, match="labels 3, 4, 1, or tumour, cyst"):
            task.class_number(label)
