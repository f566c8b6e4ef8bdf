import subprocess
import sys

import keras
import numpy as np
import pytest

from mcc_keras.errors import UsageError
from mcc_keras.losses import CrossEntropyLoss, DiceLoss, MCCLoss, SumLoss

Y_TRUE = np.array([[1, 0, 1, 1], [0, 0, 1, 0]], "float32")[..., None]
Y_PRED = np.array([[0.9, 0.2, 0.3, 0.8], [0.1, 0.1, 0.6, 0.4]], "float32")[..., None]


def test_it_is_the_weighted_sum_of_its_parts_and_tells_them():
    loss = SumLoss({"mcc": 1, "cross_entropy": 0.5})
    mcc, entropy = float(MCCLoss()(Y_TRUE, Y_PRED)), float(CrossEntropyLoss()(Y_TRUE, Y_PRED))
    assert float(loss(Y_TRUE, Y_PRED)) == pytest.approx(mcc + 0.5 * entropy, rel=1e-6)
    told = {name: float(np.mean(values)) for name, values in loss.values_of_parts(Y_TRUE, Y_PRED).items()}
    assert told == {"mcc_loss": pytest.approx(mcc), "cross_entropy_loss": pytest.approx(entropy)}


def test_its_parts_can_be_watched_as_metrics_and_it_reloads_in_a_process_that_only_imports_us(tmp_path):
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
    with pytest.raises(UsageError, match="pool alike"):
        SumLoss([(MCCLoss(), 1), (DiceLoss(pool="batch"), 1)])
    with pytest.raises(UsageError, match="pool alike"):
        SumLoss({"mcc": -1})
    with pytest.raises(UsageError, match="names in LOSSES"):
        SumLoss([(keras.losses.MeanSquaredError(), 1)])
