import subprocess
import sys

import keras
import numpy as np
import pytest

from mcc_keras.errors import UsageError
from mcc_keras.losses import CrossEntropyLoss, DiceLoss, MCCLoss, SumLoss, get_loss

Y_TRUE = np.array([[1, 0, 1, 1], [0, 0, 1, 0]], "float32")[..., None]
Y_PRED = np.array([[0.9, 0.2, 0.3, 0.8], [0.1, 0.1, 0.6, 0.4]], "float32")[..., None]


def test_it_is_the_weighted_sum_of_its_parts_and_returns_them():
    loss = SumLoss({"mcc": 1, "cross_entropy": 0.5})
    mcc, entropy = float(MCCLoss()(Y_TRUE, Y_PRED)), float(CrossEntropyLoss()(Y_TRUE, Y_PRED))
    assert float(loss(Y_TRUE, Y_PRED)) == pytest.approx(mcc + 0.5 * entropy, rel=1e-6)
    parts = {name: float(np.mean(values)) for name, values in loss.values_of_parts(Y_TRUE, Y_PRED).items()}
    assert parts == {"mcc_loss": pytest.approx(mcc), "cross_entropy_loss": pytest.approx(entropy)}


def test_its_parts_can_be_watched_as_metrics_and_it_reloads_in_a_process_that_only_imports_the_package(tmp_path):
    loss = SumLoss([(MCCLoss(smooth=2.0), 1), (DiceLoss(squared=True), 0.25)])
    model = keras.Sequential([keras.layers.Input((4, 1)), keras.layers.Conv1D(1, 1, activation="sigmoid")])
    model.compile("sgd", loss=loss, metrics=[part for part, _ in loss.parts])
    history = model.fit(Y_PRED, Y_TRUE, verbose=0).history
    assert history["loss"][0] == pytest.approx(history["mcc_loss"][0] + 0.25 * history["dice_loss"][0], rel=1e-5)
    model.save(tmp_path / "model.keras")
    code = (
        "import mcc_keras, keras, sys; loss = keras.models.load_model(sys.argv[1]).loss;"
        "print([(type(part).__name__, weight) for part, weight in loss.parts], loss.parts[0][0].smooth)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model.keras")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[('MCCLoss', 1.0), ('DiceLoss', 0.25)] 2.0"


def test_parts_that_make_no_sum_are_refused():
    with pytest.raises(UsageError, match="same `pool`"):
        SumLoss([(MCCLoss(), 1), (DiceLoss(pool="batch"), 1)])
    with pytest.raises(UsageError, match="same `pool`"):
        SumLoss({"mcc": -1})
    with pytest.raises(UsageError, match="names in LOSSES"):
        SumLoss([(keras.losses.MeanSquaredError(), 1)])


LABELS = np.random.default_rng(0).integers(0, 3, (2, 4, 4, 4, 1))
SCORES = np.random.default_rng(1).dirichlet(np.ones(3), (2, 4, 4, 4)).astype("float32")


@pytest.mark.parametrize("argument", [{"class_weights": [0.1, 1, 10]}, {"include_background": True}])
def test_arguments_reach_the_parts_that_are_named(argument):
    expected = float(DiceLoss(**argument)(LABELS, SCORES)) + float(CrossEntropyLoss(**argument)(LABELS, SCORES))
    assert float(get_loss("dice_cross_entropy", **argument)(LABELS, SCORES)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "argument",
    [{"class_weights": [0.1, 1, 10]}, {"include_background": True}, {"from_logits": True}, {"ignore_class": 2}],
)
def test_arguments_that_a_loss_among_the_parts_does_not_have_are_refused(argument):
    (key,) = argument
    with pytest.raises(UsageError, match=f"`{key}` of a sum.*Set it on the loss itself"):
        SumLoss([(DiceLoss(), 1)], **argument)
    assert SumLoss([(DiceLoss(**argument), 1)], **argument).parts[0][0].get_config()[key] == argument[key]


def test_an_argument_that_no_loss_takes_is_refused():
    with pytest.raises(TypeError, match="classweights"):
        get_loss("dice_cross_entropy", classweights=[1, 2, 3])


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_parts_as_metrics_are_means_over_samples_also_where_the_last_batch_is_smaller(batch_size):
    loss = SumLoss({"mcc": 1, "cross_entropy": 0.5})
    y_true, y_pred = np.concatenate([Y_TRUE, Y_TRUE[:1]]), np.concatenate([Y_PRED, 1 - Y_PRED[:1]])
    model = keras.Sequential([keras.layers.Input((4, 1)), keras.layers.Identity()])
    model.compile(loss=loss, metrics=[part for part, _ in loss.parts])
    found = model.evaluate(y_pred, y_true, batch_size=batch_size, verbose=0, return_dict=True)
    assert found["mcc_loss"] == pytest.approx(float(MCCLoss()(y_true, y_pred)), rel=1e-5)
    assert found["loss"] == pytest.approx(found["mcc_loss"] + 0.5 * found["cross_entropy_loss"], rel=1e-5)
