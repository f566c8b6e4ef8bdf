"""The auxiliary heads of VoxResNet: `fit` trains them, `evaluate` logs them, and nothing else shows them."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from mcc_keras.losses import MCCLoss
from mcc_keras.metrics import DiceScore
from mcc_keras.models import VoxResNet

WEIGHTS = (0.5, 0.25, 0.125, 0.0)
HEADS = [f"head{number}" for number in range(1, 5)]


def given():
    image = np.random.default_rng(0).normal(size=(2, 9, 8, 8, 1)).astype("float32")
    return image, (image > 0).astype("float32")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    model = VoxResNet((9, 8, 8, 1), 1, width=0.125, deep_supervision=True, auxiliary_weights=WEIGHTS)
    model.compile(keras.optimizers.SGD(0.1), MCCLoss(), metrics=[DiceScore()])
    return model


def test_evaluate_gives_the_loss_of_each_head_and_adds_them_with_their_weights(model):
    image, mask = given()
    scores = model.evaluate(image, mask, batch_size=1, verbose=0, return_dict=True)
    answers = keras.Model(model.input, [model.output, *(model.get_layer(head).output for head in HEADS)])
    output, *logits = (np.asarray(answer) for answer in answers(image, training=False))
    losses = [float(MCCLoss()(mask, 1 / (1 + np.exp(-head)))) for head in logits]
    assert [scores[f"{head}_loss"] for head in HEADS] == pytest.approx(losses, abs=1e-5)
    total = float(MCCLoss()(mask, output)) + np.dot(WEIGHTS, losses)
    assert scores["loss"] == pytest.approx(total, abs=1e-5)


def test_fit_logs_every_head_in_training_and_validation(model):
    image, mask = given()
    history = model.fit(image, mask, epochs=2, verbose=0, validation_data=(image, mask)).history
    names = {"loss", "dice_score", *(f"{head}_loss" for head in HEADS)}
    assert set(history) == names | {f"val_{name}" for name in names}
    for losses in (history["loss"], *(history[f"{head}_loss"] for head in HEADS)):
        assert losses[1] < losses[0]
    # What the log adds up to, in every epoch: all of it is of one step, so that no average hides a weight.
    for epoch in range(2):
        heads = np.dot(WEIGHTS, [history[f"{head}_loss"][epoch] for head in HEADS])
        assert 0 < history["loss"][epoch] - heads < 1.2


def test_nothing_but_the_output_comes_out_of_the_model(model):
    image, mask = given()
    assert model.output_shape == (None, *mask.shape[1:])
    answers = [model(image, training=training) for training in (True, False)] + [model.predict(image, verbose=0)]
    assert all(tuple(answer.shape) == mask.shape for answer in answers)


def test_its_weights_are_those_of_the_network_without_supervision(model):
    plain = VoxResNet((9, 8, 8, 1), 1, width=0.125)
    assert [weight.path for weight in plain.weights] == [weight.path for weight in model.weights]
    plain.set_weights(model.get_weights())
    image, _ = given()
    np.testing.assert_array_equal(plain(image, training=False), model(image, training=False))


def test_a_reloaded_model_goes_on_with_the_same_weights_of_its_losses(model, tmp_path):
    image, mask = given()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    expected = model.evaluate(image, mask, verbose=0, return_dict=True)
    assert again.evaluate(image, mask, verbose=0, return_dict=True) == pytest.approx(expected, abs=1e-6)


def test_weighted_voxels_and_a_second_compilation_count_for_the_heads_too(model):
    image, mask = given()
    cut = np.ones_like(mask)
    cut[:, 4:] = 0
    model.compile("sgd", MCCLoss(smooth=0))
    scores = model.evaluate(image, mask, sample_weight=cut, verbose=0, return_dict=True)
    logits = keras.Model(model.input, model.get_layer("head1").output)(image, training=False)
    expected = MCCLoss(smooth=0)(mask[:, :4], 1 / (1 + np.exp(-np.asarray(logits)[:, :4])))
    assert scores["head1_loss"] == pytest.approx(float(expected), abs=1e-5)


def test_inside_another_model_supervision_is_off_with_a_warning():
    model = VoxResNet((8, 8, 8, 1), 1, width=0.125, deep_supervision=True)
    for wrap in (
        lambda: keras.Sequential([keras.Input((8, 8, 8, 1)), model]),
        lambda: keras.Model(model.input, model(model.input)),
    ):
        with pytest.warns(UserWarning, match="deep supervision .* is off.*deep_supervision=False"):
            wrap()


TWO_DEVICES = """
import json, sys
import mcc_keras as mk
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
image = np.random.default_rng(0).normal(size=(4, 8, 8, 8, 1)).astype("float32")
def run(strategy):
    with strategy.scope():
        keras.utils.set_random_seed(3)
        model = mk.VoxResNet((8, 8, 8, 1), 1, width=0.0625, deep_supervision=True, normalization="group")
        model.compile(keras.optimizers.SGD(0.1), mk.MCCLoss(), jit_compile=False)
    arrays = image, (image > 0).astype("float32")
    history = model.fit(*arrays, batch_size=4, epochs=2, shuffle=False, verbose=0).history
    return {key: values[-1] for key, values in history.items()}
one, two = tf.distribute.OneDeviceStrategy("cpu:0"), tf.distribute.MirroredStrategy(["cpu:0", "cpu:1"])
print(json.dumps([run(one), run(two)]))
"""


def test_on_two_devices_the_losses_of_the_heads_are_those_on_one():
    done = subprocess.run([sys.executable, "-c", TWO_DEVICES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = json.loads(done.stdout.splitlines()[-1])
    assert set(HEADS) <= {name.removesuffix("_loss") for name in one}
    assert two == pytest.approx(one, abs=1e-5)
