import keras
import numpy as np
import pytest

from mcc_keras.errors import UsageError
from mcc_keras.runs.choices import OPTIMIZERS
from mcc_keras.runs.recipe import Recipe
from mcc_keras.training.callbacks import Position, Schedule, Stopwatch
from mcc_keras.training.optimizing import AveragedWeights, build_optimizer, flush_gradients

RNG = np.random.default_rng(3)
IMAGES, MASKS = RNG.normal(size=(6, 4, 4, 4, 1)), RNG.integers(0, 2, (6, 4, 4, 4, 1)).astype(float)


def trained(recipe, batches, *, dtype="float64", flush=0):
    """Return the weights after some batches, given as slices of the images."""
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Conv3D(3, 3, activation="tanh", dtype=dtype), keras.layers.Conv3D(1, 1, dtype=dtype)]
    model = keras.Sequential(
        [keras.Input((4, 4, 4, 1), dtype=dtype), *layers, keras.layers.UpSampling3D(2, dtype=dtype)]
    )
    model.compile(build_optimizer(recipe), keras.losses.MeanSquaredError(dtype=dtype), jit_compile=False)
    for begin, end in batches:
        model.train_on_batch(IMAGES[begin:end].astype(dtype), MASKS[begin:end].astype(dtype))
    if flush:
        flush_gradients(model.optimizer, flush)
    return model.get_weights()


def assert_close(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("settings", "dtype", "tolerance"),
    [
        ({"optimizer": "sgd", "learning_rate": 0.5, "clip_norm": 1e3, "weight_decay": 0.0}, "float32", 1e-6),
        ({"optimizer": "adamw", "learning_rate": 0.1, "clip_norm": 0.01, "weight_decay": 0.3}, "float64", 1e-9),
    ],
)
def test_an_update_of_several_batches_is_that_of_one_large_batch(settings, dtype, tolerance):
    small = [(0, 2), (2, 4), (4, 6)] * 2
    found = trained(Recipe(accumulate=3, **settings), small, dtype=dtype)
    assert_close(found, trained(Recipe(**settings), [(0, 6), (0, 6)], dtype=dtype), tolerance)
    assert not np.allclose(found[0], trained(Recipe(**settings), small, dtype=dtype)[0], atol=1e-4)


def test_a_group_that_is_not_full_updates_with_the_mean_of_what_there_is():
    settings = {"optimizer": "adamw", "learning_rate": 0.1, "clip_norm": 0.01, "weight_decay": 0.3}
    found = trained(Recipe(accumulate=3, **settings), [(0, 2), (2, 4), (4, 6), (0, 2), (2, 4)], flush=2)
    assert_close(found, trained(Recipe(**settings), [(0, 6), (0, 4)]), 1e-9)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_makes_a_step(name):
    before = trained(Recipe(optimizer=name), [])
    after = trained(Recipe(optimizer=name), [(0, 2)])
    assert all(np.all(np.isfinite(weight)) for weight in after)
    assert not np.array_equal(before[0], after[0])


@pytest.mark.parametrize("arguments", [{"momentums": 0.9}, {"learning_rate": 0.1}])
def test_arguments_that_keras_or_the_recipe_refuses(arguments):
    with pytest.raises(UsageError, match="`optimizer_arguments` must be arguments of keras.optimizers.SGD"):
        build_optimizer(Recipe(optimizer="sgd", optimizer_arguments=arguments))


def test_the_average_follows_updates_and_takes_the_place_of_the_weights_in_validation():
    layers = [keras.Input((2,)), keras.layers.Dense(1, use_bias=False), keras.layers.BatchNormalization()]
    model = keras.Sequential(layers)
    model.build()
    schedule = Schedule(Recipe(steps=10), position=Position(10), stopwatch=Stopwatch())
    average = AveragedWeights(model, 0.15, schedule)
    weight, expected = model.layers[0].kernel, np.array([[1.0], [1.0]])
    weight.assign(expected)
    average = AveragedWeights(model, 0.15, schedule)
    for number, updated in enumerate((True, False, True), 1):
        weight.assign(np.full((2, 1), 10.0 * number))
        schedule.step, schedule.updated = number, updated
        average.on_train_batch_end(0)
        if updated:
            momentum = min(0.15, (1 + number) / (10 + number))
            expected = momentum * expected + (1 - momentum) * 10 * number
    average.on_test_begin()
    np.testing.assert_allclose(weight, expected, rtol=1e-6)
    average.on_test_end()
    np.testing.assert_array_equal(weight, np.full((2, 1), 30.0))
    names = {variable.name for variable in average.weights}
    assert {"kernel", "moving_mean", "moving_variance", "gamma", "beta"} == names
