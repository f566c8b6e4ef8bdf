import keras
import numpy as np
import pytest

from mcc_keras.comparison.arms import build_arms
from mcc_keras.errors import UsageError
from mcc_keras.losses import get_loss
from mcc_keras.runs.recipe import Recipe


def test_without_a_word_the_losses_of_the_paper_are_compared():
    assert [arm.name for arm in build_arms()] == ["mcc", "dice", "cross_entropy"]


def test_any_field_and_any_argument_of_a_loss_is_an_axis():
    arms = build_arms(
        losses=("mcc",), vary={"batch_size": (1, 4), "loss_arguments.smooth": (0, 100)}, learning_rate=0.01
    )
    found = [(arm.recipe.batch_size, arm.recipe.loss_arguments, arm.recipe.learning_rate) for arm in arms]
    assert found == [(size, {"smooth": smooth}, 0.01) for size in (1, 4) for smooth in (0, 100)]
    assert arms[1].name == "mcc, batch_size=1, loss_arguments.smooth=100"
    assert arms[1].folder == "mcc-batch_size-1-loss_arguments.smooth-100"


def test_settings_of_a_recipe_are_shared_and_its_length_and_seed_are_not_used():
    recipe = Recipe(epochs=7, patience=3, seed=5, optimizer="sgd", loss_arguments={"smooth": 2.0})
    (first, second) = build_arms(losses=("mcc", "dice"), recipe=recipe)
    assert (first.recipe.optimizer, second.recipe.loss_arguments) == ("sgd", {"smooth": 2.0})
    assert (first.recipe.seed, first.recipe.patience) == (0, None)


def test_with_one_class_gwd_refers_to_dice_unless_its_arguments_make_it_another_loss():
    assert [arm.same_as for arm in build_arms(losses=("gwd", "dice"))] == ["dice", None]
    assert [arm.same_as for arm in build_arms(losses=("gwd", "mcc"))] == [None, None]
    assert [arm.same_as for arm in build_arms(losses=("gwd", "dice"), num_classes=3)] == [None, None]
    weighting = {"loss_arguments.weighting": ("gdl", "default")}
    assert [arm.same_as for arm in build_arms(losses=("gwd", "dice"), vary=weighting)] == [None] * 4


@pytest.mark.parametrize("smooth", [0.0, 1.0, 100.0])
def test_with_one_class_gwd_is_the_dice_loss_without_squares_in_value_and_gradient(smooth):
    import tensorflow as tf

    rng = np.random.default_rng(0)
    y_true = tf.constant(rng.random((3, 6, 6, 6, 1)) < 0.2, tf.float32)
    y_pred = tf.constant(rng.random((3, 6, 6, 6, 1)), tf.float32)
    found = {}
    for name in ("dice", "gwd"):
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            values = get_loss(name, smooth=smooth, reduction=None)(y_true, y_pred)
        found[name] = [keras.ops.convert_to_numpy(each) for each in (values, tape.gradient(values, y_pred))]
    np.testing.assert_allclose(found["gwd"][0], found["dice"][0], rtol=1e-6)
    np.testing.assert_allclose(found["gwd"][1], found["dice"][1], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"losses": ("mcc", "dize")}, "loss='dize'"),
        ({"vary": {"model": ("vnet", "wnet")}}, "model='wnet'"),
        ({"vary": {"bach_size": (1, 2)}}, "bach_size"),
        ({"vary": {"learning_rate.peak": (1, 2)}}, "learning_rate.peak"),
        ({"vary": {"seed": (1, 2)}}, "`seeds` sets it"),
        ({"epochs": 3}, "`steps` sets it"),
        ({"losses": ("mcc",)}, "Two arms or more"),
        ({"losses": ("mcc", "mcc")}, "once"),
        ({"losses": ("mcc", "dice"), "vary": {"loss": ("mcc", "dice")}}, "Give the losses once"),
        ({"vary": {"batch_size": (0, 1)}}, "batch_size=0"),
        ({"vary": {"batch_size": ("two", 1)}}, "batch_size"),
    ],
)
def test_what_cannot_be_compared_is_one_line(settings, named):
    with pytest.raises(UsageError, match=".") as raised:
        build_arms(**settings)
    assert named in str(raised.value)
    assert "\n" not in str(raised.value)
