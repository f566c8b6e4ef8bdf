import keras
import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef

from mcc_keras.errors import UsageError
from mcc_keras.metrics import DiceScore, MatthewsCorrelationCoefficient


def test_it_pools_over_all_voxels_and_agrees_with_scikit_learn():
    generator = np.random.default_rng(0)
    truth = (generator.random((4, 8, 8, 8, 1)) < 0.1).astype("float32")
    p = np.clip(truth * 0.4 + generator.random(truth.shape) * 0.6, 0, 1).astype("float32")
    metric = MatthewsCorrelationCoefficient()
    metric.update_state(truth[:3], p[:3])
    metric.update_state(truth[3:], p[3:])
    assert float(metric.result()) == pytest.approx(matthews_corrcoef(truth.ravel(), p.ravel() > 0.5), abs=1e-7)


def test_many_classes_agree_with_scikit_learn():
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 5, (2, 8, 8, 8, 1))
    p = (np.eye(5)[labels[..., 0]] * 0.5 + generator.random((2, 8, 8, 8, 5))).astype("float32")
    metric = MatthewsCorrelationCoefficient(5)
    metric.update_state(labels, p)
    expected = matthews_corrcoef(labels.ravel(), p.argmax(-1).ravel())
    assert float(metric.result()) == pytest.approx(expected, abs=1e-7)


def test_one_class_only_counts_as_0_as_in_scikit_learn():
    metric = MatthewsCorrelationCoefficient()
    metric.update_state(np.zeros((1, 4, 1)), np.zeros((1, 4, 1)))
    assert float(metric.result()) == 0.0


def test_the_mean_over_volumes_can_leave_out_those_of_one_class():
    truth, p = np.array([[[1], [0], [1], [1]], [[0], [0], [0], [0]]]), np.array([[[1], [0], [0], [1]], [[0]] * 4])
    metric = MatthewsCorrelationCoefficient(pool="sample", empty="exclude")
    metric.update_state(truth, p.astype("float32"))
    assert float(metric.result()) == pytest.approx(0.57735, abs=1e-5)
    assert metric.excluded.tolist() == [1]


def test_counts_are_exact_beyond_what_float32_can_count():
    truth = np.zeros((1, 300, 300, 300, 1), bool)
    truth[:, :150, :, :, :] = True
    prediction = np.ones((1, 300, 300, 300, 1), "float16")
    prediction[0, 0, 0, 0] = 0
    metric = MatthewsCorrelationCoefficient()
    for _ in range(2):
        metric.update_state(truth, prediction)
    half = 150 * 300 * 300
    assert metric.counts.tolist() == [[0, 2 * half], [2, 2 * (half - 1)]]


def test_the_number_of_classes_is_compared_with_the_prediction():
    with pytest.raises(UsageError, match="num_classes=3.*4 channels"):
        MatthewsCorrelationCoefficient(3).update_state(np.zeros((1, 8, 1)), np.ones((1, 8, 4)))


def test_metrics_work_in_fit_and_come_back(tmp_path):
    model = keras.Sequential([keras.layers.Input((4, 4, 4, 1)), keras.layers.Conv3D(1, 1, activation="sigmoid")])
    metrics = [MatthewsCorrelationCoefficient(), DiceScore(), keras.metrics.AUC()]
    model.compile("adam", loss="binary_crossentropy", metrics=metrics)
    x = np.random.default_rng(0).random((3, 4, 4, 4, 1)).astype("float32")
    y = (x > 0.5).astype("float32")
    history = model.fit(x, y, batch_size=2, epochs=2, validation_data=(x, y), verbose=0).history
    assert {"val_matthews_correlation_coefficient", "val_dice_score"} <= set(history)
    assert np.isfinite(history["val_dice_score"]).all()
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.evaluate(x, y, verbose=0) == pytest.approx(model.evaluate(x, y, verbose=0))
