import pytest

from mcc_keras.errors import RunError, UsageError
from mcc_keras.runs.mask_options import (
    SEGMENTER,
    MaskOptions,
    StoredOptions,
    Trial,
    parse_flips,
    read_mask_options,
    write_mask_options,
)


def test_what_is_written_is_read(tmp_path):
    options = MaskOptions(flip_axes=(0, 2), threshold=0.4, largest_component=True, smallest_mm3=30.0)
    trial = Trial(options={"threshold": 0.4}, dice=0.9, gain=0.01, standard_error=0.002, taken=True)
    write_mask_options(StoredOptions(options=options, cases=5, dice_before=0.89, trials=(trial,)), tmp_path)
    assert read_mask_options(tmp_path) == options


def test_a_run_without_the_file_has_the_options_of_its_training(tmp_path):
    assert read_mask_options(tmp_path) == MaskOptions()
    assert MaskOptions().flip_axes is None


def test_a_damaged_file_is_named_with_the_way_out(tmp_path):
    (tmp_path / SEGMENTER).write_text("{}")
    with pytest.raises(RunError, match=r"segmenter\.json.*--try"):
        read_mask_options(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [{"flip_axes": (3,)}, {"threshold": 0}, {"threshold": 1}, {"smallest_mm3": -1}, {"threshold": float("nan")}],
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        MaskOptions(**wrong)


@pytest.mark.parametrize("flips", ["w", "x,x", "none,x", "", ("x", "w")])
def test_other_flips_are_refused(flips):
    with pytest.raises(UsageError, match="`flips` must be some of x, y and z, or none"):
        parse_flips(flips)
