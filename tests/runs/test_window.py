import pytest

from mcc_keras.errors import UsageError
from mcc_keras.pipeline import Patches
from mcc_keras.runs.recipe import Recipe
from mcc_keras.runs.window import Window

WRONG = [{"size": 0}, {"size": (8, 8)}, {"size": 8.5}, {"size": 8, "overlap": -0.1}, {"size": 8, "blend": "linear"}]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_value_out_of_range_is_refused(wrong):
    with pytest.raises(UsageError, match=list(wrong)[-1]):
        Window(**wrong)


def test_a_run_on_patches_sees_a_scan_in_windows_of_their_size():
    assert Recipe().window is None
    assert Recipe(patches=Patches(size=(16, 16, 8))).window == Window(size=(16, 16, 8))
    assert Recipe(patches=Patches(size=16), window=Window(size=32)).window.size == (32, 32, 32)


def test_json_brings_back_the_window():
    recipe = Recipe(window=Window(size=32, overlap=0.25, blend="constant"))
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_another_value_in_place_of_a_window_is_refused():
    with pytest.raises(UsageError, match="mk.Window"):
        Recipe(window=32)
