import dataclasses

from mcc_keras.augmentation.presets import PRESETS
from mcc_keras.pipeline.patches import Patches
from mcc_keras.runs.fields import flat_fields, varying_fields
from mcc_keras.runs.recipe import Recipe


def varying(*recipes):
    return varying_fields([vars(recipe) for recipe in recipes])


def test_only_fields_that_differ_are_returned():
    assert varying(Recipe(seed=1), Recipe(seed=1)) == [{}, {}]
    found = varying(Recipe(seed=1, epochs=4), Recipe(seed=2, minutes=9.0), Recipe(seed=1, epochs=4))
    assert found == [
        {"epochs": 4, "minutes": None, "seed": 1},
        {"epochs": None, "minutes": 9.0, "seed": 2},
        {"epochs": 4, "minutes": None, "seed": 1},
    ]


def test_augmentations_with_a_name_are_one_column():
    found = varying(Recipe(augment="light"), Recipe(augment="strong"), Recipe(augment=False))
    assert found == [{"augment": "light"}, {"augment": "strong"}, {"augment": None}]


def test_of_an_augmentation_without_a_name_the_numbers_that_differ_are_columns():
    noisy = dataclasses.replace(PRESETS["default"], noise=0.3)
    assert varying(Recipe(), Recipe(augment=noisy)) == [{"augment.noise": 0.1}, {"augment.noise": 0.3}]
    assert varying(Recipe(augment=False), Recipe(augment=noisy)) == [{"augment": None}, {"augment": "custom"}]


def test_patches_that_only_some_recipes_have_are_one_text():
    with_patches = varying(Recipe(), Recipe(patches=Patches(size=32)))[1]["patches"]
    assert with_patches.startswith("size=32,32,32 per_volume=1 ")


def test_a_keras_object_is_the_name_of_its_class():
    loss = {"class_name": "BinaryCrossentropy", "config": {"name": "loss"}}
    assert varying(Recipe(), Recipe(loss=loss)) == [{"loss": "mcc"}, {"loss": "BinaryCrossentropy"}]
    assert flat_fields(vars(Recipe(model={"class_name": "Functional", "config": {}})))["model"] == "Functional"
