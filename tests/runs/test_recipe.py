import json
import subprocess
import sys

import pytest

from mcc_keras.augmentation import PRESETS, Augmentation
from mcc_keras.errors import DataError, UsageError
from mcc_keras.losses import LOSSES
from mcc_keras.models import MODELS
from mcc_keras.pipeline import Patches
from mcc_keras.runs.choices import RECIPES
from mcc_keras.runs.recipe import Recipe


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe(minutes=2.5, augment=False, seed=7),
        Recipe(epochs=3, augment="strong", patches=Patches(size=(32, 32, 16)), loss_arguments={"smooth": 0.5}),
        Recipe(augment=Augmentation(noise=0.25, probability={"noise": 0.5})),
    ],
)
def test_json_brings_back_the_same_recipe(recipe):
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_a_hundred_epochs_where_neither_epochs_nor_minutes_are_given():
    assert (Recipe().epochs, Recipe(minutes=1).epochs) == (100, None)


def test_augment_is_a_truth_value_a_name_or_a_policy():
    assert Recipe(augment=True).augment == Augmentation()
    assert Recipe(augment=False).augment is None
    assert Recipe(augment="paper").augment == PRESETS["paper"]


def test_axes_that_training_flips_are_flipped_in_prediction():
    assert Recipe().flip_axes == (0,)
    assert Recipe(augment=False).flip_axes == ()


@pytest.mark.parametrize(
    "arguments",
    [
        {"epochs": 0},
        {"epochs": 1.5},
        {"epochs": True},
        {"minutes": float("nan")},
        {"minutes": float("inf")},
        {"batch_size": 0},
        {"learning_rate": -1.0},
        {"warmup_steps": -1},
        {"weight_decay": -0.1},
        {"clip_norm": 0},
        {"precision": "float8"},
        {"augment": "heavy"},
        {"patches": 32},
        {"seed": 1.5},
    ],
)
def test_values_out_of_range_are_refused_by_name(arguments):
    with pytest.raises(UsageError, match=next(iter(arguments))):
        Recipe(**arguments)


def test_a_hand_edited_recipe_is_an_error_that_names_file_and_key():
    text = json.dumps(json.loads(Recipe(epochs=2).to_json()) | {"learning_rate": "fast"})
    with pytest.raises(DataError, match=r"my.json: expected `float`, got `str` - at `\$.learning_rate`"):
        Recipe.from_json(text, path="my.json")


def test_a_recipe_is_written_and_read_without_tensorflow():
    code = "import sys, mcc_keras as mk; mk.Recipe.from_json(mk.Recipe().to_json()); print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_fast_is_the_residual_u_net_and_else_the_defaults():
    assert Recipe.named("fast") == Recipe(model="residual_unet")


def test_every_named_recipe_is_of_networks_and_losses_that_exist():
    for name in RECIPES:
        recipe = Recipe.named(name)
        assert recipe.model in MODELS and recipe.loss in LOSSES
        assert Recipe.from_json(recipe.to_json()) == recipe


def test_an_unknown_name_is_answered_with_the_names_there_are():
    with pytest.raises(UsageError, match=r"one of fast\. Received: recipe='quick'"):
        Recipe.named("quick")
